"""Why: calls that each say a part of what one file is to be like are looked at, told and undone together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.program.kit import Home
from tests.program.leftovers import prune, task

WRITE = 'file.write({dest = "ROOT/f", content = "ours"})'
MODE = 'file.attributes({path = "ROOT/f", mode = "0600"})'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and a file ``t/f`` whose content and mode two calls have set."""
    home = Home(tmp_path)
    (home.cwd / "t").mkdir()
    (home.cwd / "t" / "f").write_text("theirs")
    task(home, WRITE, MODE)
    home.run("run", "site.sloth")
    return home


def drifted(home: Home) -> list[str]:
    """The attributes that differ."""
    rows = home.run("drift", "-o", "json").json["resources"]
    return [one["name"] for row in rows for one in row["attributes"]]


def calls(home: Home, *more: str) -> list[dict[str, Any]]:
    """Run; the calls that changed something."""
    ran = home.run("run", "site.sloth", "-o", "json", *more).json
    return [one for done in ran["tasks"] for one in done["calls"] if one["changed"]]


def test_what_others_change_is_told_of_each_part(home: Home) -> None:
    file = home.cwd / "t" / "f"
    file.write_text("changed")
    file.chmod(0o604)
    assert drifted(home) == ["content", "mode"]
    plan = home.run("plan", "site.sloth", "-o", "json").json
    first, second = (action["reason"] for done in plan["tasks"] for action in done["actions"])
    assert "the machine drifted" in first and second == first
    assert all("changed by others" in one["message"] for one in calls(home))
    assert drifted(home) == [] and calls(home) == []


def test_what_is_asked_for_no_more_is_looked_at_no_more_and_undone(home: Home) -> None:
    file = home.cwd / "t" / "f"
    task(home, WRITE)
    assert calls(home) == []
    assert prune(home) == {"f": "keep"}  # it is told
    file.chmod(0o644)
    assert drifted(home) == [] and calls(home) == []
    file.chmod(0o600)
    task(home)
    assert prune(home) == {"f": "restore"}
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("theirs", 0o644)


def test_what_is_asked_for_again_is_looked_at_again(home: Home) -> None:
    for lines in ((MODE,), (WRITE, MODE)):
        task(home, *lines)
        assert calls(home) == []
    (home.cwd / "t" / "f").write_text("changed")
    assert drifted(home) == ["content"]


def test_what_another_stack_wants_of_it_is_looked_at_and_stays(home: Home) -> None:
    file = home.cwd / "t" / "f"
    group = 'file.attributes({path = "ROOT/f", group = "GROUP"})'.replace("GROUP", str(file.stat().st_gid))
    task(home, group, file="other.sloth")
    for _ in range(2):
        home.run("run", "other.sloth")
        file.write_text("changed")
        file.chmod(0o604)
        assert drifted(home) == ["content", "mode"]
        assert len(calls(home)) == 2 and drifted(home) == []
    task(home, WRITE)
    assert calls(home) == []
    file.chmod(0o604)
    assert drifted(home) == []
    home.run("run", "other.sloth")
    assert drifted(home) == []


def test_a_run_of_some_tasks_takes_nothing_from_the_others(home: Home) -> None:
    task(
        home,
        WRITE,
        more=f'task({{name = "u", run = function() {MODE} end}})'.replace("ROOT", f"{home.cwd}/t"),
    )
    home.run("run", "site.sloth")
    home.run("run", "site.sloth", "--task", "t")
    (home.cwd / "t" / "f").chmod(0o604)
    assert drifted(home) == ["mode"]
    assert [one["line"] for one in calls(home)] == [4]
