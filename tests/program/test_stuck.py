"""A pattern that would take years ends the process instead, however it is asked to end; a limit that the system sets
is told."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.program.kit import PROGRAM, Home

STUCK = '("a"):rep(30):find(("a-"):rep(25) .. "b")'
SHORT = {"SLOTH_RUNNER_RUN__LUA_TIME": "500ms"}


def seconds_of_work(pid: int) -> float:
    """How long a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("limit", ['timeout = "500ms", ', ""], ids=["timeout", "lua_time"])
def test_a_limit_ends_it(tmp_path: Path, limit: str) -> None:
    home = Home(tmp_path, {} if limit else SHORT)
    home.file(
        "t.sloth", f'task({{name = "t", {limit}run = function()\n  pcall(function() {STUCK} end)\nend}})'
    )
    said = home.run("run", "t.sloth", code=1)
    assert "E-TIMEOUT" in said.err and "task 't'" in said.err and "t.sloth:1" in said.err
    assert "took longer than its timeout of 0.5 s" in said.err or "for more than 0.5 s" in said.err
    assert "free when their leases end" in said.err
    assert "stack:t" in home.run("lock", "list", "--shared").out
    assert home.run("runs", "show", "-o", "json").json["status"] == "died"


@pytest.mark.parametrize("command", ["validate", "list", "plan", "run"])
def test_so_it_does_where_a_file_is_loaded(tmp_path: Path, command: str) -> None:
    home = Home(tmp_path, SHORT)
    home.file("t.sloth", STUCK.join(["local found = ", "\n"]))
    said = home.run(command, "t.sloth", "-o", "json", code=5)
    assert said.json["error"]["code"] == "E-TIMEOUT"
    assert "leases" not in said.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_end_it(tmp_path: Path, number: int) -> None:
    home = Home(tmp_path, {"SLOTH_RUNNER_RUN__LUA_TIME": "1h"})
    home.file("t.sloth", f'task({{name = "t", run = function() {STUCK} end}})')
    process = home.start("run", "t.sloth")
    end = time.monotonic() + 120
    while seconds_of_work(process.pid) < 1.5:
        assert time.monotonic() < end
        time.sleep(0.05)
    for _ in range(60):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
            break
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "E-INTERRUPTED" in err and "ended by force" in err


def test_what_only_takes_its_time_goes_on(tmp_path: Path) -> None:
    home = Home(tmp_path, SHORT)
    text = """task({name = "t", timeout = "5m", run = function()
      cmd("sleep 4")
      for i = 1, 2000 do state.set("k", i); ("x"):rep(1000):find(".-y") end
    end})"""
    home.file("t.sloth", text)
    home.run("run", "t.sloth")
    assert home.value("k") == "2000"


@pytest.mark.parametrize("files", [10, 16, 18, 20, 21])
def test_a_limit_of_open_files_is_told_wherever_it_is_met(tmp_path: Path, files: int) -> None:
    home = Home(tmp_path)
    home.file("t.sloth", 'task({name = "t", run = function() state.set("k", 1) cmd("true") end})')
    argv = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *PROGRAM, "run", "t.sloth"]
    done = subprocess.run(argv, env=home.env, cwd=home.cwd, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 5, 6) and "allow more: ulimit -n" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr, done.stderr
