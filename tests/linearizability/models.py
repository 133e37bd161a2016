"""Why: what one client alone would see of a store and of state is said once, for the checker.

``Records`` are a store's entries through its own verbs; ``Cells`` are keys through ``State``: registers, counters and
lists.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check
from tests.linearizability.checker import Model, Op


class Record(NamedTuple):
    """An entry: value (None: absent), Rev (None: not known, its writer's reply was lost), the highest Rev known."""

    value: bytes | None = None
    rev: int | None = ABSENT
    high: int = 0

    def seen_as(self, value: bytes | None, rev: int) -> Record | None:
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

    def put(self, value: bytes | None, rev: int | None) -> Record | None:
        """The record after a put that gave ``rev``, or a delete; None if that Rev can't be."""
        if value is None:
            return Record(None, ABSENT, self.high) if rev in (ABSENT, None) else None
        if rev is None:
            return Record(value, None, self.high)
        return Record(value, rev, rev) if rev > self.high else None


class Records:
    """Requests: ``("entry", key)`` gives None or (value, rev); ``("scan", prefix, after, limit, reverse)`` gives
    (key, value, rev) …; ``("commit", changes)`` gives ("done", revs) or ("conflict", keys)."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = sorted(keys)
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
        return [(Records(keys), part) for keys, part in groups]

    def reads(self, op: Op) -> bool:
        """See Model."""
        if op.request[0] != "commit":
            return True
        return op.known and (op.result[0] == "conflict" or not _puts(op.request[1]))

    def besides(self, op: Op, lost: int, failed: bool) -> list[Op]:
        """See Model."""
        return []

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
                record = out[at].put(change.value, rev)
            elif rev is not None:
                record = out[at].seen_as(out[at].value, rev)
            if record is None:
                return None
            out[at] = record
        return tuple(out)


class Cell(NamedTuple):
    """A key of State: its value (None: none) and the number of its last revision."""

    value: Any = None
    number: int = 0

    def set(self, value: Any) -> Cell:
        """The cell after a change."""
        return Cell(value, self.number + 1)


Edit = Callable[..., tuple[Cell, Any]]
"""(cell, *arguments) -> the cell after it, and what its caller gets."""


def _set(cell: Cell, value: Any) -> tuple[Cell, Any]:
    return (cell, False) if cell.value == value else (cell.set(value), True)


def _delete(cell: Cell) -> tuple[Cell, Any]:
    return (cell, False) if cell.value is None else (cell.set(None), True)


def _absent(cell: Cell, value: Any) -> tuple[Cell, Any]:
    return (cell.set(value), True) if cell.value is None else (cell, False)


def _swap(cell: Cell, old: Any, new: Any) -> tuple[Cell, Any]:
    return (cell.set(new), True) if cell.value == old else (cell, False)


def _add(cell: Cell, delta: int) -> tuple[Cell, Any]:
    total = (cell.value or 0) + delta
    return cell.set(total), total


def _push(cell: Cell, value: Any) -> tuple[Cell, Any]:
    items = (*(cell.value or ()), value)
    return cell.set(items), len(items)


def _pop(cell: Cell, end: str) -> tuple[Cell, Any]:
    if not cell.value:
        return cell, None
    item = cell.value[-1 if end == "last" else 0]
    return cell.set(cell.value[:-1] if end == "last" else cell.value[1:]), item


EDITS: dict[str, Edit] = {
    "set": _set, "delete": _delete, "absent": _absent, "swap": _swap, "add": _add, "push": _push, "pop": _pop,
}  # fmt: skip


class Cells:
    """Requests: ``(edit, key, …)`` of EDITS give what State gives; ``("get", key)`` the value; ``("row", key)``
    None or (value, number); ``("rows", prefix)`` (key, value, number) …"""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = sorted(keys)
        self._place = {key: i for i, key in enumerate(self._keys)}

    @property
    def start(self) -> tuple[Cell, ...]:
        """Nothing was ever set."""
        return (Cell(),) * len(self._keys)

    def step(self, state: tuple[Cell, ...], op: Op) -> Iterable[Hashable]:
        """See Model."""
        verb, name, *args = op.request
        if verb == "rows":
            rows = tuple(
                (key, *cell)
                for key, cell in zip(self._keys, state, strict=True)
                if key.startswith(name) and cell.value is not None
            )
            return (state,) if rows == op.result else ()
        cell = state[self._place[name]]
        if verb == "get":
            return (state,) if op.result == cell.value else ()
        if verb == "row":
            return (state,) if op.result == (None if cell.value is None else cell) else ()
        after, result = EDITS[verb](cell, *args)
        if op.known and result != op.result:
            return ()
        if after is cell:
            return (state,) if op.known else ()
        at = self._place[name]
        return ((*state[:at], after, *state[at + 1 :]),)

    def parts(self, ops: Sequence[Op]) -> list[tuple[Model, list[Op]]]:
        """See Model."""
        groups = group(self._keys, [(self._of(op), op) for op in ops])
        return [(Cells(keys), part) for keys, part in groups]

    def reads(self, op: Op) -> bool:
        """See Model."""
        verb = op.request[0]
        if verb in ("get", "row", "rows"):
            return True
        return op.known and verb != "add" and (op.result is False or op.result is None)

    def besides(self, op: Op, lost: int, failed: bool) -> list[Op]:
        """See Model."""
        return []

    def show(self, op: Op) -> str:
        """See Model."""
        verb, *args = op.request
        return f"{verb} {' '.join(map(str, args))}  {op.result if op.known else 'unknown'}"

    def _of(self, op: Op) -> list[str]:
        verb, name, *_ = op.request
        return [key for key in self._keys if key.startswith(name)] if verb == "rows" else [name]


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
