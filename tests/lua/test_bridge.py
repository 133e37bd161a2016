"""Values cross to Lua and back unchanged, up to canonical form; what can't cross is named."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloth_runner.errors import BadValue
from sloth_runner.model import Ordered, Pairs, Returned, Start
from sloth_runner.state.value import pairs_order
from tests.lua.driver import Desk, drive

ECHO = 'task({name="t", run=function(...) return ... end}) task({name="call", run=function() return cmd(cmd()) end})'
texts = st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
integers = st.integers(-(1 << 63), (1 << 63) - 1)
keys = texts | integers | st.booleans() | st.floats(allow_nan=False)
scalars = texts | integers | st.booleans() | st.floats()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(texts, inner, max_size=6)
        | st.dictionaries(keys, inner, max_size=6).map(lambda rows: Pairs(tuple(rows.items())))
    ),
    max_leaves=30,
)


def canonical(value: Any) -> Any:
    """What a value is once it has been a Lua table."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, list):
        return [canonical(item) for item in value] or {}
    if isinstance(value, dict):
        return table([(key, item) for key, item in value.items()])
    if isinstance(value, Pairs):
        return table(list(value.items))
    return (type(value).__name__, value)


def table(rows: list[tuple[Any, Any]]) -> Any:
    found: dict[Any, Any] = {}
    for key, item in rows:
        plain = int(key) if isinstance(key, float) and key.is_integer() and abs(key) < 2**63 else key
        found[(isinstance(plain, bool), plain)] = canonical(item)
    whole = [key for flag, key in found if not flag and isinstance(key, int)]
    if len(whole) == len(found) and sorted(whole) == list(range(1, len(whole) + 1)) and whole:
        return [found[(False, key)] for key in sorted(whole)]
    if all(isinstance(key, str) for _, key in found):
        return {key: item for (_, key), item in found.items()}
    order = sorted(found.items(), key=lambda row: pairs_order(row[0][1]))
    return ("pairs", [(type(key).__name__, key, item) for (_, key), item in order])


def shape(value: Any) -> Any:
    """A value from Lua in the same terms as ``canonical``, its order as it came."""
    if isinstance(value, Pairs):
        return ("pairs", [(type(key).__name__, key, shape(item)) for key, item in value.items])
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return canonical(value)


@pytest.fixture(scope="module")
def echoes() -> Iterator[tuple[Start, Start]]:
    with tempfile.TemporaryDirectory() as folder:
        loaded = Desk(Path(folder)).load(ECHO)
        yield loaded.program.tasks[0].run, loaded.program.tasks[1].run


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=values)
def test_a_value_comes_back(echoes: tuple[Start, Start], value: Any) -> None:
    assert shape(drive(echoes[0](value), {}).result) == canonical(value)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(many=st.lists(values | st.none(), min_size=2, max_size=5))
def test_several_values_come_back_through_a_call_with_their_nils(
    echoes: tuple[Start, Start], many: list[Any]
) -> None:
    ended = drive(echoes[1](), {"cmd": lambda call: Returned(tuple(many))})
    for got in (ended.calls[1].args, ended.result.values if isinstance(ended.result, Returned) else ()):
        assert [None if v is None else shape(v) for v in got] == [
            None if v is None else canonical(v) for v in many
        ]


def test_large_values_travel_in_pieces(echoes: tuple[Start, Start]) -> None:
    value: Any = {"list": list(range(70_000)), "text": "x" * 2_000_000, "deep": [[i] for i in range(500)]}
    assert drive(echoes[0](value), {}).result == value
    ended = drive(echoes[1](), {"cmd": lambda call: value})
    assert ended.calls[1].args == (value,) and ended.result == value


def test_keys_of_tables_come_sorted(desk: Desk) -> None:
    found = desk.run("return {b = 1, a = 2, c = 3}, {[true] = 1, [2.5] = 2, [-1] = 3, x = 4}")
    assert isinstance(found, Returned)
    assert list(found.values[0]) == ["a", "b", "c"]  # type: ignore[call-overload] # a dict
    assert found.values[1] == Pairs(((True, 1), (-1, 3), (2.5, 2), ("x", 4)))


def test_a_table_with_holes_is_pairs(desk: Desk) -> None:
    assert desk.run("return {1, nil, 3}") == Pairs(((1, 1), (3, 3)))


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("return {a = {1, function() end}}", "(at .a[2]) can't be a function"),
        ("return {x = coroutine.create(print)}", "(at .x) can't be a thread"),
        ("return {[{}] = 1}", "can't have a table as a key"),
        ("local t = {} t.t = t return t", "nested more than 100 deep"),
        ('state.set("color", {f = print})', 'state.set: the value of "color" (at .f) can\'t be a function'),
        ('state.set("color", print)', 'state.set: the value of "color" can\'t be a function'),
    ],
)
def test_what_is_no_value_is_refused_with_its_place(desk: Desk, code: str, named: str) -> None:
    with pytest.raises(BadValue) as caught:
        desk.run(code)
    assert named in caught.value.message


def test_a_result_that_is_no_value_is_told_at_its_function(desk: Desk) -> None:
    with pytest.raises(BadValue) as caught:
        desk.run("cmd() \n return {f = print}", {"cmd": lambda call: None})
    assert (caught.value.line, caught.value.source is None) == (1, False)
    assert any("tables of them" in line for line in caught.value.next)
    assert any("is done and stays so" in line for line in caught.value.next)


@pytest.mark.parametrize("bad", [1 << 63, [1, None], object(), "\ud800", {"a": {1, 2}}])
def test_what_lua_cannot_hold_is_thrown_into_the_body(desk: Desk, bad: object) -> None:
    found = desk.run("local ok, e = pcall(cmd) return e.code", {"cmd": lambda call: bad})
    assert found == "E-VALUE-TYPE"


def test_integers_and_floats_stay_apart(desk: Desk) -> None:
    found = desk.run('return "v" .. ..., 10 / 2, 7 // 2, 1 << 62', {}, 3)
    assert found == Returned(("v3", 5.0, 3, 1 << 62))
    assert isinstance(found, Returned) and [type(v) for v in found.values] == [str, float, int, int]


def test_ordered_tables_are_walked_in_order(desk: Desk) -> None:
    rows = Ordered(tuple((f"key-{i:03}", i) for i in (5, 3, 9, 1, 7)))
    code = """
      local t, seen = state.list(""), {}
      t.extra = true
      t["key-009"] = nil
      for k, v in pairs(t) do seen[#seen + 1] = k end
      local n = 0
      for _ in next, t do n = n + 1 end
      return seen, n, t["key-003"]"""
    found = desk.run(code, {"state.list": lambda call: rows})
    assert found == Returned((["key-005", "key-003", "key-001", "key-007", "extra"], 5, 3))


def test_pairs_walks_numbers_then_texts_in_order(desk: Desk) -> None:
    code = """
      local t, seen = {[2.5] = 1, [-1] = 1, [true] = 1, ten = 1, nine = 1, ["10"] = 1}, {}
      for i = 1, 4 do t[i] = i end
      for _, name in ipairs({"b", "d", "a", "e", "f", "c", "h", "g", "j", "i"}) do t[name] = name end
      for key, value in pairs(t) do
        seen[#seen + 1] = tostring(key)
        t[key] = nil
        t.g = nil
      end
      return table.concat(seen, " "), next(t)"""
    assert desk.run(code) == Returned(("-1 1 2 2.5 3 4 10 a b c d e f h i j nine ten true", None))


def test_pairs_walks_what_is_no_plain_table_as_lua_does(desk: Desk) -> None:
    code = """
      local seen, own = {}, setmetatable({z = 1}, {__pairs = function(t) return next, {y = 2}, nil end})
      local hidden = setmetatable({a = 3}, {__metatable = "hidden", __index = {b = 4}})
      for _, t in ipairs({own, hidden, {}, {7, 8}}) do
        for key, value in pairs(t) do seen[#seen + 1] = key .. "=" .. value end
      end
      local ok, problem = pcall(function() for _ in pairs(nil) do end end)
      return table.concat(seen, " "), problem, select(2, pcall(pairs))"""
    seen, problem, none = desk.run(code).values  # type: ignore[attr-defined] # Returned
    assert seen == "y=2 a=3 1=7 2=8"
    assert "table expected, got nil" in problem and "bad argument #1" in none


def test_fields_that_are_none_are_not_there(desk: Desk) -> None:
    assert desk.run("return cmd()", {"cmd": lambda call: {"a": 1, "b": None}}) == {"a": 1}


def test_values_of_tuples_by_name_become_tables(desk: Desk) -> None:
    this, params, deps = desk.run("return ...", {}, *(("x",), {"p": 1}, {"build": {"v": 2}})).values  # type: ignore[attr-defined] # Returned
    assert (this, params, deps) == (["x"], {"p": 1}, {"build": {"v": 2}})
