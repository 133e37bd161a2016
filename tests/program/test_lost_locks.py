"""Who has lost a lock that renews itself does nothing more under it, whatever stands in the way."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.program.kit import PROGRAM, Home

BREAK = shlex.join([*PROGRAM, "lock", "break", "W", "--yes", "--reason", "stuck"])
HEAD = f"local function broken() cmd([[{BREAK}]]) end\nlocal function after() cmd('touch after') end\n"

INSIDE = """task({name = "t", run = function()
  state.with_lock("W", "me", 3, function() broken() pcall(sleep, 60) after() end)
end})"""
OUTSIDE = """task({name = "t", run = function()
  pcall(state.with_lock, "W", "me", 3, function() broken() sleep(60) end)
  after()
end})"""
BRANCH = """task({name = "t", run = function()
  local function quick() error("no") end
  local function slow() state.with_lock("W", "me", 3, function() broken() pcall(sleep, 60) after() end) end
  pcall(parallel, {quick, slow})
  after()
end})"""
ABOVE = """task({name = "t", run = function()
  state.with_lock("W", "me", 3, function()
    broken()
    pcall(parallel, {function() pcall(sleep, 60) after() end, function() pcall(sleep, 60) after() end})
    after()
  end)
end})"""
FIELD = (
    'task({name = "t", locks = "W", timeout = "5m", run = function() broken() pcall(sleep, 120) after() end})'
)
LATE = """task({name = "t", run = function()
  pcall(state.with_lock, "W", "me", 300, broken)
  after()
end})"""
FAILS = """task({name = "t", run = function()
  pcall(state.with_lock, "W", "me", 300, function() broken() error("mine") end)
  after()
end})"""
FIELD_FAILS = 'task({name = "t", locks = "W", retries = 1, run = function() broken() error("mine") end})'
WRITE = """task({name = "t", run = function()
  pcall(state.with_lock, "W", "me", 300, function() broken() pcall(state.set, "x", 1) after() end)
  after()
end})"""
TRANSACTION = """task({name = "t", run = function()
  pcall(state.with_lock, "W", "me", 300, function()
    broken()
    pcall(state.transaction, function() state.set("x", 1) end)
    after()
  end)
end})"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize(
    "text", [INSIDE, OUTSIDE, BRANCH, ABOVE, FIELD, LATE, WRITE, TRANSACTION, FAILS, FIELD_FAILS]
)
def test_no_pcall_swallows_it(home: Home, text: str) -> None:
    home.file("t.sloth", HEAD + text)
    document = home.run("run", "t.sloth", "-o", "json", code=1).json
    error = document["tasks"][0]["error"]
    assert error["code"] == "E-LOCK-LOST"
    assert "stuck" in error["message"]
    assert ("mine" in error["message"]) == ("mine" in text)
    assert not (home.cwd / "after").exists()


def test_what_is_to_be_cleaned_up_is(home: Home) -> None:
    text = """task({name = "t", retries = 2, run = function()
      state.with_lock("other", "me", 60, function()
        state.lock("plain", "me", 60)
        state.with_lock("W", "me", 3, function()
          local mine <close> = setmetatable({}, {__close = function() state.set("closed", true) end})
          broken()
          pcall(sleep, 60)
        end)
      end)
    end, on_failure = function(this, e) state.set("told", e.code) end})"""
    home.file("t.sloth", HEAD + text)
    home.run("run", "t.sloth", code=1)
    assert home.run("lock", "list", "--all-agents").out == ""
    assert home.value("told") == "E-LOCK-LOST"


def test_a_run_whose_stack_was_taken_away_says_so(home: Home) -> None:
    broken = shlex.join([*PROGRAM, "lock", "break", "--shared", "stack:site", "--yes", "--reason", "stuck"])
    home.file("site.sloth", f'task({{name = "t", run = function() cmd([[{broken}]]) end}})')
    said = home.run("run", "site.sloth", code=1)
    assert "E-LOCK-LOST" in said.out and "'stack:site'" in said.out and "stuck" in said.out


def test_whose_stack_another_may_have_changes_nothing_more(home: Home) -> None:
    taken = shlex.join([*PROGRAM, "lock", "break", "stack:t", "--shared", "--yes", "--reason", "it hangs"])
    text = """task({name = "t", run = function()
      file.write({dest = "ROOT/first", content = "x"})
      cmd([[TAKEN]])
      pcall(function() file.write({dest = "ROOT/second", content = "x"}) end)
      file.write({dest = "ROOT/third", content = "x"})
    end})
    task({name = "u", run = function() file.write({dest = "ROOT/fourth", content = "x"}) end})"""
    root = home.cwd / "t"
    root.mkdir()
    home.file("t.sloth", text.replace("ROOT", str(root)).replace("TAKEN", taken))
    said = home.run("run", "t.sloth", code=1)
    assert "it hangs" in said.out and said.out.count("E-LOCK-LOST") == 1
    assert [path.name for path in root.iterdir()] == ["first"]
    recorded = home.run("resource", "list", "-o", "json").json["resources"]
    assert [Path(row["address"]).name for row in recorded] == ["first"]
    (entry,) = home.run("runs", "list", "-o", "json").json["runs"]
    assert (entry["status"], entry["exit_code"]) == ("failed", 1)
    shown = home.run("runs", "show", "last", "-o", "json").json
    assert shown["lost"]["error"]["code"] == "E-LOCK-LOST"
    assert [task["status"] for task in shown["tasks"]] == ["failed", "skipped"]
    assert home.run("run", "t.sloth", "-o", "json", code=1).json["lost"]["unrecorded"] == []
