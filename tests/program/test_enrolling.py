"""Why: a machine with SSH becomes an agent by one command: here one with a real sshd and a real systemd."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scratch import Scratch, scratch_or_skip

START = """
from pathlib import Path
from tests.services.sshd import SSHServer
server = SSHServer(Path("/srv/sshd"), Path("/root"))
server.start()
print(server.url)
"""
UNIT = "sloth-runner-agent.service"


class Machine:
    """A scratch machine that is its own controller. ``url``: its sshd."""

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        self.url = scratch.python(START).strip()
        self.write("/srv/project/sloth.toml", '[agents]\nweb1 = "grpc://127.0.0.1"\n')

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        self.scratch.run("sh", "-c", 'mkdir -p "${1%/*}"; cat > "$1"', "sh", path, stdin=text)

    def argv(self, *words: str) -> list[str]:
        """``sloth-runner WORDS``, as the user whom sshd knows."""
        env = ["HOME=/srv/sshd/home", "SLOTH_RUNNER_HOME=/srv/state"]
        return ["env", "-C", "/srv/project", *env, sys.executable, "-m", "sloth_runner", *words]

    def ok(self, *words: str) -> str:
        """Its output."""
        return self.scratch.run(*self.argv(*words))

    def run(self, body: str) -> dict[str, Any]:
        """The task of a run on the agent."""
        self.write(
            "/srv/project/t.sloth",
            f'task({{ name = "t", delegate_to = "web1", run = function() {body} end }})',
        )
        found: dict[str, Any] = json.loads(self.ok("run", "t.sloth", "-o", "json"))["tasks"][0]
        return found

    def show(self, name: str) -> str:
        """A property of the agent's unit."""
        return self.scratch.run("systemctl", "show", "-P", name, UNIT).strip()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Made an agent over SSH."""
    with scratch_or_skip(tmp_path_factory.mktemp("enrolling"), systemd=True) as scratch:
        made = Machine(scratch)
        made.ok("agent", "ca", "init")
        said = made.ok("agent", "enroll", made.url, "web1", "--python", sys.executable)
        assert 'web1 = "grpc://127.0.0.1"' in said
        yield made


def test_it_serves_under_systemd(machine: Machine) -> None:
    assert (machine.show("ActiveState"), machine.show("UnitFileState")) == ("active", "enabled")
    folder = "/var/lib/sloth-runner/agent"
    listed = machine.scratch.run("stat", "-c", "%a %U", folder, f"{folder}/agent.key", f"{folder}/agent.pem")
    assert listed.splitlines() == ["700 root", "600 root", "600 root"]
    done = machine.run(
        'file.write({ dest = "/etc/motd", content = "ours\\n" }) print(cmd({ argv = { "id", "-un" } }).stdout)'
    )
    assert "root" in "".join(line["text"] for line in done["log"])
    assert machine.scratch.run("cat", "/etc/motd") == "ours\n"
    assert machine.run("print(facts.os.id, facts.interfaces ~= nil)")["status"] == "ok"
    assert "yes, as root" in machine.ok("agent", "ping", "web1")


def test_killed_it_comes_back_and_what_it_had_begun_is_gone(machine: Machine) -> None:
    mark = "/srv/begun"
    machine.write(
        "/srv/project/long.sloth",
        f"""task({{ name = "long", delegate_to = "web1", run = function()
          cmd({{ command = "echo $$ > {mark}; exec sleep 600", timeout = "5s" }})
        end }})""",
    )
    process = subprocess.Popen(
        machine.scratch.argv(machine.argv("run", "long.sloth", "-o", "json")),
        stdout=subprocess.PIPE,
        text=True,
    )
    wait(lambda: machine.scratch.run("cat", mark, code=None).strip() != "")
    before, program = machine.show("MainPID"), machine.scratch.run("cat", mark).strip()
    machine.scratch.run("kill", "-KILL", before)
    out, _ = process.communicate(timeout=120)
    lost = json.loads(out)["tasks"][0]
    assert (process.returncode, lost["error"]["code"]) == (6, "E-INDETERMINATE")
    wait(lambda: machine.scratch.run("ls", f"/proc/{program}/exe", code=None) == "")
    wait(lambda: machine.show("ActiveState") == "active" and machine.show("MainPID") not in ("0", before))
    assert machine.run('cmd({ argv = { "true" }, reads_only = true })')["status"] == "ok"


def test_a_name_that_is_taken_is_refused_before_anything_is_done_there(machine: Machine) -> None:
    key = "/var/lib/sloth-runner/agent/agent.key"
    before = machine.scratch.run("sha256sum", key)
    argv = machine.argv("agent", "enroll", machine.url, "web1", "--python", sys.executable)
    said = machine.scratch.run("sh", "-c", '"$@" 2>&1', "sh", *argv, code=64)
    assert "is enrolled already" in said
    assert machine.scratch.run("sha256sum", key) == before
    assert "yes, as root" in machine.ok("agent", "ping", "web1")


def wait(true: Any) -> None:
    """Return when it is true."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
