"""Why: what is sent must arrive as it was, whatever is in it; and nothing else may arrive at all."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner import ops
from sloth_runner.agent import wire

TEXT = st.text(max_size=20) | st.binary(max_size=8).map(lambda b: b.decode("utf-8", "surrogateescape"))
STAMP = st.tuples(*[st.integers(0, 1 << 63)] * 5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KINDS: dict[str, Any] = {
    "str": TEXT,
    "int": st.integers(),
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False) | st.integers(0, 99),
    "bytes": st.binary(max_size=40),
    "Stamp": STAMP,
    "Mapping[str, str]": st.dictionaries(TEXT, TEXT, max_size=3),
    "object": PLAIN,
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "tuple[str, str]": st.tuples(TEXT, TEXT),
    "tuple[int, int]": st.tuples(st.integers(), st.integers()),
    "tuple[int, ...]": st.lists(st.integers(), max_size=3).map(tuple),
    "tuple[Stamp, str]": st.tuples(STAMP, TEXT),
    "tuple[tuple[str, str], ...]": st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple),
    "tuple[tuple[str, str, str, str], ...]": st.lists(st.tuples(*[TEXT] * 4), max_size=3).map(tuple),
}


def values(made: Any) -> st.SearchStrategy[Any]:
    fields = [field(text) for text in made.__annotations__.values()]
    return st.tuples(*fields).map(lambda given: made(*given))


def field(text: str) -> st.SearchStrategy[Any]:
    if text.endswith(" | None"):
        return st.none() | field(text[:-7])
    if text in ("Op", "ops.Op"):
        return st.deferred(lambda: LEAVES)
    if text == "tuple[Op, ...]":
        return st.lists(st.deferred(lambda: LEAVES), max_size=3).map(tuple)
    if text == "tuple[Result, ...]":
        return st.lists(st.deferred(lambda: RESULTS), max_size=3).map(tuple)
    known: st.SearchStrategy[Any] = KINDS[text]
    return known


LEAVES = st.one_of([values(one) for one in wire.OPERATIONS if one not in (ops.Batch, wire.Kept)])
OPERATIONS = st.one_of([values(one) for one in wire.OPERATIONS])
RESULTS = st.one_of([values(one) for one in wire.RESULTS])


@given(OPERATIONS)
def test_an_operation_arrives_as_it_was(op: ops.Op) -> None:
    back = wire.loads(wire.dumps(wire.Request(op, 7)), wire.Request)
    assert back == wire.Request(op, 7)
    assert type(back.op) is type(op)


@given(RESULTS | st.lists(RESULTS, max_size=3).map(tuple))
def test_a_result_arrives_as_it_was(result: Any) -> None:
    back = wire.loads(wire.dumps(result), *wire.RESULTS, tuple)
    assert back == result
    assert type(back) is type(result)


@given(st.one_of([values(one) for one in (*wire.FAILURES, wire.Hello, wire.Start)]))
def test_a_failure_arrives_as_it_was(failure: Any) -> None:
    back = wire.loads(wire.dumps(failure), type(failure))
    assert back == failure and type(back) is type(failure)


def test_every_operation_and_result_of_the_vocabulary_is_on_the_wire() -> None:
    known = {one.__name__ for one in (*wire.OPERATIONS, *wire.RESULTS)}
    made = {name for name, one in vars(ops).items() if isinstance(one, type) and hasattr(one, "_fields")}
    assert made == known - {"Kept"}


def test_defaults_at_the_end_cost_nothing() -> None:
    assert wire.dumps(ops.Stat("/x", True))[4:] == b'[["Stat","/x",true],[]]'


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.loads(data, *wire.OPERATIONS)


@given(OPERATIONS, st.data())
def test_damage_is_refused_or_harmless(op: ops.Op, data: st.DataObject) -> None:
    """A changed byte gives another well-typed message or none; never a value of another class or a crash."""
    whole = bytearray(wire.dumps(wire.Request(op)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        back = wire.loads(bytes(whole), wire.Request)
    except wire.Malformed:
        return
    assert isinstance(back, wire.Request) and isinstance(back.op, wire.OPERATIONS)


@pytest.mark.parametrize(
    "raw",
    [
        ["Stat"],
        ["Stat", 5],
        ["Stat", "/x", 1],
        ["Stat", "/x", True, False, None, True, True],
        ["Found", "file"],
        ["OpError", "/x"],
        ["__class__"],
        ["Batch", [["Found", "file"]]],
        ["Batch", "x"],
        ["Write", "/x", "text"],
        ["Write", "/x", 0],
        ["Write", "/x", -1],
        ["Exec", "l", [], None, None, {"A": 1}],
        ["Stat", "/x", True, False, [[1, 2, 3, 4], "d"]],
        {"Stat": "/x"},
        "Stat",
        None,
    ],
)
def test_what_is_no_operation_is_refused(raw: object) -> None:
    text = json.dumps([raw, []]).encode()
    with pytest.raises(wire.Malformed):
        wire.loads(struct.pack(">I", len(text)) + text, *wire.OPERATIONS)


def test_a_nest_of_batches_is_refused() -> None:
    text = (b'["Batch",[' * 100_000) + (b"]]" * 100_000)
    text = b"[" + text + b",[]]"
    with pytest.raises(wire.Malformed):
        wire.loads(struct.pack(">I", len(text)) + text, *wire.OPERATIONS)
