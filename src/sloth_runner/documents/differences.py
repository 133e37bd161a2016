"""Why: two revisions, or two moments of a namespace, are compared in one form: values, and a unified diff."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sloth_runner import documents
from sloth_runner.documents import Document, reveals
from sloth_runner.errors import Compacted
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state import history
from sloth_runner.state.difference import unified
from sloth_runner.state.layout import HEAD, check_prefix, place, prefix_of, store_key
from sloth_runner.state.record import Record, decode_record, load_blob, stands_since
from sloth_runner.state.store import walk

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store


class Side(NamedTuple):
    """One side: the key, and its record (None: nothing there)."""

    key: str
    record: Record | None

    @property
    def name(self) -> str:
        """``KEY@3``."""
        return f"{self.key}@{self.record.number}" if self.record else f"{self.key} (nothing)"

    @property
    def text(self) -> str | None:
        """The canonical text of its value."""
        return self.record.text if self.record else None


class Pair(NamedTuple):
    """Two sides compared. ``hidden``: they are sensitive and not to be shown; ``lines`` of the unified diff."""

    left: Side
    right: Side
    hidden: bool
    lines: list[str]

    @property
    def differ(self) -> bool:
        """Whether the values differ."""
        return self.left.text != self.right.text


class Difference(NamedTuple):
    """A key that differs: ``added``, ``changed``, ``deleted`` or ``compacted`` (what it held then is not kept)."""

    key: str
    change: str
    old: Record | None
    new: Record | None
    secret: bool


def compare(view: State, left: Side, right: Side, *, reveal: bool) -> Pair:
    """Compare two revisions; ``reveal`` is recorded."""
    secret = any(side.record is not None and side.record.sensitive for side in (left, right))
    if secret and reveal:
        for key in {left.key, right.key}:
            reveals.record_key(view, view.home(key), key)
    hidden = secret and not reveal
    lines = [] if hidden else unified(left.text, right.text, left.name, right.name)
    return Pair(left, right, hidden, lines)


def difference(app: App, view: State, pair: Pair) -> Document:
    """``state.diff``."""
    return {
        "store": app.stores.name,
        "namespace": view.home(pair.left.key),
        "from": _side(pair.left, pair.hidden),
        "to": _side(pair.right, pair.hidden),
        "differ": pair.differ,
        "diff": None if pair.hidden else "".join(line + "\n" for line in pair.lines),
    }


def between(
    store: Store, namespace: str, begin: float, end: float, prefix: str = "", after: str = ""
) -> Iterator[Difference]:
    """The keys below ``prefix`` that differ between two moments, in order, from beyond ``after``.

    Raises BadName."""
    check_prefix(prefix)
    check_prefix(after, "the key to go on after")
    first = min(begin, end)
    start = store_key(namespace, HEAD, after) if after else ""
    for entry in walk(store, prefix_of(namespace, HEAD, prefix), after=start):
        if stands_since(entry.value, first):
            continue
        last, key = decode_record(entry.value), place(entry.key).name
        try:
            old = history.in_force(store, namespace, key, last, begin)
            new = history.in_force(store, namespace, key, last, end)
        except Compacted:
            yield Difference(key, "compacted", None, None, last.sensitive)
            continue
        if _same(old, new):
            continue
        change = "added" if old is None else "deleted" if new is None else "changed"
        sides = [None if one is None else load_blob(store, namespace, key, one) for one in (old, new)]
        secret = last.sensitive or any(one is not None and one.sensitive for one in sides)
        yield Difference(key, change, sides[0], sides[1], secret)


def across(one: State, other: State, prefix: str, after: str) -> Iterator[Difference]:
    """The keys below ``prefix`` that two namespaces hold differently, in order, from beyond ``after``; what
    they share is left out."""
    lefts, rights = (view.rows(prefix, after=after, limit=1 << 62) for view in (one, other))
    left, right = next(lefts, None), next(rights, None)
    while left is not None or right is not None:
        key = min(row.key for row in (left, right) if row is not None)
        old = left.record if left is not None and left.key == key else None
        new = right.record if right is not None and right.key == key else None
        if not _same(old, new):
            change = "added" if old is None else "deleted" if new is None else "changed"
            secret = any(record is not None and record.sensitive for record in (old, new))
            yield Difference(key, change, old, new, secret)
        left = next(lefts, None) if old is not None else left
        right = next(rights, None) if new is not None else right


def page(found: Iterator[Difference], limit: int | None) -> tuple[list[Difference], str | None]:
    """At most ``limit`` of them, and the key after which to go on, if there are more."""
    part = list(islice(found, limit))
    more = limit is not None and len(part) == limit and next(found, None) is not None
    return part, part[-1].key if more else None


def of_agents(
    app: App, one: State, other: State, prefix: str, found: list[Difference], cursor: str | None
) -> Document:
    """``state.diff.agents``."""
    return {
        "store": app.stores.name,
        "from": one.namespace,
        "to": other.namespace,
        "prefix": prefix,
        "count": len(found),
        "next": cursor,
        "changes": [row(one, difference, reveal=False) for difference in found],
    }


def row(view: State, one: Difference, *, reveal: bool) -> Document:
    """A key that differs as a row; ``reveal`` is recorded."""
    if one.secret and reveal:
        reveals.record_key(view, view.namespace, one.key)
    hidden = one.secret and not reveal
    old, new = (None if record is None or hidden else record for record in (one.old, one.new))
    return {
        "key": one.key,
        "change": one.change,
        "old_rev": one.old.number if one.old else None,
        "new_rev": one.new.number if one.new else None,
        "old": None if old is None else documents.value(old, reveal=True),
        "new": None if new is None else documents.value(new, reveal=True),
        "sensitive": one.secret,
    }


def differences(
    app: App,
    view: State,
    moments: tuple[float, float],
    prefix: str,
    found: Iterable[Difference],
    cursor: str | None,
    *,
    reveal: bool,
) -> Document:
    """``state.diff.list``."""
    rows = [row(view, one, reveal=reveal) for one in found]
    begin, end = moments
    return {
        "store": app.stores.name,
        "namespace": view.namespace,
        "from": iso(begin),
        "to": iso(end),
        "prefix": prefix,
        "count": len(rows),
        "next": cursor,
        "changes": rows,
    }


def _side(side: Side, hidden: bool) -> Document:
    record = side.record
    return {
        "key": side.key,
        "rev": record.number if record else None,
        "value": documents.value(record, reveal=True) if record and not hidden else None,
        "sensitive": bool(record and record.sensitive),
    }


def _same(old: Record | None, new: Record | None) -> bool:
    if old is None or new is None:
        return old is new
    return (old.text, old.blob) == (new.text, new.blob)
