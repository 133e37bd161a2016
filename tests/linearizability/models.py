"""Why: what one client alone would see of a store, its entries through its own verbs, is said once, for the checker.

What commits of unknown outcome put is often never seen. Each such value is as good as any other, and where nothing
can tell them apart they are taken for one, ``UNSEEN``, so that the checker need not try what differs by them alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check
from tests.linearizability.checker import Model, Op


class Unseen:
    def __repr__(self) -> str:
        return "something that nobody saw"


UNSEEN: Final = Unseen()
"""A value that no result shows."""


class Record(NamedTuple):
    """An entry: value (None: absent), Rev (None: not known, its writer's reply was lost), the highest Rev known."""

    value: bytes | Unseen | None = None
    rev: int | None = ABSENT
    high: int = 0

    def seen_as(self, value: bytes | Unseen | None, rev: int) -> Record | None:
        """The same after it was read as this; None if it can't be."""
        if value != self.value:
            return None
        if self.rev is None:
            return Record(value, rev, rev) if rev > self.high else None
        return self if rev == self.rev else None

    def meets(self, expect: int) -> bool:
        """Whether an expectation holds. A Rev that nobody has read can't have been expected."""
        if expect == ANY:
            return True
        if expect == ABSENT:
            return self.value is None
        return self.value is not None and expect in (PRESENT, self.rev)

    def put(self, value: bytes | Unseen | None, rev: int | None) -> Record | None:
        """The record after a put that gave ``rev``, or a delete; None if that Rev can't be."""
        if value is None:
            return Record(None, ABSENT, self.high) if rev in (ABSENT, None) else None
        if rev is None:
            return Record(value, None, self.high)
        return Record(value, rev, rev) if rev > self.high else None


class Records:
    """Requests: ``("entry", key)`` gives None or (value, rev); ``("scan", prefix, after, limit, reverse)`` gives
    (key, value, rev) …; ``("commit", changes)`` gives ("done", revs) or ("conflict", keys).

    ``unseen``: values that no result shows. Nothing else is ever compared with a value (expectations are held against
    Revs), so they can't be told apart where they are put by commits of unknown outcome.
    """

    def __init__(self, keys: Iterable[str], unseen: frozenset[bytes] = frozenset()) -> None:
        self._keys = sorted(keys)
        self._unseen = unseen
        self._place = {key: i for i, key in enumerate(self._keys)}

    @property
    def start(self) -> tuple[Record, ...]:
        """Nothing is there."""
        return (Record(),) * len(self._keys)

    def step(self, state: tuple[Record, ...], op: Op) -> Iterable[Hashable]:
        """See Model."""
        verb, *args = op.request
        after: tuple[Record, ...] | None
        if verb == "entry":
            after = self._read(state, {args[0]: op.result or (None, ABSENT)})
        elif verb == "scan":
            after = self._scan(state, args, op.result)
        else:
            after = self._commit(state, args[0], op)
        return () if after is None or (after == state and not op.known) else (after,)

    def parts(self, ops: Sequence[Op]) -> list[tuple[Model, list[Op]]]:
        """See Model."""
        groups = group(self._keys, [(self._of(op), op) for op in ops])
        return [(Records(keys, _never_shown(part)), part) for keys, part in groups]

    def reads(self, op: Op) -> bool:
        """See Model."""
        if op.request[0] != "commit":
            return True
        return op.known and (op.result[0] == "conflict" or not _puts(op.request[1]))

    def besides(self, op: Op, lost: int, failed: bool, others: Sequence[Op]) -> list[Op]:
        """See Model."""
        return []

    def alike(self, op: Op) -> Hashable:
        """See Model."""
        if op.request[0] != "commit":
            return op.request
        return tuple(
            (c.key, c.expect, *([self._put(c, op)] if isinstance(c, Change) else [])) for c in op.request[1]
        )

    def show(self, op: Op) -> str:
        """See Model."""
        verb, *args = op.request
        if verb == "entry":
            return f"get {_name(args[0])}  {_found(op.result)}"
        if verb == "scan":
            prefix, after, limit, reverse = args
            how = (
                f"{f' after {_name(after)}' if after else ''}{f' limit {limit}' if limit is not None else ''}"
            )
            rows = ", ".join(f"{_name(k)}={_text(v)}@{r}" for k, v, r in op.result)
            return f"scan {_name(prefix)}*{how}{' reverse' if reverse else ''}  [{rows}]"
        asked = "; ".join(_change(change) for change in args[0])
        if not op.known:
            return f"commit {asked}  unknown"
        kind, what = op.result
        told = (
            f"revs {list(what)}" if kind == "done" else f"conflict on {', '.join(map(_name, sorted(what)))}"
        )
        return f"commit {asked}  {told}"

    def _of(self, op: Op) -> list[str]:
        verb, *args = op.request
        if verb == "entry":
            return [args[0]]
        if verb == "scan":
            return [key for key in self._keys if key.startswith(args[0])]
        return [change.key for change in args[0]]

    def _read(
        self, state: tuple[Record, ...], seen: dict[str, tuple[bytes | None, int]]
    ) -> tuple[Record, ...] | None:
        out = list(state)
        for key, (value, rev) in seen.items():
            record = out[self._place[key]].seen_as(value, rev)
            if record is None:
                return None
            out[self._place[key]] = record
        return tuple(out)

    def _scan(
        self, state: tuple[Record, ...], args: Sequence[Any], result: Sequence[tuple[str, bytes, int]]
    ) -> tuple[Record, ...] | None:
        prefix, beyond, limit, reverse = args
        there = [
            key for key in self._keys if key.startswith(prefix) and state[self._place[key]].value is not None
        ]
        if reverse:
            there.reverse()
        if beyond:
            there = [key for key in there if (key < beyond if reverse else key > beyond)]
        if [key for key, _, _ in result] != there[:limit]:
            return None
        return self._read(state, {key: (value, rev) for key, value, rev in result})

    def _put(self, change: Change, op: Op) -> bytes | Unseen | None:
        """What a change puts, as far as anybody can tell."""
        return UNSEEN if not op.known and change.value in self._unseen else change.value

    def _commit(
        self, state: tuple[Record, ...], changes: Sequence[Change | Check], op: Op
    ) -> tuple[Record, ...] | None:
        failed = {c.key for c in changes if not state[self._place[c.key]].meets(c.expect)}
        if not op.known:
            revs: Sequence[int | None] = [None] * len(changes)
        elif op.result[0] == "conflict":
            return state if failed and failed == op.result[1] else None
        else:
            revs = op.result[1]
        if failed:
            return None
        out = list(state)
        for change, rev in zip(changes, revs, strict=True):
            at = self._place[change.key]
            record: Record | None = out[at]
            if isinstance(change, Change):
                record = out[at].put(self._put(change, op), rev)
            elif rev is not None:
                record = out[at].seen_as(out[at].value, rev)
            if record is None:
                return None
            out[at] = record
        return tuple(out)


def group(keys: Sequence[str], ops: Sequence[tuple[list[str], Op]]) -> list[tuple[list[str], list[Op]]]:
    """Keys and operations in groups that share no key; an operation without a key joins the first."""
    root = {key: key for key in keys}

    def find(key: str) -> str:
        while root[key] != key:
            key = root[key]
        return key

    for touched, _ in ops:
        for key in touched[1:]:
            root[find(key)] = find(touched[0])
    out: dict[str, tuple[list[str], list[Op]]] = {}
    for key in keys:
        out.setdefault(find(key), ([], []))[0].append(key)
    for touched, op in ops:
        out[find(touched[0] if touched else keys[0])][1].append(op)
    return [part for part in out.values() if part[1]]


def _never_shown(ops: Sequence[Op]) -> frozenset[bytes]:
    """The values that commits of unknown outcome put, without those that a result shows."""
    put: set[bytes] = set()
    shown: set[bytes] = set()
    for op in ops:
        verb, *args = op.request
        if verb == "entry":
            shown.update(() if op.result is None else op.result[:1])
        elif verb == "scan":
            shown.update(value for _, value, _ in op.result)
        elif not op.known:
            put.update(c.value for c in args[0] if isinstance(c, Change) and c.value is not None)
    return frozenset(put - shown)


def _puts(changes: Sequence[Change | Check]) -> bool:
    return any(isinstance(change, Change) for change in changes)


def _name(key: str) -> str:
    return key.replace("\x1fk\x1f", "/")


def _text(value: bytes | None) -> str:
    return "nothing" if value is None else value.decode()


def _found(result: tuple[bytes, int] | None) -> str:
    return "nothing" if result is None else f"{_text(result[0])}@{result[1]}"


def _change(change: Change | Check) -> str:
    expect = {ANY: "", ABSENT: " if absent", PRESENT: " if there"}.get(change.expect, f" if @{change.expect}")
    if isinstance(change, Check):
        return f"check {_name(change.key)}{expect}"
    return (
        f"{_name(change.key)}={_text(change.value)}{expect}"
        if change.value is not None
        else f"delete {_name(change.key)}{expect}"
    )
