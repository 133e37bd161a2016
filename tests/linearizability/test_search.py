"""What the search leaves out, it leaves out rightly: it judges small histories as one does that tries everything; and
it comes to an end where that one would not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check
from tests.linearizability.cells import Cells
from tests.linearizability.checker import STEPS, Model, Op, Request, as_unknown, check, is_linearizable
from tests.linearizability.clients import Profile, workload
from tests.linearizability.history import Recorder
from tests.linearizability.locked import Locked
from tests.linearizability.models import Records
from tests.linearizability.perform import BY, handles, perform
from tests.linearizability.sim import Network, Sim

A, B = "lin1\x1fk\x1fa", "lin2\x1fk\x1fb"


def plain(model: Model, history: Sequence[Op], most: int = 1 << 30) -> bool | None:
    """Whether there is an order, by a search that leaves out nothing but what it has already seen; None after
    ``most`` steps."""
    ops = sorted(history, key=lambda op: op.call)
    known = sum(1 << i for i, op in enumerate(ops) if op.known)
    stack: list[tuple[int, Hashable]] = [(0, model.start)]
    seen = set(stack)
    for _ in range(most):
        if not stack:
            return False
        done, state = stack.pop()
        if done & known == known:
            return True
        left = [(i, op) for i, op in enumerate(ops) if not done >> i & 1]
        bound = min(op.ret for _, op in left)
        for i, op in sorted(left, key=lambda one: -one[1].ret):
            for after in model.step(state, op._replace(until=bound)) if op.call <= bound else ():
                if (done | 1 << i, after) not in seen:
                    seen.add((done | 1 << i, after))
                    stack.append((done | 1 << i, after))
    return None


class Kind(NamedTuple):
    """What a history is about: its model, what is asked, and by verbs what may come of it."""

    model: Model
    requests: st.SearchStrategy[Request]
    results: Mapping[str, Sequence[Any]]


def held(token: int) -> Held:
    return Held("lin1", "l", token, Owner("", "o", BY), 3.0, 0.0, 1)


def change(key: str) -> st.SearchStrategy[Change]:
    return st.builds(Change, st.just(key), st.sampled_from((*BYTES, None)), expects)


def checks(key: str) -> st.SearchStrategy[Check]:
    return st.builds(Check, st.just(key), expects)


REVS = range(5)
BOTH = (True, False)
BYTES = (b"x", b"y", b"z")
expects = st.sampled_from((ANY, ANY, ABSENT, PRESENT, 1, 2, 3))
RECORDS = Kind(
    Records([A, B]),
    st.one_of(
        st.tuples(st.just("entry"), st.sampled_from((A, B))),
        st.just(("scan", "lin", "", None, False)),
        *[
            st.tuples(st.just("commit"), st.tuples(change(A), other))
            for other in (checks(B), checks(B), change(B))
        ],
    ),
    {
        "entry": [None, *itertools.product(BYTES, REVS)],
        "scan": [(), *(((key, *entry),) for key in (A, B) for entry in itertools.product(BYTES, REVS))],
        "commit": [
            *(("done", revs) for revs in itertools.product(REVS, REVS)),
            *(("conflict", frozenset(keys)) for keys in ([A], [B], [A, B])),
        ],
    },
)
TEXTS = ("x", "y", "z")
texts = st.sampled_from(TEXTS)
CELLS = Kind(
    Cells("a"),
    st.one_of(
        st.tuples(st.sampled_from(("get", "row", "delete")), st.just("a")),
        st.tuples(st.sampled_from(("set", "absent")), st.just("a"), texts),
        st.tuples(st.just("set"), st.just("a"), texts),
        st.tuples(st.just("swap"), st.just("a"), st.sampled_from((None, *TEXTS)), texts),
    ),
    {
        "get": [None, *TEXTS],
        "row": [None, *((text, number) for text in TEXTS for number in range(8))],
        **dict.fromkeys(("set", "absent", "swap", "delete"), BOTH),
    },
)
LISTS = [some for size in range(4) for some in itertools.product("xy", repeat=size)]
ITEMS = Kind(
    Cells("a"),
    st.one_of(
        st.just(("get", "a")),
        st.tuples(st.just("push"), st.just("a"), texts),
        st.tuples(st.just("push"), st.just("a"), texts),
        st.tuples(st.just("pop"), st.just("a"), st.sampled_from(("first", "last"))),
    ),
    {"get": [None, *LISTS], "push": range(8), "pop": [None, *TEXTS]},
)
COUNTS = Kind(
    Cells("a"),
    st.one_of(st.just(("get", "a")), st.tuples(st.just("add"), st.just("a"), st.integers(-1, 2))),
    {"get": [None, *range(-2, 9)], "add": range(-4, 12)},
)
tokens = st.builds(held, st.integers(1, 3))
LOCKED = Kind(
    Locked(1.0, 0.1),
    st.one_of(
        st.tuples(st.just("acquire"), st.just("l"), texts, st.sampled_from((3.0, 600.0))),
        st.tuples(st.just("acquire"), st.just("l"), texts, st.sampled_from((3.0, 600.0))),
        st.tuples(st.just("renew"), st.just("l"), tokens, st.sampled_from((3.0, 600.0))),
        st.tuples(st.just("release"), st.just("l"), tokens),
        st.tuples(st.just("write"), st.just("l"), tokens, texts),
        st.tuples(st.sampled_from(("break", "info", "read")), st.just("l")),
    ),
    {
        "acquire": [
            *(("held", token) for token in REVS),
            *(("other", token, text) for token in REVS for text in TEXTS),
        ],
        **dict.fromkeys(("renew", "release", "write"), BOTH),
        "break": [None, *((token, done) for token in REVS for done in (True, False))],
        "info": [None, *((token, text) for token in REVS for text in TEXTS)],
        "read": [None, *TEXTS],
    },
)
KINDS = {"records": RECORDS, "cells": CELLS, "lists": ITEMS, "counters": COUNTS, "locks": LOCKED}


@st.composite
def histories(draw: st.DrawFn, kind: Kind) -> list[Op]:
    """Operations as they take effect, one after the other, and last around that; many of unknown outcome. One result
    may then be made another."""
    state = kind.model.start
    ops: list[Op] = []
    for moment, request in enumerate(draw(st.lists(kind.requests, min_size=1, max_size=9))):
        fate = draw(st.sampled_from(("known", "known", "known", "made", "lost")))
        op = Op(0, moment - draw(st.floats(0, 5)), moment + draw(st.floats(0, 5)), request, None)
        fitting = [op._replace(result=result) for result in kind.results[request[0]]]
        fitting = [one for one in fitting if list(kind.model.step(state, one))]
        if fate != "known":
            op = as_unknown(op)
            if kind.model.reads(op):
                continue
        elif fitting:
            op = draw(st.sampled_from(fitting))
        else:
            continue
        if fate != "lost":
            state = draw(st.sampled_from([*kind.model.step(state, op)] or [state]))
        ops.append(op)
    known = [i for i, op in enumerate(ops) if op.known]
    spoilt: bool = draw(st.booleans())
    if known and spoilt:
        i = draw(st.sampled_from(known))
        ops[i] = ops[i]._replace(result=draw(st.sampled_from(kind.results[ops[i].request[0]])))
    return ops


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_it_judges_as_one_that_leaves_out_nothing(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    ops = data.draw(histories(kind))
    good = plain(kind.model, ops)
    assert check(kind.model, ops).good is good
    assert is_linearizable(kind.model, ops) is good


class Lossy(Network):
    """Most commits lose their reply; a part of those is made, now or late."""

    def _travel(self) -> None:
        self._sim.pause()


def lossy(seed: int, each: int) -> tuple[Model, list[Op]]:
    """What eight clients of one register saw, each of so many requests."""
    sim = Sim(seed)
    part = workload("register", "h", random.Random(seed), Profile())
    recorder = Recorder(part, sim.clock)
    store = MemoryStore(sim.clock)

    def client(number: int) -> Callable[[], None]:
        mind, on = part.client(number), handles(Lossy(store, sim, 1.7), sim.clock, str)

        def work() -> None:
            for _ in range(each):
                recorder.call(number, mind, lambda request: perform(on, request))

        return work

    for number in range(8):
        sim.start(client(number))
    sim.run()
    return part.model, recorder.ops


def steps(model: Model, ops: Sequence[Op], most: int) -> tuple[bool, int]:
    """The verdict, and how many times so many steps it took; it must not take more than ``most``."""
    count = itertools.count()
    verdict = check(model, ops, most / STEPS, lambda: float(next(count)))
    assert not verdict.timed_out
    return verdict.good, next(count) * STEPS


MOST = 100_000
"""Steps of the search; the histories below take up to 4,000."""


@pytest.mark.parametrize("seed", range(6))
def test_many_commits_of_one_register_that_nobody_knows_anything_of(seed: int) -> None:
    """What a search that tries each set of them does not come to an end with."""
    model, ops = lossy(seed, 14)
    assert sum(not op.known for op in ops) > 50
    good, taken = steps(model, ops, MOST)
    assert good, "the store is as it should be"
    shown = [i for i, op in enumerate(ops) if op.request[0] == "entry" and op.result is not None]
    stale, last = ops[shown[0]], ops[shown[-1]]
    assert last.result != stale.result
    for wrong in (stale.result, (b"never put", 99)):
        ops[shown[-1]] = last._replace(result=wrong)
        good, more = steps(model, ops, MOST)
        assert not good
        taken += more
    print(f"{taken:,} steps")


def test_such_a_history_is_too_much_for_a_search_that_leaves_out_nothing() -> None:
    model, ops = lossy(1, 14)
    assert plain(model, ops, 10_000) is None
    assert plain(model, [op for op in ops if op.known][:4]) is not None


def test_only_what_nothing_can_tell_apart_is_alike() -> None:
    def put(value: bytes, expect: int = ANY, call: float = 0.0) -> Op:
        return Op(0, call, inf, ("commit", (Change(A, value, expect),)), None)

    seen = Op(0, 1, 2, ("entry", A), (b"x", 1))
    ((records, _),) = Records([A]).parts([put(b"x"), put(b"y"), put(b"z"), seen])
    assert records.alike(put(b"y")) == records.alike(put(b"z", call=5.0))
    assert records.alike(put(b"x")) != records.alike(put(b"y"))
    assert records.alike(put(b"y", ABSENT)) != records.alike(put(b"z"))

    def edit(*request: Any) -> Op:
        return Op(0, 0.0, inf, request, None)

    ops = [edit("set", "a", "y"), edit("set", "a", "z"), edit("swap", "a", "y", "w"), edit("delete", "a")]
    ((cells, _),) = Cells("a").parts(ops)
    assert cells.alike(ops[0]) != cells.alike(ops[1]), "somebody compares with y"
    assert cells.alike(edit("set", "a", "z")) != cells.alike(edit("absent", "a", "z"))
    assert [*cells.step((*cells.step(cells.start, ops[1]),)[0], ops[1])] != [], (
        "another such value is a change"
    )
    counters = Cells("a")
    assert counters.alike(edit("add", "a", 1)) == counters.alike(edit("add", "a", 1))
    assert counters.alike(edit("add", "a", 1)) != counters.alike(edit("add", "a", 2))

    def acquire(identity: str, call: float, ttl: float) -> Op:
        return Op(0, call, inf, ("acquire", "l", identity, ttl), None)

    told = Op(0, 1, 9, ("info", "l"), (1, "x"))
    some = [acquire("x", 0, 3.0), acquire("y", 0, 600.0), acquire("z", 5, 600.0), acquire("z", 5, 3.0), told]
    ((locked, _),) = Locked(1.0, 0.1).parts(some)
    assert locked.alike(some[1]) == locked.alike(some[2])
    assert locked.alike(some[3]) != locked.alike(acquire("z", 6, 3.0)._replace(call=4.0)), "one ends earlier"
    assert locked.alike(acquire("x", 0, 600.0)) != locked.alike(some[1])
    writes = [
        Op(0, 0.0, inf, ("write", "l", held(token), text), None)
        for token, text in ((1, "p"), (1, "q"), (2, "p"))
    ]
    assert len({locked.alike(write) for write in writes}) == 3
