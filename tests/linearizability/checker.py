"""Why: whether what concurrent clients saw can have come from one store, one operation at a time, is decided here.

The search is Wing and Gong's (1993) with the memory that Lowe (2017) added: operations are put in an order, one
after the other, each only when none that is left out had ended before it began; a set of operations already ordered
and the state that they left are never tried twice. An operation whose outcome is unknown may stand anywhere after its
call, or nowhere. A search that takes too long has proven nothing, and is a failure like any other.

Operations of unknown outcome would make it endless: of n of them any part may have taken effect. Two things are not
tried, and both leave every verdict as it is:

- *What used more.* Of two beginnings with the same known operations and the same state, the one that used all the
  unknown ones that the other did, and more, is dropped. Whatever may follow it may follow the other one: when an
  operation may come next, and by when it took effect, depends on its own call and on the known ones that are left,
  which are the same; and those of unknown outcome that are left to the one are left to the other.
- *What is alike.* Of unknown operations that leave every state alike (``Model.alike``), only the one that was called
  first is tried of those not used yet. An order that has a later one in its place stays an order if the two change
  places (or the earlier comes in, where it stood nowhere): the earlier may stand wherever the later did, since it was
  called before; the later may stand where the earlier did, which is further on, and what may come next at one time
  may at any later one. Neither ends, so neither has to come before anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import inf
from typing import Any, NamedTuple, Protocol

Request = tuple[Any, ...]
STEPS = 256
"""Steps of the search between two looks at the clock."""


class Op(NamedTuple):
    """One call: by whom, when it began and ended (one clock, seconds; ``inf``: its outcome is unknown), what was
    asked and what came of it; ``until``: by when it took effect where it stands in an order, if it did."""

    client: int
    call: float
    ret: float
    request: Request
    result: Any
    until: float = inf

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

    def besides(self, op: Op, lost: int, failed: bool, others: Sequence[Op]) -> list[Op]:
        """What ``op``, during which so many replies were lost, may have done besides what its caller was told (or if
        it ``failed``), as operations of unknown outcome. ``others``: all of the history that did not fail."""
        ...

    def alike(self, op: Op) -> Hashable:
        """Something that is equal for two operations of unknown outcome only if ``step`` makes the same of any state
        for both, or states between which nothing that may follow in this history can tell."""
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
    """The search proper; it asks every ``STEPS`` steps whether it is ``late``. Raises TooLong."""
    search = _Search(model, ops)
    memory = _Memory()
    stack = [_Begun(0, 0, model.start)]
    memory.add(stack[0])
    count = 0
    while stack:
        begun = stack.pop()
        if begun.known == search.all_known:
            return True
        if begun not in memory:
            continue
        count += 1
        if count % STEPS == 0 and late():
            raise TooLong
        stack += [following for following in search.after(begun) if memory.add(following)]
    return False


class _Begun(NamedTuple):
    """The beginning of an order: which known and which unknown operations are in it (bits), and what they left."""

    known: int
    unknown: int
    state: Hashable


class _Memory:
    """What was begun, without what used more unknown operations than something else did for the same."""

    def __init__(self) -> None:
        self._least: dict[tuple[int, Hashable], list[int]] = {}

    def add(self, begun: _Begun) -> bool:
        """Whether it is worth going on with."""
        used = begun.unknown
        others = self._least.setdefault((begun.known, begun.state), [])
        if any(other & used == other for other in others):
            return False
        others[:] = [other for other in others if other & used != used]
        others.append(used)
        return True

    def __contains__(self, begun: _Begun) -> bool:
        """Whether it still is: nothing better came since."""
        return begun.unknown in self._least[begun.known, begun.state]


class _Search:
    def __init__(self, model: Model, ops: Sequence[Op]) -> None:
        self._model = model
        by_call = sorted(ops, key=lambda op: op.call)
        self._known = [op for op in by_call if op.known]
        self._unknown = [op for op in by_call if not op.known]
        self._alike = [model.alike(op) for op in self._unknown]
        self.all_known = (1 << len(self._known)) - 1
        self._readers = sum(1 << i for i, op in enumerate(self._known) if model.reads(op))

    def after(self, begun: _Begun) -> list[_Begun]:
        """What the order may go on with; the likeliest last, as it is tried first: what is known, by its end."""
        known, unknown, state = begun
        following, bound = self._open(known)
        found: list[tuple[float, _Begun]] = []
        for i, op in following:
            for left in self._model.step(state, op._replace(until=bound)):
                if left == state and self._readers >> i & 1:
                    # What only reads, and fits here, may stand here in any order there is.
                    return [_Begun(known | 1 << i, unknown, left)]
                found.append((op.ret, _Begun(known | 1 << i, unknown, left)))
        found.sort(key=lambda one: one[0], reverse=True)
        return self._besides(begun, bound) + [one for _, one in found]

    def _besides(self, begun: _Begun, bound: float) -> list[_Begun]:
        """The same with an operation of unknown outcome that was called until ``bound``: one of each kind."""
        known, unknown, state = begun
        out = []
        tried = set()
        for i, op in enumerate(self._unknown):
            if op.call > bound:
                break
            if not unknown >> i & 1 and self._alike[i] not in tried:
                tried.add(self._alike[i])
                left = self._model.step(state, op._replace(until=bound))
                out += [_Begun(known, unknown | 1 << i, one) for one in left]
        return out

    def _open(self, known: int) -> tuple[list[tuple[int, Op]], float]:
        """Those known and left before which none that is left had ended; and the first end of those: what is next
        took effect before that, as all others take effect later."""
        out: list[tuple[int, Op]] = []
        bound = inf
        for i, op in enumerate(self._known):
            if op.call > bound:
                break
            if not known >> i & 1:
                out.append((i, op))
                bound = min(bound, op.ret)
        return [(i, op) for i, op in out if op.call <= bound], bound


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


def story(
    model: Model, ops: Sequence[Op], failed: Sequence[tuple[Op, str]] = (), whole: Sequence[Op] = ()
) -> str:
    """A history for people: one line a call, by time, in milliseconds from its beginning.

    With it the calls that are said not to have been applied, and why; and those of the ``whole`` history by the same
    clients that are said to have found nothing to do. There is no order without them either: but it may be they that
    did what nobody owns up to.
    """
    if not ops:
        return "(empty)"
    begin = min(op.call for op in ops)
    end = max((op.ret for op in ops if op.known), default=inf)

    def told(op: Op) -> str:
        return model.show(as_unknown(op)).removesuffix("unknown")

    rows = [(op, model.show(op)) for op in ops]
    clients = {op.client for op in ops}
    beside = [(op, f"{told(op)}not applied: {why}") for op, why in failed]
    beside += [
        (op, f"{model.show(op)}  (beside)")
        for op in whole
        if op.client in clients and op.known and model.reads(op) and op not in ops
    ]
    rows += [
        (op, text)
        for op, text in beside
        if op.call <= end and op.ret >= begin and not model.reads(as_unknown(op))
    ]
    lines = []
    for op, text in sorted(rows, key=lambda row: row[0].call):
        ended = f"{(op.ret - begin) * 1000:9.1f}" if op.known else "        …"
        lines.append(f"{(op.call - begin) * 1000:9.1f} {ended}  client {op.client}  {text}")
    return "\n".join(lines)
