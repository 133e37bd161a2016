"""Why: what a plan says beside a change is true, too: why it would be made, and what it would bring with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.program.kit import Home
from tests.program.leftovers import task

TWO = (
    'file.write({dest = "ROOT/d/one", content = "1"})',
    'file.write({dest = "ROOT/d/two", content = "2"})',
)
GONE = 'file.absent({path = "ROOT/d", recursive = true})'
MADE = 'file.directory("ROOT/d")'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user."""
    return Home(tmp_path)


def said(home: Home, field: str, action: str = "create") -> list[str | None]:
    """What a plan says of each change of a kind."""
    plan = home.run("plan", "site.sloth", "-o", "json").json
    return [one[field] for one in plan["tasks"][0]["actions"] if one["action"] == action]


@pytest.mark.parametrize("first", [(), (MADE,)])
def test_what_others_removed_with_its_folder_drifted_though_a_call_makes_that_again(
    home: Home, first: tuple[str, ...]
) -> None:
    task(home, *first, *TWO)
    run = home.run("run", "site.sloth", "-o", "json").json["run"]
    shutil.rmtree(home.cwd / "t" / "d")
    assert set(said(home, "reason")) == {f"the machine drifted since run {run}"}


def test_what_a_call_before_takes_away_is_not_told_as_others_work(home: Home) -> None:
    task(home, *TWO)
    home.run("run", "site.sloth")
    task(home, GONE, MADE, *TWO)
    assert said(home, "reason")[-2:] == ["a call before it changes it"] * 2


PARTS = {
    "content": 'file.write({dest = "ROOT/f", content = "ours"})',
    "mode": 'file.attributes({path = "ROOT/f", mode = "0600"})',
}


@pytest.mark.parametrize("order", [("content", "mode"), ("mode", "content")])
def test_what_a_call_before_leaves_alone_is_told_as_what_it_is(home: Home, order: tuple[str, str]) -> None:
    path = home.cwd / "t" / "f"
    path.parent.mkdir()
    path.touch()
    task(home, *(PARTS[part] for part in order))
    home.run("run", "site.sloth")
    path.write_text("theirs")
    path.chmod(0o640)
    reasons = said(home, "reason", "update")
    assert len(reasons) == 2 and all("the machine drifted" in str(reason) for reason in reasons)
    task(home, 'file.attributes({path = "ROOT/f", mode = "0644"})', PARTS["mode"])
    path.chmod(0o600)
    assert said(home, "reason", "update")[-1] == "a call before it changes it"


def test_a_plan_says_what_else_a_change_would_make(home: Home) -> None:
    task(home, TWO[0], 'file.line({path = "ROOT/e/f/l", line = "x", create = true})')
    folder = home.cwd / "t"
    assert said(home, "note") == [
        f"would make the folders above it: {folder}, {folder}/d (0755)",
        f"would make the folders above it: {folder}/e, {folder}/e/f (0755); would make {folder}/e/f/l",
    ]
    assert f"\n      would make the folders above it: {folder}, " in home.run("plan", "site.sloth").out
    report = home.run("plan", "site.sloth", "--report", "md").out
    assert f"\n  - `would make the folders above it: {folder}, " in report
    assert f"made the folders above it: {folder}, " in home.run("run", "site.sloth").out


def test_a_quiet_check_shows_what_would_fail_and_the_summary(home: Home) -> None:
    task(home, TWO[0])
    said = home.run("run", "site.sloth", "--check", "-q").out
    assert said.startswith("1 to create, ") and said.count("\n") == 1
    task(home, TWO[0], 'error("no more")')
    said = home.run("run", "site.sloth", "--check", "-q", code=1).out
    assert "no more" in said and "plan of" not in said and said.endswith("a run would fail\n")


def test_options_of_others_lead_to_ours(home: Home) -> None:
    assert "plan FILE --report md" in home.run("run", "site.sloth", "--check", "--report", "md", code=64).err
    assert "run --check -q" in home.run("plan", "site.sloth", "-q", code=64).err


def test_a_program_before_may_make_the_folders(home: Home) -> None:
    task(home, 'cmd("install something")', TWO[0])
    folder = home.cwd / "t"
    words = f"would make the folders above it: {folder}, {folder}/d (0755), unless `install something` makes"
    assert said(home, "note") == [f"{words} them before"]
