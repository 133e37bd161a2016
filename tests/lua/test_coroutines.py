"""The user's coroutines work as in any Lua, and calls to the engine pass through them."""

from __future__ import annotations

import pytest

from sloth_runner.errors import CommandFailed, TaskFailed
from sloth_runner.model import Call, Returned
from tests.lua.driver import Desk, Reply, drive

ECHO: dict[str, Reply] = {"cmd": lambda call: call.args[0], "state.get": lambda call: call.args[1]}


def test_calls_pass_through_nested_coroutines_and_yields_stay_inside(desk: Desk) -> None:
    code = """
      local out = {}
      local inner = coroutine.wrap(function(a)
        out[#out + 1] = cmd("inner " .. a)
        local b = coroutine.yield("y1", nil)
        out[#out + 1] = cmd("inner " .. b)
        return "end"
      end)
      local co = coroutine.create(function()
        local y, none = inner("a")
        coroutine.yield(y, none, cmd("outer"))
        return inner("b")
      end)
      local r = table.pack(coroutine.resume(co))
      local s = table.pack(coroutine.resume(co))
      return out, r, s, coroutine.status(co), (select(2, coroutine.resume(co)))"""
    ended = drive(desk.body(code), ECHO)
    assert [call.args[0] for call in ended.calls] == ["inner a", "outer", "inner b"]
    assert isinstance(ended.result, Returned)
    out, first, second, status, dead = ended.result.values
    assert out == ["inner a", "inner b"]
    assert dict(first.items) == {"n": 4, 1: True, 2: "y1", 4: "outer"}  # type: ignore[attr-defined] # Pairs
    assert dict(second.items) == {"n": 2, 1: True, 2: "end"}  # type: ignore[attr-defined] # Pairs
    assert (status, dead) == ("dead", "cannot resume dead coroutine")


def test_yields_pass_through_pcall_metamethods_iterators_and_close(desk: Desk) -> None:
    code = """
      local seen = {}
      local t = setmetatable({}, {
        __index = function(_, k) return cmd("index " .. k) end,
        __add = function() return cmd("add") end,
        __pairs = function() cmd("pairs") return next, {x = 1} end,
        __close = function() seen[#seen + 1] = cmd("close") end,
      })
      seen[#seen + 1] = t.a
      seen[#seen + 1] = t + 1
      for k in pairs(t) do seen[#seen + 1] = k end
      for v in function(_, n) if not n then return cmd("iterator") end end do seen[#seen + 1] = v end
      do local x <close> = t end
      seen[#seen + 1] = select(2, pcall(cmd, "pcall"))
      local function handler(e) return "h " .. e:sub(-6) end
      seen[#seen + 1] = select(2, xpcall(function() error(cmd("xpcall")) end, handler))
      return seen"""
    assert desk.run(code, ECHO) == [
        *("index a", "add", "x", "iterator", "close", "pcall", "h xpcall"),
    ]


def test_an_error_thrown_into_a_coroutine_is_caught_there_or_comes_out(desk: Desk) -> None:
    def reply(call: Call) -> object:
        raise CommandFailed(f"no {call.args[0]}")

    code = """
      local co = coroutine.create(function()
        local ok, e = pcall(cmd, "a")
        coroutine.yield(e.message)
        cmd("b")
      end)
      local _, a = coroutine.resume(co)
      local ok, b = coroutine.resume(co)
      local w = coroutine.wrap(function() cmd("c") end)
      local ok2, c = pcall(w)
      return a, ok, b.message, ok2, c.code"""
    assert desk.run(code, {"cmd": reply}) == Returned(("no a", False, "no b", False, "E-CMD-EXIT"))


def test_what_lua_says_about_coroutines(desk: Desk) -> None:
    code = """
      local co, main = coroutine.running()
      local out = {main = main, yieldable = coroutine.isyieldable(), status = coroutine.status(co)}
      out.outside = select(2, pcall(coroutine.yield, 1)):match("[^:]*$")
      out.resume = select(2, coroutine.resume(co))
      out.close = select(2, pcall(coroutine.close, co)):match("[^:]*$")
      local c
      c = coroutine.create(function()
        out.inner_yieldable = coroutine.isyieldable()
        out.inner_main = select(2, coroutine.running())
        out.inner_status = coroutine.status(c)
        out.outer_status = coroutine.status(co)
        coroutine.yield()
      end)
      coroutine.resume(c)
      out.suspended = coroutine.status(c)
      out.closed = coroutine.close(c)
      out.bad = not pcall(coroutine.resume, 5) and not pcall(coroutine.create, 5) and not pcall(coroutine.status, nil)
      return out"""
    assert desk.run(code) == {
        "main": True,
        "yieldable": False,
        "status": "running",
        "outside": "attempt to yield from outside a coroutine",
        "resume": "cannot resume non-suspended coroutine",
        "close": "cannot close a running coroutine",
        "inner_yieldable": True,
        "inner_main": False,
        "inner_status": "running",
        "outer_status": "normal",
        "suspended": "suspended",
        "closed": True,
        "bad": True,
    }


def test_another_task_cannot_resume_a_coroutine_that_waits_for_the_engine(desk: Desk) -> None:
    text = """
      task({name = "one", run = function()
        body = coroutine.running()
        shared = coroutine.create(function() return cmd("one") end)
        return coroutine.resume(shared)
      end})
      task({name = "two", run = function()
        return coroutine.status(shared), select(2, coroutine.resume(shared)), select(2, coroutine.resume(body)),
          pcall(coroutine.close, shared)
      end})"""
    one, two = (task.run() for task in desk.load(text).program.tasks)
    one.send(None)
    ended = drive(two, {})
    assert isinstance(ended.result, Returned)
    assert ended.result.values[:4] == ("normal", *("cannot resume non-suspended coroutine",) * 2, False)
    with pytest.raises(StopIteration) as end:
        one.send("answer")
    assert end.value.value == Returned((True, "answer"))


def test_a_failed_coroutine_is_closed_by_wrap(desk: Desk) -> None:
    code = """
      local w = coroutine.wrap(function()
        local x <close> = setmetatable({}, {__close = function() print("closed") end})
        error("inside")
      end)
      w()"""
    with pytest.raises(TaskFailed, match="inside") as caught:
        desk.run(code)
    assert caught.value.line == 4 and desk.lines() == ["closed"]


def test_many_coroutines(desk: Desk) -> None:
    code = """
      local total = 0
      for i = 1, 2000 do total = total + coroutine.wrap(function() return cmd(i) end)() end
      return total"""
    assert desk.run(code, ECHO) == 2001000
