"""Bodies can be ended at any time: endless loops, too much memory, cancellation, closing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from sloth_runner.errors import Interrupted, SlothError, TaskFailed, TimedOut
from sloth_runner.lua.loader import Limits
from sloth_runner.model import Call, Returned
from tests.lua.driver import Desk, drive

LOOPS = {
    "plain": "while true do end",
    "pcall": "while true do pcall(function() while true do end end) end",
    "xpcall": "while true do xpcall(function() while true do end end, function(e) return e end) end",
    "handler": 'xpcall(function() error("x") end, function(e) while true do end end)',
    "coroutine": "coroutine.wrap(function() while true do end end)()",
    "resume": "while true do local co = coroutine.create(function() while true do end end) coroutine.resume(co) end",
    "close": "do local x <close> = setmetatable({}, {__close = function() while true do end end}) end",
    "tostring": "tostring(setmetatable({}, {__tostring = function() while true do end end}))",
    "load": 'load("while true do pcall(function() while true do end end) end")()',
    "own name": 'load("while true do pcall(function() while true do end end) end", "=[sloth]")()',
    "sort": "table.sort({1, 2, 3}, function() while true do end end)",
}


class Ticks:
    """A clock that goes on by one second each time it is asked."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> float:
        self.now += 1
        return float(self.now)


def counted(limit: int, error: BaseException) -> Callable[[], BaseException | None]:
    """Stops once, at the given poll."""
    polls = itertools.count(1)
    return lambda: error if next(polls) == limit else None


@pytest.mark.parametrize("loop", LOOPS)
def test_an_endless_loop_ends_with_what_stop_says(desk: Desk, loop: str) -> None:
    error = TimedOut("late")
    desk.having(stop=counted(3, error))
    with pytest.raises(TimedOut) as caught:
        desk.run(f"\n{LOOPS[loop]}")
    assert caught.value is error
    assert (error.file, error.line) == (str(desk.file), 2)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_endless_loop_ends_by_itself(desk: Desk, loop: str) -> None:
    from sloth_runner.lua.loader import load

    desk.having(limits=Limits(5.0, 64 << 20))
    desk.file.write_text(f'task({{name = "t", run = function()\n{LOOPS[loop]}\nend}})')
    body = load(desk.file, desk.host, Ticks()).program.tasks[0].run()
    with pytest.raises(TimedOut, match="more than 5 s") as caught:
        body.send(None)
    assert caught.value.line == 2


def test_an_endless_loop_at_load_time(desk: Desk) -> None:
    desk.having(stop=counted(3, Interrupted("stop")))
    with pytest.raises(Interrupted):
        desk.load("while true do pcall(function() while true do end end) end")


def test_time_starts_anew_with_each_answer(desk: Desk) -> None:
    from sloth_runner.lua.loader import load

    clock = Ticks()
    desk.file.write_text(
        """task({name = "t", run = function()
          for i = 1, 20 do for j = 1, 100000 do end state.get("k") end
          return "done"
        end})"""
    )
    desk.having(limits=Limits(4.0, 64 << 20))
    body = load(desk.file, desk.host, clock).program.tasks[0].run()
    assert drive(body, {"state.get": lambda call: None}).result == "done"
    assert clock.now > 10


def test_clean_up_still_runs_when_a_loop_is_stopped(desk: Desk) -> None:
    desk.having(stop=counted(3, TimedOut("late")))
    calls: list[Call] = []
    replies = {
        "state.lock_enter": lambda call: Returned((1, 9)),
        "state.lock_exit": calls.append,
        "cmd": calls.append,
    }
    code = """
      local guard <close> = setmetatable({}, {__close = function() cmd("closed") end})
      state.with_lock("L", function() while true do pcall(function() while true do end end) end end)"""
    with pytest.raises(TimedOut):
        desk.run(code, replies)
    assert [(c.name, c.args) for c in calls] == [
        ("state.lock_exit", (None, 9, False, None)),
        ("cmd", ("closed",)),
    ]


class Cancelled(BaseException):
    """What a scheduler may throw that is no error of ours."""


@pytest.mark.parametrize("error", [Cancelled(), KeyboardInterrupt(), Interrupted("stop")])
def test_a_cancellation_passes_every_pcall_and_cleans_up(desk: Desk, error: BaseException) -> None:
    code = """
      while true do
        pcall(function()
          xpcall(function()
            coroutine.wrap(function()
              state.with_lock("L", function() local ok, e = pcall(cmd, "x") print("caught") end)
            end)()
          end, function(e) print("handled") return e end)
        end)
      end"""
    body = desk.body(code)
    assert body.send(None).name == "state.lock_enter"
    assert body.send(Returned((1, 9))).name == "cmd"
    left = body.throw(error)
    assert (left.name, left.args) == ("state.lock_exit", (None, 9, False, None))
    with pytest.raises(type(error)) as caught:
        body.send(True)
    assert caught.value is error
    assert desk.said == []


def test_an_error_marked_final_passes_too(desk: Desk) -> None:
    error = TimedOut("late")
    error.final = True
    body = desk.body("while true do pcall(cmd) end")
    body.send(None)
    with pytest.raises(TimedOut):
        body.throw(error)
    ordinary = desk.body("local ok, e = pcall(cmd) return e.code")
    ordinary.send(None)
    with pytest.raises(StopIteration) as end:
        ordinary.throw(TimedOut("a command was slow"))
    assert end.value.value == "E-TIMEOUT"


def test_a_final_error_replaced_by_another_ends_the_body_all_the_same(desk: Desk) -> None:
    error = Interrupted("stop")
    code = """
      pcall(function()
        local x <close> = setmetatable({}, {__close = function() error("mine") end})
        cmd()
      end)
      while true do end"""
    body = desk.body(code)
    body.send(None)
    with pytest.raises(Interrupted):
        body.throw(error)


# Closing


def test_closing_unwinds_and_its_calls_raise(desk: Desk) -> None:
    code = """
      local x <close> = setmetatable({}, {__close = function()
        print("closed", select(2, pcall(print, "x")))
        local ok, e = pcall(function() cmd("too late") end)
        print("not reached")
      end})
      local co = coroutine.wrap(function()
        local y <close> = setmetatable({}, {__close = function() print("inner") end})
        state.get("k")
      end)
      co()"""
    body = desk.body(code)
    body.send(None)
    body.close()
    assert desk.lines() == ["inner", "x", "closed"]


def test_a_body_that_never_began_is_closed_without_a_sound(desk: Desk) -> None:
    desk.body('print("x")').close()
    assert desk.said == []


def test_closing_the_program_ends_its_bodies(desk: Desk) -> None:
    loaded = desk.load(
        """task({name = "t", run = function()
          local x <close> = setmetatable({}, {__close = function() print("closed") end})
          cmd()
        end})"""
    )
    bodies = [loaded.program.tasks[0].run() for _ in range(3)]
    for body in bodies:
        body.send(None)
    loaded.close()
    assert desk.lines() == ["closed"] * 3
    for body in bodies:
        body.close()


def test_bodies_that_are_dropped_are_collected(desk: Desk) -> None:
    start = desk.load('task({name = "t", run = function() local s = ("x"):rep(1 << 20) cmd() return #s end})')
    for _ in range(300):
        start.program.tasks[0].run().send(None)


# Memory

HUNGRY = {
    "list": "local t = {} while true do t[#t + 1] = {} end",
    "chain": "local head while true do head = {head} end",
    "string": 'local s = "x" while true do s = s .. s end',
    "rep": '("x"):rep(1 << 30)',
    "concat": 'local t = {} for i = 1, 1 << 20 do t[i] = ("x"):rep(1000) end table.concat(t)',
}


@pytest.mark.parametrize("code", HUNGRY)
def test_too_much_memory_is_an_error_that_says_the_limit(desk: Desk, code: str) -> None:
    desk.having(limits=Limits(30.0, 16 << 20))
    with pytest.raises(TaskFailed, match="limit of 16 MiB"):
        desk.run(HUNGRY[code])


def test_a_body_full_to_the_brim_is_ended_and_others_go_on(desk: Desk) -> None:
    desk.having(limits=Limits(30.0, 16 << 20))
    loaded = desk.load(
        """
        task({name = "full", run = function()
          local head
          pcall(function() while true do head = {head} end end)
          while true do cmd("next") ; json.encode({1}) ; print("x") end
        end})
        task({name = "lean", run = function() return cmd("x") end})"""
    )
    full, lean = (task.run for task in loaded.program.tasks)
    for _ in range(3):
        with pytest.raises(TaskFailed, match="16 MiB"):
            drive(full(), {"cmd": lambda call: "x" * 1000})
        assert drive(lean(), {"cmd": lambda call: "y"}).result == "y"


def test_callbacks_at_the_brim_end_with_an_error(desk: Desk) -> None:
    desk.having(limits=Limits(30.0, 16 << 20), pure={"big": lambda size: "x" * size})
    code = """
      local head
      pcall(function() while true do head = {head} end end)
      for i = 1, 100 do pcall(big, 100000) end
      while true do pcall(big, 1000000) head = {head} end"""
    with pytest.raises(TaskFailed, match="16 MiB"):
        desk.run(code)


def test_an_answer_larger_than_the_limit(desk: Desk) -> None:
    desk.having(limits=Limits(30.0, 16 << 20))
    with pytest.raises(TaskFailed, match="16 MiB"):
        desk.run("return #cmd()", {"cmd": lambda call: "x" * (40 << 20)})
    assert desk.run("return #cmd()", {"cmd": lambda call: "x" * (6 << 20)}) == 6 << 20
    with pytest.raises(TaskFailed, match="16 MiB"):
        desk.run("return #cmd()", {"cmd": lambda call: [float(i) for i in range(3_000_000)]})


def test_endless_recursion_is_an_error(desk: Desk) -> None:
    with pytest.raises(SlothError, match="stack overflow"):
        desk.run("local function f() return 1 + f() end f()")
