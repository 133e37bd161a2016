"""Why: what a key held earlier, and who changed it, are questions of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sloth_runner.errors import Compacted, KeyMissing
from sloth_runner.state.layout import HEAD, HISTORY, revisions_of, store_key
from sloth_runner.state.record import Record, decode_record
from sloth_runner.state.value import decode
from sloth_runner.state.writer import load_blob

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.state.store import Store


class Revision(NamedTuple):
    """One change of a key: its record, and the value before it (None: absent, or compacted)."""

    record: Record
    old: Value | None
    new: Value | None


def head(store: Store, namespace: str, key: str) -> Record | None:
    """The key's last record, a tombstone too; None when it was never set."""
    entry = store.get(store_key(namespace, HEAD, key))
    return None if entry is None else load_blob(store, namespace, key, decode_record(entry.value))


def revisions(store: Store, namespace: str, key: str, limit: int | None = None) -> Iterator[Revision]:
    """The key's revisions, newest first, at most ``limit``."""
    found = store.scan(
        revisions_of(namespace, HISTORY, key), reverse=True, limit=None if limit is None else limit + 1
    )
    later: Record | None = None
    count = 0
    for entry in found:
        record = load_blob(store, namespace, key, decode_record(entry.value))
        if later is not None:
            yield Revision(later, _value(record), _value(later))
            count += 1
        later = record
    if later is not None and (limit is None or count < limit):
        yield Revision(later, None, _value(later))


def revision(store: Store, namespace: str, key: str, number: int) -> Record:
    """One revision. Raises KeyMissing (no such key or number) or Compacted (no longer kept)."""
    entry = store.get(store_key(namespace, HISTORY, key, number)) if number > 0 else None
    if entry is not None:
        return load_blob(store, namespace, key, decode_record(entry.value))
    last = head(store, namespace, key)
    if last is None:
        raise KeyMissing(f"there is no key {key!r} in {namespace!r}")
    if 0 < number < last.first:
        raise Compacted(
            f"revision {number} of {key!r} is compacted: {last.first} is the oldest that is kept",
            next=[f"state history {key} shows what is kept"],
        )
    raise KeyMissing(f"{key!r} has no revision {number}; its last is {last.number}")


def at_time(store: Store, namespace: str, key: str, moment: float) -> Record | None:
    """The record that was in force at ``moment`` (seconds since the epoch); None: the key did not exist yet.

    Raises Compacted when that moment lies before what is kept.
    """
    first: Record | None = None
    for entry in store.scan(revisions_of(namespace, HISTORY, key), reverse=True):
        first = decode_record(entry.value)
        if first.time <= moment:
            return load_blob(store, namespace, key, first)
    if first is not None and first.number > 1:
        raise Compacted(f"what {key!r} held then is compacted: {first.number} is the oldest revision kept")
    return None


def _value(record: Record) -> Value | None:
    return None if record.text is None else decode(record.text)
