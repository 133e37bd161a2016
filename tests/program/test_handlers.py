"""Why: a handler that a change has called for must run, whatever else calls for it or takes that back meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program.kit import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    return home


def file(home: Home, text: str) -> None:
    home.file("site.sloth", text.replace("ROOT", str(home.cwd / "t")))


def log(home: Home) -> list[str]:
    path = home.cwd / "t" / "log"
    return path.read_text().split() if path.exists() else []


def test_a_command_that_changed_nothing_takes_back_only_its_own_call(home: Home) -> None:
    file(
        home,
        """handler({name = "h", run = function() cmd("echo h >> ROOT/log") end})
        task({name = "t", run = function()
          parallel({
            function() cmd({command = "while ! test -e ROOT/b; do sleep 0.02; done; echo a", notify = "h",
              changed_when = false}) end,
            function() cmd({command = "touch ROOT/b", notify = "h"}) end,
          })
        end})""",
    )
    home.run("run", "site.sloth")
    assert log(home) == ["h"]


def test_a_handler_called_for_again_after_it_ran_stays_due(home: Home) -> None:
    file(
        home,
        """handler({name = "first", run = function() cmd("echo first >> ROOT/log") end})
        handler({name = "second", run = function()
          file.write({dest = "ROOT/b", content = "b", notify = "first"})
        end})
        task({name = "t", run = function()
          file.write({dest = "ROOT/a", content = "a", notify = {"first", "second"}})
        end})""",
    )
    assert "still due on local" in home.run("run", "site.sloth").out
    assert log(home) == ["first"]
    assert "still due" not in home.run("run", "site.sloth").out
    assert log(home) == ["first", "first"]
    home.run("run", "site.sloth")
    assert log(home) == ["first", "first"]


def test_a_handler_is_no_task(home: Home) -> None:
    text = 'handler({name = "t", run = function() end})\ntask({name = "t", run = function() end})'
    file(home, text)
    assert "E-DUPLICATE" in home.run("validate", "site.sloth", code=5).err
