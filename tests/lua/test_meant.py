"""Habits of other languages and tools are answered with what does it here."""

from __future__ import annotations

import pytest

from sloth_runner.errors import BadArgument, BadField, SyntaxProblem, TaskFailed
from sloth_runner.lua.meant import stray
from tests.lua.driver import Desk


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("local x = 1\nx++", "x = x + 1"),
        ("local x = 1\nx += 1", "x = x + 1"),
        ("if x = 1 then print(1) end", "=="),
        ("if a then b() elif c then d() end", "elseif"),
        ("if a then b() else if c then d() end", "no end of its own"),
        ("local x = true ? 1 : 2", "and one or other"),
        ("local x = 1\n# a comment", "--"),
        ("// a comment", "--"),
        ("/* a comment */", "--"),
        ("local t = {\n  name: 'a',\n}", "name = value"),
        ("local t = {\n  'name': 'a',\n}", "name = value"),
        ("local t = {\n  a = 1\n  b = 2,\n}", "comma"),
        ("task({\n  name = 'a'\n  run = function() end,\n})", "comma"),
        ("local t = {\n  a = 1;\n  b = = 2,\n}", None),
        ("local f = () => 1", "function(…)"),
        ("task({ run = function()\n  pkg('a'),\n  pkg('b')\nend })", "no comma"),
        ("task({ run = function()\n  if x then\n    y()\nend,\n})", "no end of its own"),
        ("let x = 1", "local name"),
        ("def f():\n  pass", "local function"),
        ("local x = = 5", None),
        ("if x == 5 then {\n  print(x)\n}", "blocks are written in words"),
        ("local function f() {\n  return 1\n}", "blocks are written in words"),
        ("local x = 5\nif (x == 5) {\n  print(x)\n}", "if … then … end"),
        ("if x\n  print(x)\nend", "if … then … end"),
        ("task({\n  run = function()\n    print(1)\n})", "no end of its own"),
        ("local t = {\n  a = 1\n  { b = 2 },\n}", "comma"),
        ("for i in range(3):\n    print(i)", "for … do … end"),
    ],
)
def test_syntax_of_other_languages(desk: Desk, text: str, advice: str | None) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        desk.load(text)
    said = " ".join(caught.value.next)
    assert advice in said if advice else not said


@pytest.mark.parametrize(
    ("text", "col", "named", "said"),
    [
        ("task({ name = “a” })", 15, "U+201C, left double quotation mark", "write \" or '"),
        ("local\u00a0x = 1", 6, "U+00A0, no-break space", "write a blank"),
        ("print('“')\u200b", 11, "U+200B, zero width space", "take it out"),
        ("local x = 3 – 2", 13, "U+2013, en dash", "write - or --"),
    ],
)
def test_characters_of_word_processors(desk: Desk, text: str, col: int, named: str, said: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        desk.load(text)
    assert named in caught.value.message
    assert (caught.value.column, caught.value.next) == (col, [said])


def test_what_stands_in_texts_is_no_stray_character() -> None:
    assert stray("print('“', \"–\") -- …") is None


@pytest.mark.parametrize(
    ("code", "col", "said"),
    [
        ("apt({})", 1, "here that is pkg: sloth-runner modules pkg"),
        ("vars.x()", 1, "here that is values: sloth-runner modules values"),
        ("file.exists('/x')", 6, "here that is file.stat: sloth-runner modules file.stat"),
        ("for x in {1} do end", 1, "a loop over a list: for _, item in ipairs(list) do … end"),
        ("print('x' .. ({'a'})[0])", 1, "lists begin at 1 in Lua"),
        ("local l, i = {'a'}, 0\nprint('x' .. l[i])", 1, "lists begin at 1 in Lua"),
        ("if '80' > 79 then end", 1, "tonumber(text) makes one of it"),
        ("print(tonumber('8x') + 1)", 1, "tonumber gives nil for what is no number"),
        ("local l = {}\nprint(l.length + 1)", 9, "#list"),
        ("print(this.name)", 7, "run = function(this, params, deps) … end"),
        ("print('x' .. values.web.port)", 25, "values.web.port is missing: give it: --set web.port=…"),
        ("print('x' .. values.wob.port)", 21, "values.wob is missing: did you mean 'web'?"),
        ("print('x' .. env.NOWHERE)", 18, "env('NOWHERE', 'default') has a default"),
        ("local deps = {}\nprint('a', deps.a.b)", 17, "it is named in depends_on, and returns a table"),
    ],
)
def test_words_of_other_tools(desk: Desk, code: str, col: int, said: str) -> None:
    desk.having(yielding=("cmd", "file.stat", "file.write", "pkg", "pkg.hold"), values={"web": {}})
    with pytest.raises(TaskFailed) as caught:
        desk.run("\n" + code)
    assert caught.value.column == col
    assert said in " ".join(caught.value.next)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("become = true", 'say user = "root" (or another name)'),
        ("when = true", "say run_if = …: true, false, a shell line or a function"),
        ("needs = {'b'}", "say depends_on = …"),
        ("desc = 'x'", "say description = …"),
        ("command = 'x'", "say what to do in a function: run = function() cmd({ command = … }) end"),
        ("delegate = 'x'", "did you mean 'delegate_to'?"),
    ],
)
def test_fields_of_other_tools(desk: Desk, field: str, said: str) -> None:
    with pytest.raises(BadField) as caught:
        desk.load(f"task({{ name = 'a', {field}, run = function() end }})")
    assert caught.value.next == [said]


def test_a_handler_is_not_told_of_fields_that_only_tasks_have(desk: Desk) -> None:
    with pytest.raises(BadField) as caught:
        desk.load("handler({ name = 'a', when = true, run = function() end })")
    assert "run_if" not in caught.value.next[0]


def test_a_sentence_is_no_name_and_one_is_proposed(desk: Desk) -> None:
    with pytest.raises(BadArgument) as caught:
        desk.load("task({ name = 'install nginx (web)', run = function() end })")
    assert caught.value.next == ["say name = 'install-nginx-web'; description takes any text"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("if zzz then end", ["zzz is not set: nil is used (tasks.lua:1)"]),
        ("local ready = 1 if redy then end", ["redy is not set: nil is used; did you mean 'ready'? (tasks.lua:1)"]),
        ("for i = 1, 3 do local x = nowhere end", ["nowhere is not set: nil is used (tasks.lua:1)"]),
        ("found = 1 if found then end", []),
        ("if rawget(_G, 'nowhere') then end", []),
        ("found = found or {} local x = nil ~= other and other == nil", []),
        ("if type(nowhere) == 'nil' or _G.nowhere then end", []),
        ("pcall(function() nowhere.x() end)", []),
        ("pcall(function() return 'a' .. nowhere end)", []),
    ],
)  # fmt: skip
def test_a_variable_that_nobody_has_set_is_told_of(desk: Desk, code: str, said: list[str]) -> None:
    desk.run(code)
    assert desk.lines("warn") == said


def test_a_task_file_may_be_stricter(desk: Desk) -> None:
    with pytest.raises(TaskFailed, match="no nowhere"):
        desk.run("setmetatable(_G, { __index = function(_, name) error('no ' .. name) end }) return nowhere")
    assert desk.lines("warn") == []


def test_modules_may_look_for_what_is_not_there(desk: Desk) -> None:
    (desk.folder / "lib.lua").write_text("local unpack = unpack or table.unpack\nreturn { unpack = unpack }")
    desk.run("require('lib')")
    assert desk.lines("warn") == []


@pytest.mark.parametrize(
    ("word", "ours"), [("True", "true"), ("None", "nil"), ("no", "false"), ("null", "nil")]
)
def test_what_others_write_for_true_false_and_nil(desk: Desk, word: str, ours: str) -> None:
    with pytest.raises(BadArgument) as caught:
        desk.run(f"cmd({{ command = 'x', check = {word} }})")
    assert (caught.value.message, caught.value.next) == (f"there is no {word} in Lua", [f"write {ours}"])
    assert caught.value.column == 64 and desk.run(f"local {word} = 5 return {word}") == 5


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("state.with_lock('a', 5, function() end)", "state.with_lock"),
        ("state.transaction(function() end)", "state.transaction"),
        ("state.watch('a')", "state.watch"),
        ("state.shared.set('a', 1)", "state.set"),
        ("cmd('ls')", "cmd"),
    ],
)
def test_what_only_tasks_can_do_is_named_as_it_is_written(desk: Desk, code: str, name: str) -> None:
    with pytest.raises(BadArgument) as caught:
        desk.load(code)
    assert caught.value.message.startswith(f"{name} can't be called at the top level of the file")
