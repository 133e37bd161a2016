"""Why: who was shown a sensitive value is written down before it is shown.

A reveal is a record of kind ``a`` in the key's namespace, named by the key, the time in milliseconds and a random
part. Clearing and purging leave it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sloth_runner.documents import who
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import AUDIT, SEP, revisions_of, store_key
from sloth_runner.state.store import ABSENT, Change

if TYPE_CHECKING:
    from sloth_runner.state.state import Row, State
    from sloth_runner.state.store import Store

AT_ONCE = 1000


def record_key(view: State, namespace: str, key: str) -> None:
    """Write down that this key's value is about to be shown to the view's user."""
    _write(view, {namespace: [key]})


def record(view: State, rows: Iterable[Row]) -> None:
    """Write down that these keys' values are about to be shown to the view's user."""
    keys: dict[str, list[str]] = {}
    for row in rows:
        keys.setdefault(row.namespace, []).append(row.key)
    _write(view, keys)


def found(store: Store, namespace: str, key: str) -> list[dict[str, Any]]:
    """Who was shown this key's value, the latest first: {"time", "by"}."""
    entries = store.scan(revisions_of(namespace, AUDIT, key), reverse=True)
    return [json.loads(entry.value) for entry in entries]


def _write(view: State, keys: dict[str, list[str]]) -> None:
    store, now, new_id = view.writer.store, view.writer.clock(), view.writer.new_id
    note = json.dumps({"time": iso(now), "by": who(view.by)}).encode()
    for namespace, names in keys.items():
        changes = [
            Change(
                f"{store_key(namespace, AUDIT, name)}{SEP}{int(now * 1000):015d}-{new_id()}",
                note,
                ABSENT,
            )
            for name in names
        ]
        most = min(AT_ONCE, store.traits.max_changes)
        for start in range(0, len(changes), most):
            settle(store, changes[start : start + most])
