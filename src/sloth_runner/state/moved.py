"""Why: a state that was moved must not go on living in its old place: who still writes there is told where it went.

A note at MOVED says where to, by whom and when, and whether that is done. Some stores refuse all commits of state by
themselves while it stands there (``Traits.retire``: database files and PostgreSQL, which keep it even from programs
that know nothing of it). ``Retiring`` does it for all others: each commit of state asserts that there is no note.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sloth_runner.errors import Conflict, Corrupt, Moved
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import ARRIVED, ARRIVING, MOVED, SEP, STORE
from sloth_runner.state.store import ABSENT, Change, Check, Entry, Over, Rev

if TYPE_CHECKING:
    from sloth_runner.state.store import Reader, Store

STAYS: Final = Check(MOVED, ABSENT)
"""Holds while the state has not moved. Changes of a keyring assert it: they are no state, so no store refuses them by
itself."""


class Note(NamedTuple):
    """What a migration leaves in its source (MOVED) and in its target (ARRIVING, ARRIVED once it is done). ``source``
    and ``target`` are URLs without passwords. ``again``: the target had this state before; ``fresh``: nothing."""

    id: str
    source: str
    target: str
    user: str
    host: str
    time: float
    again: bool = False
    fresh: bool = False
    done: bool = False


def encode(note: Note) -> bytes:
    """A note as it is stored."""
    return json.dumps(dict(zip(Note._fields, note, strict=True))).encode()


def decode(data: bytes) -> Note:
    """The note of these bytes. Raises Corrupt."""
    try:
        row = json.loads(data)
        return Note(**{name: row[name] for name in Note._fields})
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("the note of where this state was moved to can't be read") from error


def left(reader: Reader) -> Note | None:
    """Where the state of this store was moved to, or is being moved to."""
    entry = reader.get(MOVED)
    return None if entry is None else decode(entry.value)


def coming(reader: Reader) -> Note | None:
    """Which state is just being copied into this store."""
    entry = reader.get(ARRIVING)
    return None if entry is None else decode(entry.value)


def came(reader: Reader) -> Note | None:
    """From where the state of this store came."""
    entry = reader.get(ARRIVED)
    return None if entry is None else decode(entry.value)


def refusal(data: bytes) -> Moved:
    """The error for who writes into a store with this note."""
    note = decode(data)
    who = f"{note.user}@{note.host} at {iso(note.time)}"
    if note.done:
        return Moved(
            f"this state was moved to {note.target} by {who}",
            unchanged=["nothing was written"],
            next=[f'name it in sloth.toml: [state] store = "{note.target}"'],
        )
    return Moved(
        f"this state is being moved to {note.target}: {who} began it",
        unchanged=["nothing was written"],
        next=["wait until that is done", *_ways_out(note)],
    )


def raise_if_moved(reader: Reader, conflict: Conflict) -> None:
    """Raise Moved, if that is what a commit met that asserts STAYS."""
    if MOVED in conflict.keys:
        entry = reader.get(MOVED)
        if entry is not None:
            raise refusal(entry.value) from conflict


def refuse(reader: Reader) -> None:
    """Raise Moved for a store whose state has moved, or into which one is being copied."""
    gone, arriving = left(reader), coming(reader)
    if gone is not None:
        raise refusal(encode(gone))
    if arriving is not None:
        raise unfinished(arriving)


def unfinished(note: Note) -> Moved:
    """The error for who opens a store into which a state is being copied."""
    return Moved(
        f"the state of {note.source} is being copied here, and is not complete: {note.user}@{note.host} began it at "
        f"{iso(note.time)}",
        unchanged=["nothing was read or written"],
        next=["wait until that is done", *_ways_out(note)],
    )


def _ways_out(note: Note) -> list[str]:
    command = f"sloth-runner state migrate --from {note.source} --to {note.target}"
    return [f"if it broke off, finish it: {command}", f"or undo it: {command} --abort"]


class Retiring(Over):
    """The store ``inner``, each of whose commits of state asserts that it has not moved."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        traits = inner.traits
        self.traits = traits._replace(max_changes=traits.max_changes - 1, retire=self._retire)
        self.get = inner.get
        self.close = inner.close

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        return self.inner.scan(prefix, after=after, limit=limit, reverse=reverse)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store. Raises Moved."""
        put = next((change.key for change in changes if isinstance(change, Change)), "")
        if not put or put.startswith(STORE + SEP):
            return self.inner.commit(changes)
        try:
            return self.inner.commit([*changes, STAYS])[:-1]
        except Conflict as conflict:
            raise_if_moved(self.inner, conflict)
            raise

    def _retire(self, new: bytes, old: bytes) -> None:
        """See Traits."""
        entry = self.inner.get(MOVED)
        found = b"" if entry is None else entry.value
        if found == new:
            return
        if found != old:
            raise Conflict("the note of where this state moved to was changed by others", keys=[MOVED])
        settle(self.inner, [Change(MOVED, new or None, entry.rev if entry else ABSENT)])
