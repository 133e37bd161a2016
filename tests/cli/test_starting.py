"""A project begins with init; what is there is never overwritten, and what it makes works at once."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.kit import Cli


def test_a_new_project_runs_as_it_says(cli: Cli) -> None:
    result = cli("init", "new project")
    assert result.code == 0
    assert result.err.splitlines()[:2] == [
        "next: cd 'new project'",
        "      sloth-runner run hello.sloth --values values.yaml",
    ]
    folder = cli.work / "new project"
    out = ["--set", f"folder={cli.folder / 'out'}"]
    run = ("-C", str(folder), "run", "hello.sloth", "--values", "values.yaml", *out)
    assert "1 ok, 2 changed, 0 failed" in cli(*run).out
    assert (cli.folder / "out" / "hello.txt").read_text().startswith("Hello, world, from ")
    assert "3 ok, 0 changed, 0 failed" in cli(*run).out
    assert cli("-C", str(folder), "config", "show").code == 0
    library = json.loads((folder / ".luarc.json").read_text())["workspace.library"]
    assert [(folder / name / "file.lua").is_file() for name in library] == [True]


def test_the_fields_of_a_task_are_shown_with_it(cli: Cli) -> None:
    shown = cli.ok("modules", "task")
    assert "sloth.Task\n" in shown and "depends_on" in shown
    assert "depends_on" in cli.ok("modules", "sloth.Task")
    # What stands in the description already is not said again.
    assert "content         the text, byte for byte (needed)\n" in cli.ok("modules", "file.write")


def test_nothing_is_overwritten(cli: Cli) -> None:
    cli.file("project/values.yaml", "mine: true\n")
    result = cli("init", "project")
    assert result.code == 0 and "kept /TMP/work/project/values.yaml: it was there already" in result.out
    assert (cli.work / "project" / "values.yaml").read_text() == "mine: true\n"
    before = {path: path.read_bytes() for path in (cli.work / "project").rglob("*") if path.is_file()}
    again = cli("init", "project")
    assert again.code == 0 and again.out.count("kept") == 4
    assert {path: path.read_bytes() for path in (cli.work / "project").rglob("*") if path.is_file()} == before


def test_a_strange_file_among_the_types_is_not_touched(cli: Cli) -> None:
    cli.file("types/state.lua", "-- mine\n")
    result = cli("types", "types")
    assert result.code == 64 and "was not made by sloth-runner types" in result.err
    assert [path.name for path in (cli.work / "types").iterdir()] == ["state.lua"]


def test_types_of_what_is_no_more_go_away(cli: Cli) -> None:
    cli("types", "types")
    old = cli.work / "types" / "gone.lua"
    old.write_text((cli.work / "types" / "state.lua").read_text())
    mine = cli.file("types/own.lua", "return 1\n")
    assert cli("types", "types").code == 0
    assert not old.exists() and mine.exists()


def test_types_go_to_the_usual_folder_or_to_the_output(cli: Cli) -> None:
    assert cli("types").code == 0
    assert (cli.work / ".sloth" / "types" / "common.lua").is_file()
    assert "function file.copy(args) end" in cli.ok("types", "--stdout")


def test_names_are_completed(cli: Cli) -> None:
    def completed(*words: str) -> list[str]:
        environ = {"_SLOTH_RUNNER_COMPLETE": "fish_complete", "COMP_CWORD": words[-1]}
        environ["COMP_WORDS"] = " ".join(["sloth-runner", *words])
        return [line.split(",")[-1] for line in cli(environ=environ).out.splitlines()]

    assert completed("modules", "file.w") == ["file.write"]
    assert completed("modules", "facts.mem") == ["facts.memory"]
    assert {"E-FIELD", "E-FILE-MISSING", "E-FOREIGN"} <= set(completed("explain", "E-F"))
    assert "crypto.sha256" in completed("explain", "cry")


def test_a_page_is_found_by_its_name(cli: Cli) -> None:
    assert "workflow.define(name, def)" in cli.ok("modules", "workflow")
    assert "sleep(time)" in cli.ok("modules", "lua")
    assert "file:NAME" in cli.ok("modules", "file")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "in it: link.sloth, site.sloth"),
        ("empty", "sloth-runner init"),
        ("https://example.org/site.sloth", "fetch it and read it first"),
        ("s3://bucket/site.sloth", "fetch it and read it first"),
        ("site", "did you mean 'site.sloth'?"),
        ("main.tf", "task files there: link.sloth, site.sloth"),
        ("nowhere/site.sloth", "there is no folder"),
        ("-", "write what it gives into a file"),
        ("pipe", "write what it gives into a file"),
        ("dead.sloth", "is a link to gone.sloth, which is not there"),
    ],
)
def test_what_is_no_task_file_says_what_to_do(cli: Cli, name: str, said: str) -> None:
    cli.file("site.sloth", 'task({ name = "a", run = function() end })')
    (cli.work / "empty").mkdir()
    os.mkfifo(cli.work / "pipe")
    (cli.work / "dead.sloth").symlink_to("gone.sloth")
    (cli.work / "link.sloth").symlink_to("site.sloth")
    result = cli("run", name)
    assert (result.code, said in result.err) == (4, True)
    assert "unchanged: nothing was run" in result.err


def test_a_file_without_tasks_is_warned_of(cli: Cli) -> None:
    cli.file("a.sloth", "return { { name = 'a' } }")
    assert "the file defines no task" in cli("validate", "a.sloth").err
    assert "warning: the file defines no task" in cli.ok("run", "a.sloth")


@pytest.mark.parametrize("line", [("modules", "lineinfile"), ("explain", "lineinfile")])
def test_names_of_other_tools_are_known(cli: Cli, line: tuple[str, ...]) -> None:
    assert "here that is file.line" in cli(*line).err


def test_words_that_other_tools_have_for_all_calls(cli: Cli) -> None:
    cli.file("a.sloth", 'task({ name = "a", run = function() cmd({ command = "true", become = true }) end })')
    assert 'cmd has no become: say user = "root"' in cli("plan", "a.sloth").out


def test_values_that_were_not_given_are_named_by_the_error_that_follows(cli: Cli) -> None:
    cli.ok("init", "shop")
    forgotten = cli("run", "shop/hello.sloth").out
    assert "next: values.folder is missing: give it: --set folder=…, or --values values.yaml" in forgotten
    cli.file(
        "a.sloth", 'task({ name = "a", run = function()\n  cmd({\n    command = values.line,\n  })\nend })'
    )
    assert "values.line is missing: give it: --set line=…, or --values FILE" in cli("run", "a.sloth").out
