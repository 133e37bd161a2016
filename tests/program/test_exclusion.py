"""Two runs never do the same thing at once: overlap, SIGSTOP past the lease, kill -9 inside the lock."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from sloth_runner.errors import StackLocked
from sloth_runner.execution.loading import Loading, RunOptions
from sloth_runner.execution.running import Execution
from tests.program.kit import Home

OVERLAP = """
task({name = "t", run = function()
  for i = 1, 12 do
    state.with_lock("deployment", "task-123", 30, function()
      local inside = state.increment("inside")
      if inside ~= 1 then error("overlap: " .. inside) end
      sleep(0.002)
      state.decrement("inside")
      state.increment("rounds")
    end, {wait = 60})
  end
end})
"""

SLOW = """
task({name = "t", run = function()
  state.with_lock("deployment", "task-123", 3, function(token)
    state.set("writer", "first")
    cmd("echo inside; touch started; while [ ! -e go ]; do sleep 0.02; done")
    state.set("writer", "zombie")
  end)
end})
"""

BUSY = """
task({name = "t", run = function()
  state.lock("deployment", "task-123", 3)
  state.set("writer", "first")
  cmd("touch started")
  while io.open(this_folder .. "/go") == nil do state.get("x") end
  state.set("writer", "zombie")
end})
"""

NEXT = """
task({name = "t", run = function()
  state.with_lock("deployment", "task-123", 5, function(token)
    state.set("writer", "second")
    print("token " .. token)
  end, {wait = 30})
end})
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def until(path: Path) -> None:
    """Wait for a file that another process makes."""
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_two_runs_with_the_same_holder_never_overlap(home: Home) -> None:
    files = [home.file(f"{name}.sloth", OVERLAP) for name in ("one", "two", "three")]
    processes = [home.start("run", str(file)) for file in files]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    assert home.value("rounds") == "36"
    assert home.value("inside") == "0"


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("script", ["slow", "busy"])
def test_a_run_stopped_past_its_lease_can_not_write_under_it(home: Home, taken: bool, script: str) -> None:
    text = SLOW if script == "slow" else BUSY.replace("this_folder", f'"{home.cwd}"')
    first = home.start("run", str(home.file("first.sloth", text)))
    until(home.cwd / "started")
    first.send_signal(signal.SIGSTOP)
    # The lease ends by the store's clock: a waiting run takes the lock as soon as it has.
    said = home.run("run", str(home.file("second.sloth", NEXT)))
    assert "token 2" in said.out
    if not taken:
        home.run("state", "set", "writer", "operator")
    (home.cwd / "go").touch()
    first.send_signal(signal.SIGCONT)
    out, err = first.communicate(timeout=60)
    assert first.returncode == 1, out + err
    assert "E-LOCK-LOST" in out + err
    assert home.value("writer") == ("second" if taken else "operator")


def test_a_lock_left_by_kill_9_is_free_when_its_lease_ends(home: Home) -> None:
    first = home.start("run", str(home.file("first.sloth", SLOW)))
    until(home.cwd / "started")
    first.kill()
    first.communicate()
    listed = home.run("lock", "list", "-o", "json").json["locks"]
    stale = {lock["name"]: lock["stale"] for lock in listed}
    assert stale.get("deployment", True)
    (home.cwd / "go").touch()
    said = home.run("run", str(home.file("second.sloth", NEXT)))
    assert "token 2" in said.out
    assert home.value("writer") == "second"


def test_one_stack_is_run_once_at_a_time(home: Home) -> None:
    file = home.file("first.sloth", SLOW)
    first = home.start("run", str(file))
    until(home.cwd / "started")
    said = home.run("run", str(file), code=3)
    assert "E-STACK-LOCKED" in said.err
    assert str(first.pid) in said.err
    (home.cwd / "go").touch()
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_a_stack_that_runs_keeps_its_name(home: Home) -> None:
    file = home.file("first.sloth", SLOW)
    first = home.start("run", str(file))
    until(home.cwd / "started")
    before = home.run("stack", "list").out
    said = home.run("stack", "rename", "first", "other", code=3)
    assert "E-STACK-LOCKED" in said.err and str(first.pid) in said.err
    assert "unchanged: nothing was renamed" in said.err
    said = home.run("stack", "forget", "first", "--yes", code=3)
    assert "E-STACK-LOCKED" in said.err and "unchanged: nothing was forgotten" in said.err
    assert home.run("stack", "list").out == before
    (home.cwd / "go").touch()
    first.communicate(timeout=60)
    home.run("stack", "rename", "first", "other")
    assert home.run("lock", "list", "--shared").out == ""


def test_a_stack_does_not_take_the_name_of_one_that_runs_first(home: Home) -> None:
    home.run("run", str(home.file("old.sloth", 'task({name = "t", run = function() end})')))
    app = home.app()
    plain = Path(home.file("new.sloth", 'task({name = "t", run = function() end})'))
    loading = Loading(app, RunOptions(plain))
    execution = Execution(app, loading.options, loading, loading.plan(), lambda event: None)
    with execution.lock:
        said = home.run("stack", "rename", "old", "new", code=3)
    assert "the stack 'new' is being run" in said.err
    assert [row["stack"] for row in home.run("stack", "list", "-o", "json").json["stacks"]] == ["old"]
    execution.run()
    app.close()


@pytest.mark.parametrize("words", [("rename", "t", "other"), ("forget", "t", "--yes")])
def test_a_run_that_waited_while_its_stack_got_another_name_does_not_begin(
    home: Home, words: tuple[str, ...]
) -> None:
    file = home.file("t.sloth", 'task({name = "t", run = function() state.increment("runs") end})')
    home.run("run", str(file))
    app = home.app()
    loading = Loading(app, RunOptions(file))
    execution = Execution(app, loading.options, loading, loading.plan(), lambda event: None)
    home.run("stack", *words)
    with pytest.raises(StackLocked, match="was renamed, forgotten or made anew"):
        execution.run()
    app.close()
    assert home.value("runs") == "1"


def test_a_bad_name_renames_nothing(home: Home) -> None:
    home.run("run", str(home.file("t.sloth", 'task({name = "t", run = function() end})')))
    home.run("stack", "list")
    for old, new in (("t", "../x"), ("t", "t"), ("no", "other")):
        said = home.run("stack", "rename", old, new, code=64)
        assert "unchanged: nothing was renamed" in said.err
        assert "nothing was run" not in said.err


def test_a_run_that_was_killed_has_died(home: Home) -> None:
    first = home.start("run", str(home.file("first.sloth", SLOW)))
    until(home.cwd / "started")
    assert home.run("runs", "list", "-o", "json").json["runs"][0]["status"] == "running"
    assert home.run("runs", "show", "-o", "json").json["status"] == "running"
    first.kill()
    first.communicate()
    (home.cwd / "go").touch()
    row = home.run("runs", "list", "-o", "json").json["runs"][0]
    assert (row["status"], row["exit_code"]) == ("died", None)
    assert "\tdied\t" in home.run("runs", "list").out
    shown = home.run("runs", "show", "-o", "json").json
    assert (shown["status"], shown["exit_code"]) == ("died", None)
    assert home.run("stack", "list", "-o", "json").json["stacks"][0]["last_status"] == "died"
    assert "\tdied\t" in home.run("stack", "list").out
