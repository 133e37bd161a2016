"""Why: what a namespace held at two moments is compared key by key; what is compacted is named, not guessed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sloth_runner.cli import documents, reveals, text
from sloth_runner.cli.shell import Shell
from sloth_runner.errors import Compacted
from sloth_runner.moments import iso
from sloth_runner.plain import NamedTuple
from sloth_runner.state import history
from sloth_runner.state.layout import HEAD, place, prefix_of
from sloth_runner.state.record import Record, decode_record
from sloth_runner.state.store import walk
from sloth_runner.state.writer import load_blob

if TYPE_CHECKING:
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store


class Difference(NamedTuple):
    """A key that differs: ``added``, ``changed``, ``deleted`` or ``compacted`` (what it held then is not kept)."""

    key: str
    change: str
    old: Record | None
    new: Record | None
    secret: bool


def print_between(shell: Shell, view: State, begin: float, end: float, *, reveal: bool) -> None:
    """Print what differs in the view's namespace between two moments."""
    store, namespace = view.writer.store, view.namespace
    found = differences(store, namespace, begin, end)
    if shell.mode == "jsonl":
        for one in found:
            shell.record("change", _row(shell, view, one, reveal))
        return
    shown = list(found)
    if shell.mode == "json":
        body = {
            "store": shell.app().store_name,
            "namespace": namespace,
            "from": iso(begin),
            "to": iso(end),
            "count": len(shown),
            "changes": [_row(shell, view, one, reveal) for one in shown],
        }
        shell.document("state.diff.list", body)
        return
    cells = []
    for one in shown:
        row = _row(shell, view, one, reveal)
        hidden = one.secret and not reveal
        values = [_shown(record, hidden) for record in (one.old, one.new)]
        cells.append([one.key, one.change, _rev(row["old_rev"]), values[0], _rev(row["new_rev"]), values[1]])
    shell.table(["KEY", "CHANGE", "REV", "OLD", "REV", "NEW"], cells, flexible=(0, 3, 5))
    if shell.human and not shown:
        shell.say(f"no difference in {namespace} between {iso(begin)} and {iso(end)}")
    lost = sum(one.change == "compacted" for one in shown)
    if lost:
        shell.say(f"{text.count(lost, 'key')}: what was there then is compacted")


def differences(store: Store, namespace: str, begin: float, end: float) -> Iterator[Difference]:
    """The keys that differ between two moments, in order."""
    for entry in walk(store, prefix_of(namespace, HEAD)):
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


def _same(old: Record | None, new: Record | None) -> bool:
    if old is None or new is None:
        return old is new
    return (old.text, old.blob) == (new.text, new.blob)


def _row(shell: Shell, view: State, one: Difference, reveal: bool) -> dict[str, Any]:
    if one.secret and reveal:
        reveals.record_key(shell, view, view.namespace, one.key)
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


def _shown(record: Record | None, hidden: bool) -> str:
    if record is None:
        return "-"
    return documents.HIDDEN if hidden else documents.shown(record, reveal=True)


def _rev(number: int | None) -> str:
    return "-" if number is None else str(number)
