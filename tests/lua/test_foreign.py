"""A text that is no Lua is told what it is; Lua that has a mistake in it is not taken for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloth_runner.errors import SyntaxProblem
from sloth_runner.lua.foreign import SMALLEST, what_else
from tests.lua.driver import Desk

PLAYBOOK = "---\n- hosts: web\n  become: true\n  tasks:\n    - name: nginx\n      apt: {name: nginx}\n"
WORKFLOW = "name: CI\non: [push]\njobs:\n  build:\n    runs-on: ubuntu-latest\n"
COMPOSE = 'version: "3"\nservices:\n  web:\n    image: nginx\n'
TASKS = "- name: nginx\n  become: true\n  apt: {name: nginx}\n"
MAKEFILE = ".PHONY: all\nall: build\n\nbuild:\n\tgcc -o app main.c\n"
HCL = '# infrastructure\nresource "aws_instance" "web" {\n  ami = "ami-1"\n  count = 2\n}\n'


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("site.yml", PLAYBOOK, "an Ansible playbook (YAML)"),
        ("site.sloth", PLAYBOOK, "an Ansible playbook (YAML)"),
        ("main.yml", TASKS, "tasks of Ansible (YAML)"),
        ("ci.yaml", WORKFLOW, "a GitHub workflow (YAML)"),
        ("docker-compose.yml", COMPOSE, "a Compose file (YAML)"),
        ("values.yaml", "# what counts\nport: 80\n", "YAML"),
        ("tasks.sloth", "tasks:\n  - name: x\n", "YAML"),
        ("Makefile", MAKEFILE, "a Makefile"),
        ("build", MAKEFILE, "a Makefile"),
        ("main.tf", HCL, "Terraform (HCL)"),
        ("main.sloth", HCL, "Terraform (HCL)"),
        ("a.json", '{"tasks": []}', "JSON"),
        ("a", '[{"name": "a"}]', "JSON"),
        ("hosts.ini", "[web]\nweb1 ansible_host=10.0.0.5\n", "an INI file"),
        ("deploy", "#!/bin/bash\nset -e\n", "a shell script"),
        ("deploy", "#!/usr/bin/env python3\nimport os\n", "a Python program"),
        ("Dockerfile", "FROM debian\n", "a Dockerfile"),
        ("Vagrantfile", 'Vagrant.configure("2") do |config|\nend\n', "Ruby"),
        ("page.sloth", "<!DOCTYPE html>\n<html></html>", "a page of the web (HTML) or XML"),
        ("a.sloth", "\udcff\udcfet\0a\0s\0k\0", "UTF-16 text"),
        ("a.sloth", "t\0a\0s\0k\0(\0", "UTF-16 text"),
        ("a.sloth", "PK\x03\x04\udcff", "no text"),
        ("a.sloth", "\x7fELF\x02\x01\x01\0\0", "no text"),
    ],
)
def test_what_is_no_lua(name: str, text: str, what: str) -> None:
    found = what_else(name, text)
    assert found is not None and found.what == what
    assert "{name}" not in " ".join(found.next)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.sloth", 'task({\n  name: "a",\n  run = function() end,\n})\n'),
        ("a.sloth", "# a comment\nlocal x = = 5\n"),
        ("a.lua", "--- says more\nlocal x = [1]\n"),
        ("a", "local t = {\n  a: 1,\n}\n"),
        ("a.sloth", "if x = 1 then\n\tprint(1)\nend\n"),
        ("tasks.yml", 'task({ name = "a" run = function() end })\n'),
        ("a.sloth", "goto done\n::done::\n\tx++\n"),
        ("a.sloth", ""),
    ],
)
def test_lua_with_a_mistake_stays_lua(name: str, text: str) -> None:
    assert what_else(name, text) is None


def test_the_error_shows_the_smallest_right_file(desk: Desk) -> None:
    desk.file = desk.folder / "site.yml"
    with pytest.raises(SyntaxProblem) as caught:
        desk.load(PLAYBOOK)
    error = caught.value
    assert error.message == "this is an Ansible playbook (YAML); a task file is Lua"
    assert (error.file, error.line, error.unchanged) == (str(desk.file), 2, ["nothing was run"])
    assert SMALLEST in error.next[0]
    assert [task.name for task in desk.load(SMALLEST).program.tasks] == ["hello"]


def test_a_guide_that_is_named_is_there() -> None:
    found = what_else("site.yml", PLAYBOOK)
    assert found is not None
    named = [word for line in found.next for word in line.split() if word.startswith("docs/")]
    assert named and all((Path(__file__).parents[2] / path).is_file() for path in named)


def test_a_name_that_a_shell_would_read_stands_in_no_line_to_be_copied() -> None:
    found = what_else("a;touch b.sh", "#!/bin/sh\n")
    assert found is not None and found.next == ('a task can call it: cmd({ command = "./FILE" })',)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yml", "on:\n" * 25_000),
        ("a.yml", "jobs:\n" * 16_000),
        ("a.yml", " \n" * 50_000 + "x: ?"),
        ("a.sloth", "\n" * 100_000 + "?"),
        ("a.sloth", "---" + "\n" * 99_000 + "?"),
        ("a.sloth", "task" + "\n" * 90_000),
        ("a.sloth", "task(\n" * 16_000),
    ],
)
def test_a_long_text_is_read_once_and_not_from_each_of_its_lines(name: str, text: str) -> None:
    assert what_else(name, text) == what_else(name, text[:4] + text[-5:])
