"""A run and its tasks end when their time is up, whatever stands in the way, and it is no success."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.program.kit import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def run(home: Home, text: str, *options: str, code: int = 1) -> Any:
    home.file("t.sloth", text)
    return home.run("run", "t.sloth", "-o", "json", *options, code=code).json


@pytest.mark.parametrize("options", [(), ("--timeout", "500ms")], ids=["task", "run"])
def test_no_pcall_puts_off_the_end(home: Home, options: tuple[str, ...]) -> None:
    limit = "" if options else 'timeout = "500ms", '
    text = f"""task({{name = "t", {limit}run = function()
      pcall(sleep, 60)
      state.set("after", 1)
      pcall(sleep, 60)
    end}})"""
    document = run(home, text, *options)
    assert document["tasks"][0]["error"]["code"] == "E-TIMEOUT"
    assert document["seconds"] < 30
    assert home.run("state", "list").out == ""


def test_no_pcall_around_branches_does(home: Home) -> None:
    text = """task({name = "t", timeout = "500ms", run = function()
      pcall(parallel, {function() pcall(sleep, 60) end, function() pcall(sleep, 60) end})
      state.set("after", 1)
    end})"""
    document = run(home, text)
    assert document["tasks"][0]["error"]["code"] == "E-TIMEOUT"
    assert home.run("state", "list").out == ""


def test_locks_are_let_go_when_the_time_is_up(home: Home) -> None:
    text = """
    task({name = "t", locks = "one", timeout = "500ms", run = function()
      state.with_lock("two", function() pcall(sleep, 60) end)
    end, on_failure = function(this, e) state.set("told", e.code) end})
    """
    run(home, text)
    assert home.run("lock", "list").out == ""
    assert home.value("told") == "E-TIMEOUT"


def test_there_is_no_further_attempt_without_time_for_it(home: Home) -> None:
    text = """task({name = "t", retries = 3, retry_delay = "10m", run = function()
      state.increment("tries")
      error("no")
    end})"""
    document = run(home, text, "--timeout", "60s")
    assert document["tasks"][0]["error"]["message"] == "no"
    assert home.value("tries") == "1"


def test_conditions_and_on_success_have_the_time_of_the_run(home: Home) -> None:
    text = """
    task({name = "before", run_if = function() sleep(60) return true end, run = function() end})
    task({name = "after", run = function() end, on_success = function() sleep(60) end})
    """
    for name in ("before", "after"):
        home.file("t.sloth", text)
        found = home.run("run", "t.sloth", "--task", name, "--timeout", "500ms", "-o", "json", code=1).json
        assert found["tasks"][0]["error"]["code"] == "E-TIMEOUT"


def test_what_was_not_started_is_no_success(home: Home) -> None:
    text = """
    local b = task("b"):command(function() state.set("b", 1) end):build()
    workflow.define("w", {tasks = {b}, on_complete = function(ok) state.set("ok", ok) end})
    """
    document = run(home, text, "--timeout", "1ms")
    assert document["status"] == "failed"
    assert {task["name"]: task["reason"] for task in document["tasks"]}["b"] == "the time of the run was up"
    assert home.value("ok") == "false"


def test_no_time_at_all_is_refused(home: Home) -> None:
    home.file("t.sloth", 'task({name = "t", run = function() end})')
    assert "--timeout is more than 0" in home.run("run", "t.sloth", "--timeout", "0", code=64).err


def test_a_file_that_takes_hours_to_read_keeps_nobody_when_the_time_is_up(home: Home, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 42)
    text = f"""task({{name = "t", timeout = "500ms", run = function()
      file.checksum("{tmp_path}/huge")
    end}})"""
    document = run(home, text)
    assert document["tasks"][0]["error"]["code"] == "E-TIMEOUT"
