"""Why: whether what concurrent clients saw can have come from one store, one operation at a time, is decided here.

The search is Wing and Gong's (1993) with the memory that Lowe (2017) added: operations are put in an order, one
after the other, each only when none that is left out had ended before it began; a set of operations already ordered
and the state that they left are never tried twice. An operation whose outcome is unknown may stand anywhere after its
call, or nowhere. A search that takes too long has proven nothing, and is a failure like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import inf
from typing import Any, NamedTuple, Protocol

Request = tuple[Any, ...]


class Op(NamedTuple):
    """One call: by whom, when it began and ended (one clock, seconds; ``inf``: its outcome is unknown), what was
    asked and what came of it."""

    client: int
    call: float
    ret: float
    request: Request
    result: Any

    @property
    def known(self) -> bool:
        """Whether its caller learned what came of it."""
        return self.ret != inf


class Model(Protocol):
    """The thing itself, used by one client at a time."""

    @property
    def start(self) -> Hashable:
        """The state before anything was done."""
        ...

    def step(self, state: Any, op: Op) -> Iterable[Hashable]:
        """The states that ``op`` may leave: none if its result can't come of ``state``. One of unknown outcome
        that would leave the state as it is leaves none: it may as well not stand here."""
        ...

    def parts(self, ops: Sequence[Op]) -> list[tuple[Model, list[Op]]]:
        """Parts that can be judged apart: those that touch different keys."""
        ...

    def reads(self, op: Op) -> bool:
        """Whether ``op`` has changed nothing, whatever it found."""
        ...

    def besides(self, op: Op, lost: int, failed: bool) -> list[Op]:
        """What ``op``, during which so many replies were lost, may have done besides what its caller was told (or if
        it ``failed``), as operations of unknown outcome."""
        ...

    def show(self, op: Op) -> str:
        """Request and result, for people."""
        ...


class Verdict(NamedTuple):
    """``good``: there is an order. Otherwise ``ops`` are the part that has none, or whose search took too long."""

    good: bool
    model: Model | None = None
    ops: tuple[Op, ...] = ()
    timed_out: bool = False


class TooLong(Exception):
    """The search was given up."""


def check(
    model: Model, ops: Iterable[Op], seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
) -> Verdict:
    """Whether the history is linearizable; ``seconds`` for all of its parts together."""
    end = clock() + seconds
    for part, own in model.parts(list(ops)):
        try:
            if not is_linearizable(part, own, lambda: clock() > end):
                return Verdict(False, part, tuple(own))
        except TooLong:
            return Verdict(False, part, tuple(own), timed_out=True)
    return Verdict(True)


def is_linearizable(model: Model, ops: Sequence[Op], late: Callable[[], bool] = lambda: False) -> bool:
    """The search proper. Raises TooLong."""
    search = _Search(model, ops)
    stack = [(0, model.start)]
    seen = {stack[0]}
    count = 0
    while stack:
        done, state = stack.pop()
        if done & search.known == search.known:
            return True
        count += 1
        if count % 256 == 0 and late():
            raise TooLong
        for following in search.after(done, state):
            if following not in seen:
                seen.add(following)
                stack.append(following)
    return False


class _Search:
    def __init__(self, model: Model, ops: Sequence[Op]) -> None:
        self._model = model
        self._ops = sorted(ops, key=lambda op: op.call)
        self.known = sum(1 << i for i, op in enumerate(self._ops) if op.known)
        self._readers = sum(1 << i for i, op in enumerate(self._ops) if op.known and model.reads(op))

    def after(self, done: int, state: Hashable) -> list[tuple[int, Hashable]]:
        """What the order may go on with; the likeliest last, as it is tried first."""
        found: list[tuple[float, int, Hashable]] = []
        for i, op in self._open(done):
            for left in self._model.step(state, op):
                if left == state and self._readers >> i & 1:
                    # What only reads, and fits here, may stand here in any order there is.
                    return [(done | 1 << i, left)]
                found.append((op.ret, done | 1 << i, left))
        found.sort(key=lambda one: one[0], reverse=True)
        return [(mask, left) for _, mask, left in found]

    def _open(self, done: int) -> list[tuple[int, Op]]:
        """Those left before which none that is left had ended."""
        out: list[tuple[int, Op]] = []
        bound = inf
        for i, op in enumerate(self._ops):
            if op.call > bound:
                break
            if not done >> i & 1:
                out.append((i, op))
                bound = min(bound, op.ret)
        return [(i, op) for i, op in out if op.call <= bound]


def as_unknown(op: Op) -> Op:
    """``op`` as if its caller had learned nothing."""
    return op._replace(ret=inf, result=None)


def shortest(model: Model, ops: Sequence[Op], seconds: float = 20.0) -> list[Op]:
    """The least part of a history without an order that still has none, by steps that can't make a good one bad.

    It is cut at the first moment at which it is wrong already, and reads are left out wherever that can be. What
    remains, if time runs out, is longer and no less wrong.
    """
    end = time.monotonic() + seconds

    def wrong(part: Sequence[Op]) -> bool:
        try:
            return not is_linearizable(model, part, lambda: time.monotonic() > end)
        except TooLong:
            return False

    left = sorted(_cut(model, list(ops), wrong), key=lambda op: op.call)
    for op in [op for op in left if model.reads(op)]:
        less = [one for one in left if one is not op]
        if wrong(less):
            left = less
    return left


def _cut(model: Model, ops: list[Op], wrong: Callable[[Sequence[Op]], bool]) -> list[Op]:
    """The history as it was known at the first return after which it is wrong."""
    ends = sorted(op.ret for op in ops if op.known)
    low, high = 0, len(ends) - 1

    def until(moment: float) -> list[Op]:
        begun = [op for op in ops if op.call <= moment]
        return [
            op if op.ret <= moment else as_unknown(op)
            for op in begun
            if op.ret <= moment or not model.reads(op)
        ]

    while low < high:
        middle = (low + high) // 2
        if wrong(until(ends[middle])):
            high = middle
        else:
            low = middle + 1
    found = until(ends[low]) if ends else ops
    return found if wrong(found) else ops


def story(model: Model, ops: Sequence[Op], failed: Sequence[tuple[Op, str]] = ()) -> str:
    """A history for people: one line a call, by time, in milliseconds from its beginning; with the calls that are
    said not to have been applied, and why."""
    if not ops:
        return "(empty)"
    begin = min(op.call for op in ops)
    end = max((op.ret for op in ops if op.known), default=inf)
    rows = [(op, "") for op in ops]
    rows += [
        one
        for one in failed
        if one[0].call <= end and one[0].ret >= begin and not model.reads(as_unknown(one[0]))
    ]
    lines = []
    for op, why in sorted(rows, key=lambda row: row[0].call):
        ended = f"{(op.ret - begin) * 1000:9.1f}" if op.known else "        …"
        told = (
            f"{model.show(as_unknown(op)).removesuffix('unknown')}not applied: {why}"
            if why
            else model.show(op)
        )
        lines.append(f"{(op.call - begin) * 1000:9.1f} {ended}  client {op.client}  {told}")
    return "\n".join(lines)
