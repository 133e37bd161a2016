"""The checker itself: histories with a known answer, and any small history against trying every order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.store import ABSENT, ANY, Change, Check
from tests.linearizability.cells import EDITS, Cell, Cells
from tests.linearizability.checker import (
    Model,
    Op,
    as_unknown,
    check,
    is_linearizable,
    shortest,
    story,
)
from tests.linearizability.locked import Locked
from tests.linearizability.models import Records
from tests.linearizability.perform import BY

A, B = "lin1\x1fk\x1fa", "lin2\x1fk\x1fb"


def op(call: float, ret: float, *request: Any, gives: Any = None) -> Op:
    return Op(0, call, ret, request, gives)


def by_trying_all(model: Model, ops: Sequence[Op]) -> bool:
    """Whether there is an order, found the slow way: every choice of the unknown ones, every permutation."""
    known = [one for one in ops if one.known]
    unknown = [one for one in ops if not one.known]
    chosen = itertools.chain.from_iterable(
        itertools.combinations(unknown, n) for n in range(len(unknown) + 1)
    )
    return any(
        _fits(model, order)
        for some in chosen
        for order in itertools.permutations([*known, *some])
        if all(a.call <= b.ret for i, a in enumerate(order) for b in order[i + 1 :])
    )


def _fits(model: Model, order: Sequence[Op]) -> bool:
    states = {model.start}
    for i, one in enumerate(order):
        one = one._replace(until=min(later.ret for later in order[i:]))
        states = {after for state in states for after in model.step(state, one)}
    return bool(states)


CELLS = Cells(["a"])
GOOD: dict[str, tuple[Model, list[Op]]] = {
    "one after the other": (CELLS, [op(0, 1, "set", "a", "x", gives=True), op(2, 3, "get", "a", gives="x")]),
    "a read beside a write sees either": (
        CELLS,
        [
            op(0, 9, "set", "a", "x", gives=True),
            op(1, 2, "get", "a", gives=None),
            op(3, 4, "get", "a", gives="x"),
        ],
    ),
    "an unknown write shows up late": (
        CELLS,
        [
            op(0, inf, "set", "a", "x"),
            op(1, 2, "get", "a", gives=None),
            op(8, 9, "get", "a", gives="x"),
        ],
    ),
    "an unknown write never shows up": (CELLS, [op(0, inf, "add", "a", 5), op(1, 2, "add", "a", 1, gives=1)]),
    "an unknown write's Rev is learned": (
        Records([A]),
        [
            op(0, inf, "commit", (Change(A, b"x"),)),
            op(1, 2, "entry", A, gives=(b"x", 7)),
            op(3, 4, "commit", (Change(A, b"y", 7),), gives=("done", (8,))),
        ],
    ),
    "revs of two keys have nothing to do with each other": (
        Records([A, B]),
        [
            op(0, 1, "commit", (Change(A, b"x"),), gives=("done", (9,))),
            op(2, 3, "commit", (Change(B, b"y"), Check(A, 9)), gives=("done", (1, 9))),
        ],
    ),
}
BAD: dict[str, tuple[Model, list[Op]]] = {
    "a stale read": (CELLS, [op(0, 1, "set", "a", "x", gives=True), op(2, 3, "get", "a", gives=None)]),
    "a value that comes and goes": (
        CELLS,
        [
            op(0, 9, "set", "a", "x", gives=True),
            op(1, 2, "get", "a", gives="x"),
            op(3, 4, "get", "a", gives=None),
        ],
    ),
    "two who add and get one sum": (
        CELLS,
        [op(0, 5, "add", "a", 1, gives=1), op(0, 5, "add", "a", 1, gives=1)],
    ),
    "an unknown write before its time": (
        CELLS,
        [op(1, 2, "get", "a", gives="x"), op(3, inf, "set", "a", "x")],
    ),
    "an unknown write that counts twice": (
        CELLS,
        [op(0, inf, "push", "a", "x"), op(1, 2, "get", "a", gives=("x", "x"))],
    ),
    "a lost write of a list": (
        CELLS,
        [
            op(0, 1, "push", "a", "x", gives=1),
            op(2, 3, "push", "a", "y", gives=2),
            op(4, 5, "get", "a", gives=("y",)),
        ],
    ),
    "a Rev that returns": (
        Records([A]),
        [
            op(0, 1, "commit", (Change(A, b"x"),), gives=("done", (3,))),
            op(2, 3, "commit", (Change(A, None),), gives=("done", (0,))),
            op(4, 5, "commit", (Change(A, b"y"),), gives=("done", (3,))),
        ],
    ),
    "a conflict without a reason": (
        Records([A]),
        [op(0, 1, "commit", (Change(A, b"x", ABSENT),), gives=("conflict", frozenset([A])))],
    ),
    "half of a commit": (
        Records([A, B]),
        [
            op(0, 1, "commit", (Change(A, b"x"), Check(B, ABSENT)), gives=("done", (1, 0))),
            op(2, 5, "commit", (Change(B, b"y"), Check(A, ABSENT)), gives=("done", (2, 0))),
        ],
    ),
    "a scan without what is there": (
        Records([A]),
        [
            op(0, 1, "commit", (Change(A, b"x", ANY),), gives=("done", (1,))),
            op(2, 3, "scan", "lin1", "", None, False, gives=()),
        ],
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_known_good(name: str) -> None:
    model, ops = GOOD[name]
    assert check(model, ops).good
    assert by_trying_all(model, ops)


@pytest.mark.parametrize("name", BAD)
def test_known_bad(name: str) -> None:
    model, ops = BAD[name]
    verdict = check(model, ops)
    assert not verdict.good
    assert not verdict.timed_out
    assert not by_trying_all(model, ops)


def held(token: int) -> Held:
    return Held("lin1", "l", token, Owner("", f"o{token}", BY), 10.0, 0.0, 1)


TAKEN = op(0, 1, "acquire", "l", "o1", 10.0, gives=("held", 1))


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ([op(2, 3, "acquire", "l", "o2", 10.0, gives=("other", 1, "o1"))], True),
        ([op(2, 3, "acquire", "l", "o2", 10.0, gives=("held", 2))], False),
        ([op(2, 11, "acquire", "l", "o2", 10.0, gives=("held", 2))], True),
        ([op(2, 9, "acquire", "l", "o2", 10.0, gives=("held", 2))], False),
        ([op(12, 13, "info", "l", gives=(1, "o1"))], False),
        ([op(10, 13, "info", "l", gives=(1, "o1"))], True),
        ([op(5, 6, "renew", "l", held(1), 10.0, gives=True), op(14, 14.5, "info", "l", gives=None)], False),
        ([op(5, inf, "renew", "l", held(1), 10.0), op(14, 14.5, "info", "l", gives=None)], True),
        ([op(5, inf, "renew", "l", held(1), 10.0), op(14, 14.5, "info", "l", gives=(1, "o1"))], True),
        ([op(2, 3, "write", "l", held(1), "x", gives=False)], False),
        ([op(12, 13, "write", "l", held(1), "x", gives=True)], False),
        ([op(2, 3, "release", "l", held(1), gives=True), op(4, 5, "write", "l", held(1), "x", gives=True)], False),
        ([op(2, 3, "release", "l", held(1), gives=False)], False),
        ([op(2, inf, "release", "l", held(1)), op(4, 5, "acquire", "l", "o2", 10.0, gives=("held", 2))], True),
        ([op(2, 3, "break", "l", gives=(1, True)), op(4, 5, "acquire", "l", "o", 1.0, gives=("held", 3))], True),
        ([op(2, 3, "break", "l", gives=(1, True)), op(4, 5, "acquire", "l", "o", 1.0, gives=("held", 2))], False),
        ([op(2, 3, "break", "l", gives=None)], False),
        ([op(2, inf, "acquire", "l", "o2", 10.0), op(3, 4, "info", "l", gives=(2, "o2"))], False),
        ([op(2, inf, "acquire", "l", "o2", 10.0), op(3, 11, "info", "l", gives=(2, "o2"))], True),
        (
            [
                op(11, 12, "acquire", "l", "o2", 10.0, gives=("held", 2)),
                op(13, 14, "write", "l", held(1), "zombie", gives=True),
            ],
            False,
        ),
    ],
)  # fmt: skip
def test_locks(more: list[Op], good: bool) -> None:
    ops = [TAKEN, *more]
    model = Locked(lag=0.0, slack=0.0)
    assert check(model, ops).good is good
    assert by_trying_all(model, ops) is good


def test_who_fails_to_take_a_lock_may_have_had_it_until_it_was_broken() -> None:
    failed = op(0, 5, "acquire", "l", "o1", 10.0)
    broken = op(3, 4, "break", "l", gives=(1, True))
    seen = op(1, 2, "info", "l", gives=(1, "o1"))
    model = Locked(lag=0.0, slack=0.0)
    for others in ([seen], [seen, broken], [seen, broken._replace(call=6, ret=7)]):
        besides = model.besides(failed, 1, True, others)
        assert check(model, [*others, *besides]).good is (others[-1] == broken)
    assert len(model.besides(failed._replace(ret=25.0), 9, True, [seen])) == 2, (
        "its lease ended so many times"
    )
    assert len(model.besides(failed._replace(result=("held", 3)), 2, False, [seen])) == 2
    assert len(model.besides(as_unknown(failed), 2, False, [seen])) == 1, "it stands there once itself"
    assert model.besides(seen, 2, False, []) == []


# Histories that come of one client after the other, and then are made to overlap.

requests = st.one_of(
    st.tuples(st.just("set"), st.sampled_from("ab"), st.uuids().map(str)),
    st.tuples(st.just("absent"), st.sampled_from("ab"), st.uuids().map(str)),
    st.tuples(st.sampled_from(["get", "row", "delete"]), st.sampled_from("ab")),
    st.tuples(st.just("rows"), st.just("")),
    st.tuples(st.just("add"), st.just("c"), st.integers(-2, 2)),
    st.tuples(st.just("push"), st.just("d"), st.integers(0, 3)),
    st.tuples(st.just("pop"), st.just("d"), st.sampled_from(["first", "last"])),
)
MODEL = Cells("abcd")


def applied(state: tuple[Cell, ...], request: tuple[Any, ...]) -> tuple[tuple[Cell, ...], Any]:
    """What the only client there is gets."""
    verb, name, *args = request
    if verb == "rows":
        return state, tuple(
            (key, *cell) for key, cell in zip("abcd", state, strict=True) if cell.value is not None
        )
    at = "abcd".index(name)
    cell = state[at]
    if verb in ("get", "row"):
        return state, cell.value if verb == "get" else None if cell.value is None else cell
    after, result = EDITS[verb](cell, *args)
    return (*state[:at], after, *state[at + 1 :]), result


@st.composite
def overlapping(draw: st.DrawFn, most: int = 30) -> list[Op]:
    """A history that is linearizable: each operation takes effect at its moment, and lasts around it."""
    asked = draw(st.lists(requests, min_size=1, max_size=most))
    state = MODEL.start
    ops = []
    for moment, request in enumerate(asked):
        fate = draw(st.sampled_from(["known"] * 6 + ["unknown", "never"]))
        before, after = draw(st.floats(0, 6)), draw(st.floats(0, 6))
        if fate == "never" and request[0] not in ("get", "row", "rows"):
            ops.append(Op(0, moment - before, inf, request, None))
            continue
        state, result = applied(state, request)
        known = Op(0, moment - before, moment + after, request, result)
        if fate == "unknown" and request[0] not in ("get", "row", "rows"):
            known = as_unknown(known)
        ops.append(known)
    return draw(st.permutations(ops))


@given(overlapping())
def test_what_one_client_after_the_other_did_is_accepted(ops: list[Op]) -> None:
    assert check(MODEL, ops).good
    assert is_linearizable(MODEL, ops)  # and so it is without being taken apart by keys


@given(st.data())
def test_what_was_changed_is_judged_as_by_trying_every_order(data: st.DataObject) -> None:
    ops = data.draw(overlapping(most=6))
    at = data.draw(st.integers(0, len(ops) - 1))
    results = [None, True, False, 1, 2, (), *(one.result for one in ops)]
    ops[at] = ops[at]._replace(result=data.draw(st.sampled_from(results)))
    if data.draw(st.booleans()):
        moved = data.draw(st.integers(0, len(ops) - 1))
        by = data.draw(st.floats(-6, 6))
        ops[moved] = ops[moved]._replace(call=ops[moved].call + by, ret=ops[moved].ret + by)
    good = by_trying_all(MODEL, ops)
    assert check(MODEL, ops).good is good
    if not good:
        least = shortest(MODEL, ops)
        assert not by_trying_all(MODEL, least)
        assert len(least) <= len(ops)


def test_a_search_that_takes_too_long_has_proven_nothing() -> None:
    endless = [op(0, inf, "add", "a", 1 << i) for i in range(30)]
    moments = itertools.count()
    verdict = check(CELLS, [*endless, op(0, 1, "get", "a", gives=-1)], 5.0, lambda: float(next(moments)))
    assert not verdict.good
    assert verdict.timed_out


def test_a_history_is_told_in_lines() -> None:
    model, ops = BAD["a stale read"]
    assert story(model, ops).splitlines() == [
        "      0.0    1000.0  client 0  set a x  True",
        "   2000.0    3000.0  client 0  get a  None",
    ]


def test_a_history_is_told_with_what_may_be_a_lie() -> None:
    other = op(4, 5, "acquire", "l", "o2", 10.0, gives=("held", 2))._replace(client=1)
    lie = op(2, 6, "release", "l", held(1), gives=False)
    whole = [TAKEN, op(1.5, 1.6, "read", "l"), lie, other, lie._replace(client=2)]
    model = Locked(lag=0.0, slack=0.0)
    least = shortest(model, whole)
    assert least == [TAKEN, other]
    assert story(model, least, [(op(3, 4, "break", "l"), "the network")], whole).splitlines() == [
        "      0.0    1000.0  client 0  acquire l o1 10 s  ('held', 1)",
        "   2000.0    6000.0  client 0  release l under token 1  False  (beside)",
        "   3000.0    4000.0  client 0  break l  not applied: the network",
        "   4000.0    5000.0  client 1  acquire l o2 10 s  ('held', 2)",
    ]
