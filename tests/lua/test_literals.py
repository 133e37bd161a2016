"""What calls are given literally is read as Lua means it; what is no literal is left open."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.lua.literals import OPEN, called_globals, written_calls
from tests.lua.driver import Desk, drive

NAMES = ("cmd", "file.copy", "cmd.script")
TABLES = [
    "{}",
    "{ a = \"x\", b = 'y', c = [[\nz]], d = [==[ ]] ]==] }",
    r'{ a = "\"\t\\", b = "--", [\'c\'] = "}" }'.replace("\\'", "'"),
    "{ a = 1, b = 1.5, c = -2, d = 0x10, e = 1e3; f = true, g = false, h = nil, }",
    '{ a = { "x", "y" }, b = { c = { d = 1 } }, -- e = 2\n f = {}, --[[ g = 3 ]] h = { [ "i j" ] = "k" } }',
    "{ a = 3 == 3 }",
    '{ a = "x" .. "y", b = #"x", c = (1), d = { 1, x = 2 }, e = "\\65", f = { 1, nil, 2 }, g = not true }',
    "{ a = { b = math.max(1, 2) }, c = (function() if true then return 1, 2 end end)(), d = 5 }",
]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_what_lua_makes_of_it(tmp_path: Path, table: str) -> None:
    code = f"cmd({table})"
    (call,) = drive(Desk(tmp_path).body(code), {"cmd": lambda call: {}}).calls
    (written,) = written_calls(code, NAMES)
    given = call.args[0]
    assert isinstance(given, dict) and not written.computed and not written.unnamed
    assert set(given) == set(written.fields)
    literal = {name: value for name, value in written.fields.items() if value is not OPEN}
    assert literal == {name: given[name] for name in literal}
    assert [type(value) for value in literal.values()] == [type(given[name]) for name in literal]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('cmd{a = 1} file.copy\n({b = 2})\ncmd.script { c = 3 }', [("cmd", 1), ("file.copy", 1), ("cmd.script", 3)]),
        ("task({ run = function()\n cmd({ a = function() cmd({}) end })\nend })", [("cmd", 2), ("cmd", 2)]),
        ('-- cmd({})\n--[[ cmd({}) ]] local s = "cmd({})" .. [[ cmd({}) ]]', []),
        ("cmd({}, 1) cmd(t) cmd() cmd 'x' pcall(cmd, {}) my.cmd({}) my:cmd({}) cmd.other({}) file({})", []),
        ("local cmd = 1 cmd({})", []),
        ("local a, cmd <const> = 1, 2 cmd({})", []),
        ("for _, cmd in pairs(t) do cmd({}) end file.copy({})", [("file.copy", 1)]),
        ("local function f(a, cmd) cmd({}) end", []),
        ("local function cmd(t) end cmd({})", []),
        ("function cmd(t) end cmd({})", []),
        ("cmd = print cmd({})", []),
        ("t = { cmd = 1 } cmd({})", [("cmd", 1)]),
        ("t = { run = function() file = {} end } file.copy({}) cmd({})", [("cmd", 1)]),
        ("local a cmd({})", [("cmd", 1)]),
    ],
)  # fmt: skip
def test_a_call_is_found_where_its_name_means_the_module(code: str, found: list[tuple[str, int]]) -> None:
    assert [(call.name, call.line) for call in written_calls(code, NAMES)] == found


def test_fields_whose_names_are_computed_and_values_without_a_name_are_told() -> None:
    computed, unnamed = written_calls('cmd({ [k] = 1, a = 2 }) cmd({ "x", b = 3 })', NAMES)
    assert computed.computed and not computed.unnamed and computed.fields == {"a": 2}
    assert unnamed.unnamed and not unnamed.computed and unnamed.fields == {"b": 3}


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["a()\nb.c.d {} e 'x' f [[y]]"], [(0, "a", 1), (0, "b.c.d", 2), (0, "e", 2), (0, "f", 2)]),
        (["local a a() for b in c() do b() end"], [(0, "c", 1)]),
        (["function a() end function b.c() end a() b.d()"], []),
        (["a = 1", "a() b()"], [(1, "b", 1)]),
        (["string.trim = f string.trim('x') string.other()"], []),
        (["if a then a() end b(c) c()"], [(0, "b", 1)]),
        (["x.a() x:b() ('y'):c() t = { a = 1, b = d() }"], [(0, "x.a", 1), (0, "d", 1)]),
        (["if (1) then return (2) end while not (x) do f(function() end) end"], [(0, "f", 1)]),
        (["for k, v in pairs(lib) do _G[k] = v end a()"], []),
        (["local b = require('b') a()"], [(0, "require", 1), (0, "a", 1)]),
        (["task({ run = function() require('b') a() end })"], []),
    ],
)
def test_calls_of_globals_that_nobody_makes(texts: list[str], found: list[tuple[int, str, int]]) -> None:
    assert list(called_globals(texts)) == found


@given(st.text(alphabet="cmd(){}[]=,;\"'-. \nfunctionedlocal1#", max_size=60))
def test_a_text_that_is_no_lua_is_read_to_its_end(text: str) -> None:
    list(written_calls(text, NAMES))
    list(called_globals([text]))
