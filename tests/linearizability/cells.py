"""Why: what one client alone would see of keys of ``State`` (registers, counters and lists) is said once, for the
checker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.linearizability.checker import Model, Op
from tests.linearizability.models import UNSEEN, group


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
    None or (value, number); ``("rows", prefix)`` (key, value, number) …

    ``unseen``: values that edits of unknown outcome put, and that stand nowhere else: in no other request, and in no
    result. Whatever they are compared with, another of them included, is something else.
    """

    def __init__(self, keys: Iterable[str], unseen: frozenset[Any] = frozenset()) -> None:
        self._keys = sorted(keys)
        self._unseen = unseen
        self._place = {key: i for i, key in enumerate(self._keys)}

    @property
    def start(self) -> tuple[Cell, ...]:
        """Nothing was ever set."""
        return (Cell(),) * len(self._keys)

    def step(self, state: tuple[Cell, ...], op: Op) -> Iterable[Hashable]:
        """See Model."""
        verb, name, *_ = op.request
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
        after, result = self._edited(cell, op)
        if op.known and result != op.result:
            return ()
        if after is cell:
            return (state,) if op.known else ()
        at = self._place[name]
        return ((*state[:at], after, *state[at + 1 :]),)

    def parts(self, ops: Sequence[Op]) -> list[tuple[Model, list[Op]]]:
        """See Model."""
        groups = group(self._keys, [(self._of(op), op) for op in ops])
        return [(Cells(keys, _told_apart_by_nothing(part)), part) for keys, part in groups]

    def reads(self, op: Op) -> bool:
        """See Model."""
        verb = op.request[0]
        if verb in ("get", "row", "rows"):
            return True
        return op.known and verb != "add" and (op.result is False or op.result is None)

    def besides(self, op: Op, lost: int, failed: bool, others: Sequence[Op]) -> list[Op]:
        """See Model."""
        return []

    def alike(self, op: Op) -> Hashable:
        """See Model."""
        return (op.request[:2], *self._arguments(op))

    def show(self, op: Op) -> str:
        """See Model."""
        verb, *args = op.request
        return f"{verb} {' '.join(map(str, args))}  {op.result if op.known else 'unknown'}"

    def _arguments(self, op: Op) -> list[Any]:
        """Of an edit, as far as anybody can tell; what it puts is the last."""
        _, _, *args = op.request
        if not op.known and args and args[-1] in self._unseen:
            args[-1] = UNSEEN
        return args

    def _edited(self, cell: Cell, op: Op) -> tuple[Cell, Any]:
        args = self._arguments(op)
        if op.request[0] == "set" and args[-1] is UNSEEN:
            return cell.set(UNSEEN), True  # also where another such value is there: it is another
        return EDITS[op.request[0]](cell, *args)

    def _of(self, op: Op) -> list[str]:
        verb, name, *_ = op.request
        return [key for key in self._keys if key.startswith(name)] if verb == "rows" else [name]


def _told_apart_by_nothing(ops: Sequence[Op]) -> frozenset[Any]:
    """The values that edits of unknown outcome put and that stand once in all requests and results.

    What is added to a number is none: it counts by its effect. Where there are lists, only what is pushed is one:
    what is set whole might be pushed to.
    """
    verbs = {op.request[0] for op in ops}
    if "add" in verbs:
        return frozenset()
    putting = {"push"} if verbs & {"push", "pop"} else {"set", "absent", "swap"}
    count = Counter(atom for op in ops for atom in (*_atoms(op.request[2:]), *_atoms(op.result)))
    return frozenset(
        op.request[-1]
        for op in ops
        if not op.known and op.request[0] in putting and count[op.request[-1]] == 1
    )


def _atoms(value: Any) -> Iterator[Any]:
    """All that is in a value, at any depth."""
    if isinstance(value, tuple):
        for part in value:
            yield from _atoms(part)
    else:
        yield value
