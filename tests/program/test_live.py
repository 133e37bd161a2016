"""Why: a run that is under way is seen from another process as it goes, and nothing of that stays behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sloth_runner.state.layout import RUN_LIVE, SHARED, prefix_of
from tests.program.kit import Home

FILE = """
task({name = "quick", run = function() print("at once") end})
task({name = "slow", depends_on = "quick", run = function()
  print("first line")
  cmd({command = "while [ ! -e GO ]; do sleep 0.05; done", changed_when = false})
  print("last line")
end})
task({name = "after", depends_on = "slow", run = function() end})
"""


def test_what_a_run_says_is_seen_while_it_runs(tmp_path: Path) -> None:
    home = Home(tmp_path)
    go = home.cwd / "go"
    home.file("long.sloth", FILE.replace("GO", str(go)))
    process = home.start("run", "long.sloth")
    try:
        tasks = _until(home, lambda tasks: any(line["text"] == "first line" for line in _log(tasks, "slow")))
        assert [(name, task["status"]) for name, task in tasks.items()] == [
            ("quick", "ok"), ("slow", "running"), ("after", "waiting"),
        ]  # fmt: skip
        assert tasks["slow"]["depends_on"] == ["quick"]
        assert tasks["slow"]["started"] >= tasks["quick"]["started"]
        assert tasks["after"]["started"] is None
    finally:
        go.touch()
        process.communicate(timeout=60)
    assert process.returncode == 0
    tasks = _tasks(home)
    assert [task["status"] for task in tasks.values()] == ["ok", "ok", "ok"]
    assert [line["text"] for line in _log(tasks, "slow")] == ["first line", "last line"]
    app = home.app()
    assert list(app.store().scan(prefix_of(SHARED, RUN_LIVE))) == []
    app.close()


def test_what_a_killed_run_was_doing_stays_to_be_seen(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.file("long.sloth", 'task({name = "slow", run = function() print("first line"); sleep(60) end})')
    process = home.start("run", "long.sloth")
    _until(home, lambda tasks: bool(_log(tasks, "slow")))
    process.kill()
    process.communicate(timeout=60)
    assert [line["text"] for line in _log(_tasks(home), "slow")] == ["first line"]


def _until(home: Home, wanted: Any) -> dict[str, Any]:
    """The tasks of the last run as soon as they are as wanted."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        said = home.run("runs", "show", "-o", "json", code=None)
        if said.code == 0:
            tasks = {task["name"]: task for task in said.json["tasks"]}
            if "slow" in tasks and wanted(tasks):
                return tasks
    raise AssertionError("the run was not seen")


def _tasks(home: Home) -> dict[str, Any]:
    return {task["name"]: task for task in home.run("runs", "show", "-o", "json").json["tasks"]}


def _log(tasks: dict[str, Any], name: str) -> list[dict[str, Any]]:
    log: list[dict[str, Any]] = tasks[name]["log"]
    return log
