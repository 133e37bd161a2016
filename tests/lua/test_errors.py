"""Errors show the user's file, line, source and a caret, and say what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloth_runner.errors import FileMissing, SlothError, SyntaxProblem, TaskFailed
from sloth_runner.lua.failures import column, short_name
from tests.lua.driver import Desk


def failure(desk: Desk, code: str) -> SlothError:
    with pytest.raises(TaskFailed) as caught:
        desk.run(code, {"state.get": lambda call: 1, "cmd": lambda call: 1})
    return caught.value


@pytest.mark.parametrize(
    ("code", "message", "line", "col", "help_"),
    [
        ('\n  error("broken")', "broken", 2, 3, []),
        ('\n\nerror("broken", 0)', "broken", 3, 1, []),
        ("local x = 1\nerror({message = 'deep', n = 1})", "deep", 2, 1, []),
        ("error({code = 5, 'a'})", None, 1, None, []),
        ("\nerror()", "nil", 2, 1, []),
        ("\nerror(setmetatable({}, {__tostring = function() return 'shown' end}))", "shown", 2, 1, []),
        ("\nlocal v = stat.get('k')", None, 2, 11, ["did you mean 'state'?"]),
        ("\nlocal v = state.gett('k')", None, 2, 17, ["did you mean 'get'?"]),
        ("\ntable.inser({}, 1)", None, 2, 7, ["did you mean 'insert'?"]),
        ("\njson('x')", "attempt to call a table value (global 'json')", 2, 1, ["json has: decode, encode"]),
        ("\nlocal x = ('a'):uper()", None, 2, 17, []),
        ("\nlocal t = nil\nreturn t.x", "attempt to index a nil value (local 't')", 3, 8, []),
        ("\nreturn 1 + {}", "attempt to perform arithmetic on a table value", 2, 1, []),
        ("\nassert(false, 'not so')", "not so", 2, 1, []),
        ("\nassert(state.get('k') == 2)", "assertion failed!", 2, 1, []),
    ],
)
def test_place_and_advice(
    desk: Desk, code: str, message: str | None, line: int, col: int | None, help_: list[str]
) -> None:
    error = failure(desk, code)
    if message is not None:
        assert error.message == message
    assert (error.file, error.line) == (str(desk.file), line)
    assert error.source == desk.file.read_text().split("\n")[line - 1]
    if col is not None:
        assert error.column == col
    assert error.next == help_


def test_a_table_as_an_error_is_shown_briefly(desk: Desk) -> None:
    assert failure(desk, 'error({"a", "b"})').message == '{"a", "b"}'
    assert "…" in failure(desk, "local t = {} for i = 1, 100 do t[i] = i end error(t)").message


def test_the_error_of_a_called_function_stands_where_it_was_raised(desk: Desk) -> None:
    error = failure(desk, "\nlocal function f()\n  return nil .. 'x'\nend\nreturn f()")
    assert error.line == 3


def test_an_error_caught_and_raised_again_keeps_its_line(desk: Desk) -> None:
    error = failure(desk, "\nlocal ok, e = pcall(function()\n  error('first')\nend)\nerror(e, 0)")
    assert (error.message, error.line) == ("first", 3)


def test_paths_longer_than_lua_shows(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 50) / ("e" * 50)
    folder.mkdir(parents=True)
    desk = Desk(folder)
    error = failure(desk, "\nerror('broken')")
    assert (error.message, error.file, error.line) == ("broken", str(desk.file), 2)


@pytest.mark.parametrize("length", [57, 58, 59, 60, 61, 62])
def test_lengths_around_what_lua_shows(desk: Desk, length: int) -> None:
    path = "/" + "p" * (length - 1)
    got = desk.run(f'return select(2, pcall(load("error(1)", "@{path}")))')
    assert got == 1
    got = desk.run(f'return select(2, pcall(load("error(\'x\')", "@{path}")))')
    assert got == f"{short_name(path)}:1: x"


def test_yielding_in_a_callback_of_c_gives_advice(desk: Desk) -> None:
    for code in (
        "table.sort({3, 2, 1}, function(a, b) return state.get('k') and a < b end)",
        "string.gsub('abc', '.', function() return cmd('x') end)",
        "tostring(setmetatable({}, {__tostring = function() return state.get('k') end}))",
    ):
        error = failure(desk, code)
        assert error.message == "attempt to yield across a C-call boundary"
        assert error.line == 1 and "table.sort" in error.next[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("file({})", ["file has: copy, write"]),
        ("cmd.run('x')", ["cmd is a function: cmd(…)"]),
        ("pkg.install({})", ["pkg has: hold", "pkg itself is called: pkg({ … })"]),
        ("pkg.hild({})", ["did you mean 'hold'?", "pkg itself is called: pkg({ … })"]),
    ],
)
def test_modules_that_are_used_in_another_way_say_how(desk: Desk, code: str, said: list[str]) -> None:
    desk.having(yielding=("cmd", "file.copy", "file.write", "pkg", "pkg.hold"))
    assert failure(desk, code).next == said


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("local x = 1\nx += 1", "x = x + 1"),
        ("if 1 != 2 then end", "~="),
        ("if x && y then end", "and, or, not"),
        ("if x || y then end", "and, or, not"),
        ("if !x then end", "and, or, not"),
    ],
)
def test_operators_of_other_languages_are_translated(desk: Desk, text: str, advice: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        desk.load(text)
    assert advice in caught.value.next[0]


@pytest.mark.parametrize(
    ("text", "line", "col"),
    [
        ("local x = = 5", 1, 9),
        ("task({\n  name = 'a'\n  run = function() end,\n})", 3, 3),
        ("if true then", 1, 13),
        ("local s = 'abc", 1, 15),
        ("local s = [[abc\n\n", 3, None),
    ],
)
def test_syntax_errors_have_a_caret(desk: Desk, text: str, line: int, col: int | None) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        desk.load(text)
    assert (caught.value.file, caught.value.line, caught.value.column) == (str(desk.file), line, col)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "deploy.lua").write_text("")
    desk.file = tmp_path / "deploi.lua"
    from sloth_runner.lua.loader import load

    with pytest.raises(FileMissing) as caught:
        load(desk.file, desk.host)
    assert caught.value.next == ["did you mean 'deploy.lua'?"]


def test_compiled_lua_is_no_task_file(desk: Desk) -> None:
    with pytest.raises(SyntaxProblem, match="compiled Lua"):
        desk.load("\x1bLua\x54")


def test_first_line_for_the_shell_and_byte_order_mark(desk: Desk) -> None:
    for head in ("#!/usr/bin/env sloth-runner\n", "\ufeff-- x\n"):
        assert desk.load(f"{head}task({{name = 'a', run = print}})").program.tasks[0].site.line == 2


def test_the_caret_goes_to_whole_words() -> None:
    assert column("  restate = state.get()", "state") == 13
    assert column("  x = 1", "y") == 3


def test_functions_keep_their_meaning_and_lines_when_prepared(desk: Desk) -> None:
    text = """
      -- function (
      local a = "function(" .. 'function (x)' .. [[function()]] .. [=[ ]] function() ]=]
      local t = {}
      function t.m(x, ...) return x, ... end
      function t:n() return self end
      local function f --[[ odd ]] (a, b) goto done; ::done:: return a end
      return #a, select("#", t.m(1, nil, nil)), t:n() == t, f(3), (function(...) return ... end)(7, 8)"""
    found = desk.run(text)
    assert found is not None and found.values == (46, 3, True, 3, 7, 8)  # type: ignore[attr-defined] # Returned
