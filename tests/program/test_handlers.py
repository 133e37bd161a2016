"""Why: a handler that a change has called for must run, whatever else calls for it or takes that back meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sloth_runner.state.layout import LOCAL
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import intents
from sloth_runner.state.ledger_records import Intent
from tests.program.kit import Home

GOOD = ("--set", "text=good", "-o", "json")


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


def test_a_handler_that_failed_stays_due_until_it_succeeds(home: Home) -> None:
    file(
        home,
        """handler({name = "h", run = function() cmd("echo h >> ROOT/log; test ! -e ROOT/broken") end})
        handler({name = "later", run = function() cmd("echo later >> ROOT/log") end})
        task({name = "t", run = function()
          file.write({dest = "ROOT/a", content = "a", notify = {"h", "later"}})
        end})""",
    )
    broken = home.cwd / "t" / "broken"
    broken.touch()
    for _ in range(2):
        said = home.run("run", "site.sloth", code=1)
        assert "still due on local" in said.out
    assert log(home) == ["h", "h"]
    broken.unlink()
    home.run("plan", "site.sloth", code=None)
    assert "still due" not in home.run("run", "site.sloth").out
    assert log(home) == ["h", "h", "h", "later"]
    home.run("run", "site.sloth")
    assert log(home) == ["h", "h", "h", "later"]


def test_a_handler_that_is_in_the_file_no_more_is_forgotten_and_that_is_said_once(home: Home) -> None:
    task = """task({name = "t", run = function()
      file.write({dest = "ROOT/a", content = "a", notify = NOTIFY})
    end})"""
    file(home, 'handler({name = "h", run = function() error("no") end})' + task.replace("NOTIFY", '"h"'))
    home.run("run", "site.sloth", code=1)
    file(home, task.replace("NOTIFY", "nil"))
    home.run("plan", "site.sloth", code=None)
    text = "the handler 'h' was due since run"
    assert text in home.run("run", "site.sloth").out
    assert text not in home.run("run", "site.sloth").out


def test_a_handler_runs_once_on_each_machine_that_called_for_it(home: Home) -> None:
    home.file("sloth.toml", '[agents]\nhere = "local://"\nthere = "local://"\n')
    file(
        home,
        """handler({name = "h", run = function(this) cmd("echo " .. this.agent .. " >> ROOT/log") end})
        task({name = "t", delegate_to = {"here", "there"}, run = function(this)
          for _, name in ipairs({"a", "b"}) do
            file.write({dest = "ROOT/" .. name .. this.agent, content = name, notify = "h"})
          end
        end})
        task({name = "u", run = function() file.write({dest = "ROOT/c", content = "c", notify = "h"}) end})""",
    )
    home.run("run", "site.sloth")
    assert sorted(log(home)) == ["here", "local", "there"]
    (home.cwd / "t" / "athere").unlink()
    home.run("run", "site.sloth")
    assert sorted(log(home)) == ["here", "local", "there", "there"]


REFUSED = """handler({name = "h", run = function() cmd("echo h >> ROOT/log") end})
task({name = "t", run = function()
  file.write({dest = "ROOT/PLACE", content = values.text, validate = "grep -q good %s", notify = "h"})
end})"""


@pytest.mark.parametrize("place", ["old", "new"])
def test_what_was_refused_calls_for_nothing(home: Home, place: str) -> None:
    """Nothing was touched, so the next run has nothing to go on with."""
    (home.cwd / "t" / "old").write_text("good")
    file(home, REFUSED.replace("PLACE", place))
    home.run("run", "site.sloth", "--set", "text=bad", code=1)
    assert list(intents(home.app().store(), LOCAL)) == []
    (home.cwd / "t" / place).write_text("good")
    assert "h" not in [
        task["name"] for task in json.loads(home.run("plan", "site.sloth", *GOOD).out)["tasks"]
    ]
    home.run("run", "site.sloth", *GOOD)
    assert log(home) == []


def test_a_plan_shows_what_a_run_that_was_stopped_has_called_for(home: Home) -> None:
    """It was stopped when the file had been written, and before that was on record."""
    file(home, REFUSED.replace("PLACE", "a"))
    path = home.cwd / "t" / "a"
    path.write_text("good")
    store = home.app().store()
    Ledger(store, LOCAL, tuple).begin({f"file:{path}": Intent(None, {}, None, True, ("h",), 0.0, "run")}, {})
    planned = json.loads(home.run("plan", "site.sloth", *GOOD).out)
    assert [task["name"] for task in planned["tasks"]] == ["t", "h"]
    home.run("run", "site.sloth", *GOOD)
    assert log(home) == ["h"]


def test_what_prune_undoes_calls_for_its_handlers_with_the_next_run(home: Home) -> None:
    handlers = """handler({name = "one", run = function() cmd("echo one >> ROOT/log") end})
        handler({name = "two", run = function() cmd("echo two >> ROOT/log") end})"""
    lines = """file.write({dest = "ROOT/a", content = "a", notify = "one"})
          file.write({dest = "ROOT/b", content = "b", notify = {"one", "two"}})
          file.write({dest = "ROOT/c", content = "c"})"""
    file(home, handlers + 'task({name = "t", run = function()\n' + lines + "\nend})")
    home.run("run", "site.sloth")
    file(home, handlers + 'task({name = "t", run = function() end})')
    told = home.run("prune", "site.sloth", "--check", "-o", "json").json
    done = home.run("prune", "site.sloth", "--yes", "-o", "json").json
    assert told["due"] == done["due"] == [{"agent": "local", "handler": name} for name in ("one", "two")]
    assert log(home) == ["one", "two"], "not yet"
    home.run("run", "site.sloth")
    home.run("run", "site.sloth")
    assert log(home) == ["one", "two", "one", "two"]


def test_a_handler_that_is_named_later_or_gone_counts_as_the_file_says_now(home: Home) -> None:
    handler = 'handler({name = "HANDLER", run = function() cmd("echo HANDLER >> ROOT/log") end})\n'
    made = 'task({name = "t", run = function() file.write({dest = "ROOT/a", content = "a", MORE}) end})'
    for name in ("one", "two"):
        file(home, (handler + made).replace("HANDLER", name).replace("MORE", f'notify = "{name}"'))
        home.run("run", "site.sloth")
    file(home, handler.replace("HANDLER", "two") + 'task({name = "t", run = function() end})')
    assert home.run("prune", "site.sloth", "--check", "-o", "json").json["due"] == [
        {"agent": "local", "handler": "two"}
    ]
    file(home, handler.replace("HANDLER", "one") + 'task({name = "t", run = function() end})')
    assert home.run("prune", "site.sloth", "--yes", "-o", "json").json["due"] == []
    home.run("run", "site.sloth")
    assert log(home) == ["one"]
