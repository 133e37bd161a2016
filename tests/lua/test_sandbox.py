"""What would act behind the plan's back is not there, and nothing of Python can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloth_runner.errors import BadArgument, BadName, FileMissing, SlothError, SyntaxProblem, TaskFailed
from sloth_runner.model import Returned
from tests.lua.driver import Desk

GONE = {
    'os.execute("ls")': "use cmd",
    'os.remove("x")': "file.absent",
    'os.rename("x", "y")': "file.copy",
    "os.exit(1)": "return false",
    "os.tmpname()": "fixed path",
    'os.setlocale("C")': "LC_ALL",
    'io.popen("ls")': "use cmd",
    'io.write("x")': "use print",
    "io.read()": "values or env",
    "io.tmpfile()": "use cmd",
    'io.output("x")': "use print",
    "io.flush()": "need none",
    'io.stdout:write("x")': "use print",
    'io.stderr:write("x")': "log.warn",
    'io.stdin:read("a")': "values or env",
    'warn("x")': "use log.warn",
    'package.loadlib("x", "y")': "use cmd",
    'dofile("x.lua")': "use require",
    'loadfile("x.lua")': "use require",
    "string.dump(print)": "can't be stored",
    "debug.sethook()": "debug.traceback",
    "debug.getupvalue(print, 1)": "debug.traceback",
    'collectgarbage("stop")': "",
    "setmetatable({}, {__gc = print})": "<close>",
}


@pytest.mark.parametrize("code", GONE)
def test_what_is_gone_says_what_to_use(desk: Desk, code: str) -> None:
    with pytest.raises(BadArgument) as caught:
        desk.run(f"\n{code}")
    assert GONE[code] in "\n".join(caught.value.next)
    assert caught.value.line == 2


STANDARD = {
    "_G": "assert collectgarbage coroutine debug dofile error getmetatable io ipairs load loadfile math next os"
    " package pairs pcall print rawequal rawget rawlen rawset require select setmetatable string table tonumber"
    " tostring type utf8 warn xpcall _VERSION",
    "coroutine": "close create isyieldable resume running status wrap yield",
    "debug": "debug gethook getinfo getlocal getmetatable getregistry getupvalue getuservalue sethook setlocal"
    " setmetatable setupvalue setuservalue traceback upvalueid upvaluejoin",
    "io": "close flush input lines open output popen read stderr stdin stdout tmpfile type write",
    "os": "clock date difftime execute exit getenv remove rename setlocale time tmpname",
    "package": "loaded loadlib path searchpath",
}
"""The names that Lua 5.4 has, but for those of packages in C."""


@pytest.mark.parametrize("library", STANDARD)
def test_each_name_of_lua_is_there_or_says_what_to_use(desk: Desk, library: str) -> None:
    names = "{" + ",".join(f'"{name}"' for name in STANDARD[library].split()) + "}"
    code = f"""
      local none = {{}}
      for _, name in ipairs({names}) do if {library}[name] == nil then none[#none + 1] = name end end
      return table.concat(none, " ")"""
    assert desk.run(code) == ""


def test_nothing_of_python_is_there(desk: Desk) -> None:
    code = """
      local seen, found = {}, {}
      local function walk(t, path)
        if seen[t] then return end
        seen[t] = true
        for k, v in next, t do
          if type(v) == "userdata" then found[#found + 1] = path .. tostring(k) end
          if type(v) == "table" then walk(v, path .. tostring(k) .. ".") end
          local m = getmetatable(v)
          if type(m) == "table" then walk(m, path .. tostring(k) .. ":") end
        end
      end
      walk(_G, "")
      return python == nil, found, package.preload == nil, debug.getregistry == nil"""
    assert desk.run(code) == Returned((True, {}, True, False))


def test_an_exception_of_python_shows_nothing_of_python(desk: Desk) -> None:
    class Odd(Exception):
        pass

    def bad() -> object:
        raise Odd("odd")

    desk.having(pure={"bad": bad})
    code = """
      local ok, e = pcall(bad)
      local kinds = {}
      for k, v in next, e do kinds[#kinds + 1] = type(v) end
      return type(e), getmetatable(e), tostring(e), e.__traceback__ == nil,
        table.concat(kinds, " "):match("userdata")"""
    found = desk.run(code)
    assert found == Returned(("table", False, "odd", True, None))
    with pytest.raises(Odd):
        desk.run("bad()")


def test_an_error_of_ours_from_a_pure_function_has_its_place(desk: Desk) -> None:
    def bad(_name: object) -> object:
        raise BadName("not that name")

    desk.having(pure={"deep.er.bad": bad})
    with pytest.raises(BadName) as caught:
        desk.run('\n  deep.er.bad("x")')
    assert (caught.value.file, caught.value.line) == (str(desk.file), 2)


def test_tables_given_to_python_do_not_outlive_their_coroutine(desk: Desk) -> None:
    kept: list[object] = []
    desk.having(pure={"keep": kept.append})
    code = """
      for i = 1, 200 do
        coroutine.wrap(function() keep({i = i, deep = {{"x"}}}) end)()
        if i % 20 == 0 then collectgarbage() end
      end"""
    desk.run(code)
    assert kept == [{"i": i, "deep": [["x"]]} for i in range(1, 201)]


def test_load_takes_text_only_and_shares_the_globals(desk: Desk) -> None:
    code = r"""
      x = 5
      local parts = {"return ", "x + ", "1"}
      local i = 0
      local pieces = load(function() i = i + 1 return parts[i] end)
      local own = load("return y", "own", "t", {y = 7})
      local bad, why = load("\27Lua", "b", "b")
      return load("return x")(), pieces(), own(), bad, why:match("attempt to load a binary chunk") ~= nil,
        load("return python, os.execute ~= nil")()"""
    assert desk.run(code) == Returned((5, 6, 7, None, True, None, True))


def test_files_are_read_only_and_relative_to_the_task_file(desk: Desk) -> None:
    (desk.folder / "data.txt").write_bytes(b"one\ntwo\n\xff")
    code = """
      local f <close> = io.open("data.txt", "rb")
      local lines = {}
      for line in io.lines("data.txt") do lines[#lines + 1] = line end
      local none, why = io.open("nothing.txt")
      return f:read("a"), lines, none, why ~= nil, io.type(f)"""
    assert desk.run(code) == Returned(("one\ntwo\n\udcff", ["one", "two", "\udcff"], None, True, "file"))
    for mode in ("w", "a", "r+", "rw"):
        with pytest.raises(BadArgument, match="reads only"):
            desk.run(f'io.open("data.txt", "{mode}")')
    assert (desk.folder / "data.txt").stat().st_size == 9


# require


def test_require_loads_once_below_the_folder(desk: Desk) -> None:
    (desk.folder / "lib" / "deep").mkdir(parents=True)
    (desk.folder / "lib" / "a.lua").write_text('print("loaded") return {n = 1, name = ...}')
    (desk.folder / "lib" / "deep" / "init.lua").write_text('return require("lib.a")')
    code = """
      local a, b = require("lib.a"), require("lib/deep")
      return a == b, a.name, require("lib.a").n, package.loaded["lib.a"] == a"""
    assert desk.run(code) == Returned((True, "lib.a", 1, True))
    assert desk.lines() == ["loaded"]


@pytest.mark.parametrize("name", ["state", "string", "table", "math", "os", "log", "json", "coroutine"])
def test_require_of_what_is_built_in(desk: Desk, name: str) -> None:
    assert desk.run(f'return require("{name}") == {name}') is True


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a..b", "x.lua\\0", "_G/"])
def test_require_never_leaves_the_folder(desk: Desk, name: str) -> None:
    with pytest.raises(BadArgument, match="a module is named by"):
        desk.run(f'require("{name}")')


def test_require_through_a_link_that_leads_outside(tmp_path: Path) -> None:
    (tmp_path / "outside.lua").write_text("return 1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.lua").symlink_to(tmp_path / "outside.lua")
    with pytest.raises(BadArgument, match="leads out"):
        Desk(tmp_path / "in").run('require("link")')


def test_require_of_a_missing_module_suggests(desk: Desk) -> None:
    (desk.folder / "helpers.lua").write_text("return 1")
    with pytest.raises(FileMissing) as caught:
        desk.run('require("helper")')
    assert caught.value.next == ["did you mean 'helpers'?"] and caught.value.line == 1


def test_errors_in_modules_show_the_module(desk: Desk) -> None:
    module = desk.folder / "m.lua"
    module.write_text("local x = 1\nreturn {f = function()\n  return nil .. 'x'\nend}")
    with pytest.raises(TaskFailed) as caught:
        desk.run('require("m").f()')
    assert (caught.value.file, caught.value.line, caught.value.source) == (
        str(module),
        3,
        "  return nil .. 'x'",
    )
    module.write_text("local x = \n= 1")
    with pytest.raises(SyntaxProblem) as syntax:
        desk.run('require("m")')
    assert (syntax.value.file, syntax.value.line) == (str(module), 2)


def test_modules_in_a_circle(desk: Desk) -> None:
    (desk.folder / "a.lua").write_text('return require("b")')
    (desk.folder / "b.lua").write_text('return require("a")')
    with pytest.raises(SlothError, match="a requires itself"):
        desk.run('require("a")')


def test_a_module_may_define_tasks_and_call_the_engine_when_a_task_loads_it(desk: Desk) -> None:
    (desk.folder / "more.lua").write_text('task({name = "more", run = function() end})')
    (desk.folder / "late.lua").write_text('return cmd("late")')
    loaded = desk.load('require("more") task({name = "t", run = function() return require("late") end})')
    assert [task.name for task in loaded.program.tasks] == ["more", "t"]
    assert loaded.program.tasks[0].site.file.endswith("more.lua")
    body = loaded.program.tasks[1].run()
    assert body.send(None).args == ("late",)


@pytest.mark.parametrize("modules", [{}, {"assert.that": "a module"}], ids=["alone", "beside assert.that"])
def test_assert_is_luas_own(desk: Desk, modules: dict[str, str]) -> None:
    code = """
      local all = {
        {pcall(assert)}, {pcall(assert, nil)}, {pcall(assert, nil, nil)}, {pcall(assert, false, "x", 3)},
        {pcall(function() assert(false, "boo") end)}, {pcall(assert, true, nil, 3)},
        {select("#", assert(1, nil, nil))},
        {assert({5})[1]},
      }
      local texts = {}
      for i, one in ipairs(all) do
        texts[i] = tostring(one[1]) .. " " .. tostring(one[2]):gsub(".*/", "") .. " " .. tostring(one[4])
      end
      return texts"""
    got = desk.having(yielding=modules).run(code)
    assert got == [
        "false bad argument #1 to 'assert' (value expected) nil",
        "false assertion failed! nil",
        "false nil nil",
        "false x nil",
        f"false {desk.file.name}:4: boo nil",
        "true true 3",
        "3 nil nil",
        "5 nil nil",
    ]


def test_a_module_stands_beside_assert(desk: Desk) -> None:
    code = """return assert.that({condition = false}), assert(7)"""
    assert desk.having(yielding={"assert.that": ""}).run(
        code, {"assert.that": lambda call: True}
    ) == Returned((True, 7))
