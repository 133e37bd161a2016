"""print, log, values, env, and the time: what a task file sees of the world around it."""

from __future__ import annotations

import pytest

from sloth_runner.errors import BadArgument, BadValues
from sloth_runner.model import Returned, Site
from tests.lua.driver import Desk


def test_lines_have_a_level_and_a_site(desk: Desk) -> None:
    desk.run('print("a", 1, nil, true)\nlog.info("b", 2.5)\nlog.warn()\nlog.error("e") log.debug({} ~= nil)')
    file = str(desk.file)
    assert desk.said == [
        ("print", "a\t1\tnil\ttrue", Site(file, 1)),
        ("info", "b\t2.5", Site(file, 2)),
        ("warn", "", Site(file, 3)),
        ("error", "e", Site(file, 4)),
        ("debug", "true", Site(file, 4)),
    ]


def test_lines_are_bytes_too(desk: Desk) -> None:
    desk.run(r'print("\xff\xc3\xa4")')
    assert desk.lines() == ["\udcff\xe4"]


def test_an_error_of_say_ends_the_body(desk: Desk) -> None:
    def say(level: str, text: str, site: Site | None) -> None:
        raise BrokenPipeError("gone")

    desk.having(say=say)
    with pytest.raises(BrokenPipeError):
        desk.run('print("x")')


VALUES = {"port": 80, "db": {"host": "h", "ports": [1, 2]}, "off": False, "1": "text"}


def test_values_are_a_plain_table(desk: Desk) -> None:
    desk.having(values=VALUES)
    code = """
      values.own = "set"
      local n = 0
      for _ in pairs(values) do n = n + 1 end
      return values.port, values.db.ports[2], values.off, #values.db.ports, values.db,
        n, values.own, values.db.ports[3]"""
    assert desk.run(code) == Returned((80, 2, False, 2, {"host": "h", "ports": [1, 2]}, 5, "set", None))
    assert desk.said == []


def test_a_missing_value_warns_once_for_each_place(desk: Desk) -> None:
    desk.having(values=VALUES)
    code = "for i = 1, 3 do local x = values.prot or 8080 end\nreturn values.db.hots, values.prot"
    assert desk.run(code) == Returned((None, None))
    file = str(desk.file)
    assert desk.said == [
        ("warn", "values.prot is missing: nil is used; did you mean 'port'? (tasks.lua:1)", Site(file, 1)),
        ("warn", "values.db.hots is missing: nil is used; did you mean 'host'? (tasks.lua:2)", Site(file, 2)),
        ("warn", "values.prot is missing: nil is used; did you mean 'port'? (tasks.lua:2)", Site(file, 2)),
    ]


def test_a_missing_value_is_an_error_if_strict(desk: Desk) -> None:
    desk.having(values=VALUES, strict_values=True)
    with pytest.raises(BadValues, match=r"values\.prot is missing") as caught:
        desk.run("\nlocal x = values.prot")
    assert caught.value.line == 2 and caught.value.next == ["did you mean 'port'?"]
    with pytest.raises(BadValues):
        desk.load("local x = values.prot")


def test_the_environment(desk: Desk) -> None:
    code = """
      return env.HOME, env("HOME"), env.get("HOME"), os.getenv("HOME"),
        env.NONE, env("NONE", "d"), env.get("NONE", 5), os.getenv("NONE")"""
    assert desk.run(code) == Returned((*("/home/me",) * 4, None, "d", 5, None))


@pytest.mark.parametrize("code", ["env()", "env.get({})", "env[5]"])
def test_the_name_of_a_variable_is_text(desk: Desk, code: str) -> None:
    with pytest.raises(BadArgument, match="name of a variable"):
        desk.run(f"local x = {code}")


def test_the_environment_cannot_be_changed(desk: Desk) -> None:
    found = desk.run('return pcall(function() env.X = "y" end)')
    assert isinstance(found, Returned) and "give env = {…}" in str(found.values[1])


def test_a_name_may_be_a_function_and_a_table(desk: Desk) -> None:
    def named(*names: str) -> Desk:
        return desk.having(yielding=dict.fromkeys(names, ""))

    for names in (("cmd", "cmd.a", "cmd.a.b"), ("cmd.a.b", "cmd.a", "cmd")):
        body = named(*names).body("cmd(1) cmd.a(2) cmd.a.b(3)")
        found = [body.send(None).name, body.send(None).name, body.send(None).name]
        assert found == ["cmd", "cmd.a", "cmd.a.b"]


def test_pure_functions_get_and_give_values(desk: Desk) -> None:
    desk.having(pure={"pure.count": lambda *args: [len(args), list(args[0])], "pure.none": lambda: None})
    assert desk.run("return pure.count({1, 2}, nil, 'x'), pure.none()") == Returned(([3, [1, 2]], None))


def test_the_libraries_of_lua_are_there(desk: Desk) -> None:
    code = """
      return type(os.time()), type(os.date()), type(os.clock()), os.difftime(5, 3), ("x"):rep(3), math.max(1, 2),
        utf8.char(228), table.concat({1, 2}), tostring(1.0), _VERSION, type(collectgarbage("count")),
        debug.traceback("m"):match("^m\\nstack"), debug.getinfo(1).currentline, debug.getinfo(1).func"""
    assert desk.run(code) == Returned(
        (
            *("number", "string", "number", 2.0, "xxx", 2, "ä", "12", "1.0", "Lua 5.4", "number"),
            *("m\nstack", 4, None),
        )
    )
