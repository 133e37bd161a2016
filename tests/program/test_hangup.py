"""Why: a terminal that is closed, or a connection that is lost, stops a run as Ctrl-C does: nothing stays locked."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.program.kit import PROGRAM, Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user whose task says "begun", runs a command until somebody writes into ``gate``, and says "ended"."""
    home = Home(tmp_path)
    os.mkfifo(home.cwd / "gate")
    home.file(
        "t.sloth",
        'task({name = "t", run = function() print("begun") cmd("cat gate") end})\n'
        'task({name = "after", depends_on = "t", run = function() print("went on") end})',
    )
    return home


def open_gate(home: Home) -> None:
    """The command may end."""
    (home.cwd / "gate").write_text("now\n")


def ended(home: Home, status: str) -> None:
    """The run is recorded so, and holds nothing."""
    assert home.run("runs", "show", "-o", "json").json["status"] == status
    assert home.run("lock", "list", "--shared").out == ""


def until(process: subprocess.Popen[str], text: str) -> None:
    """Read what it says up to a line with this text."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it did not say {text!r}")


def test_a_hangup_stops_a_run_in_order(home: Home) -> None:
    with home.start("run", "t.sloth") as process:
        until(process, "begun")
        process.send_signal(signal.SIGHUP)
        until(process, "stopping")
        open_gate(home)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP
    ended(home, "interrupted")


def test_a_closed_terminal_stops_a_run_in_order(home: Home) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home.cwd)
        os.execve(PROGRAM[0], [*PROGRAM, "run", "t.sloth"], home.env)
    said = b""
    while b"begun" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    open_gate(home)
    os.waitpid(pid, 0)
    ended(home, "interrupted")


def test_who_asked_for_nohup_gets_it(home: Home) -> None:
    argv = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *PROGRAM, "run", "t.sloth"]
    with subprocess.Popen(argv, env=home.env, cwd=home.cwd, stdout=subprocess.PIPE, text=True) as process:
        until(process, "begun")
        process.send_signal(signal.SIGHUP)
        open_gate(home)
        until(process, "went on")
        process.communicate(timeout=60)
    assert process.returncode == 0
    ended(home, "ok")
