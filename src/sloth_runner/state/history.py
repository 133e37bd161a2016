"""Why: what a key held earlier, and who changed it, are questions of their own.

A key's revisions are numbered without gaps from its horizon (the head's ``first``) to its head. Below the horizon
stand only those that a tag pins; what was between them is compacted, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterator

from sloth_runner.errors import Compacted, KeyMissing
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.layout import HEAD, HISTORY, place, prefix_of, revisions_of, store_key
from sloth_runner.state.record import Record, decode_record, load_blob
from sloth_runner.state.store import walk
from sloth_runner.state.value import decode

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.state.store import Entry, Store

FEW = 20
"""Revisions asked for at once where the first of them may be enough."""


class Revision(NamedTuple):
    """One change of a key: its record, and the value before it (None: absent, or compacted).

    ``secret``: the value is not to be shown; ``old_secret``: the one before. A mark that was set later counts.
    """

    record: Record
    old: Value | None
    new: Value | None
    secret: bool = False
    old_secret: bool = False


class Filter(NamedTuple):
    """Which revisions are meant: between two moments (seconds since the epoch, both included), by someone
    (a user, ``user@host``, or a run's id)."""

    since: float | None = None
    until: float | None = None
    by: frozenset[str] = frozenset()

    def wants(self, record: Record) -> bool:
        """Whether a revision is meant."""
        by = record.by
        return (
            (self.since is None or record.time >= self.since)
            and (self.until is None or record.time <= self.until)
            and (not self.by or not self.by.isdisjoint((by.user, f"{by.user}@{by.host}", by.run)))
        )


class Mark(NamedTuple):
    """A place in the list of all revisions of a namespace, the newest first: equal times by key, then number."""

    time: float
    key: str
    number: int

    @property
    def rank(self) -> tuple[float, str, int]:
        """Sorts marks as the list is sorted."""
        return (-self.time, self.key, -self.number)


def head(store: Store, namespace: str, key: str) -> Record | None:
    """The key's last record, a tombstone too; None when it was never set."""
    entry = store.get(store_key(namespace, HEAD, key))
    return None if entry is None else load_blob(store, namespace, key, decode_record(entry.value))


def revisions(
    store: Store, namespace: str, key: str, limit: int | None = None, *, before: int | None = None
) -> Iterator[Revision]:
    """The key's revisions, newest first, at most ``limit``; only those below ``before``."""
    later: Record | None = None
    above = _above(store, namespace, key, before)
    count = 0
    for record in _newest_first(store, namespace, key, before):
        record = load_blob(store, namespace, key, record)
        if later is not None:
            if limit is not None and count >= limit:
                return
            yield as_revision(later, record, above)
            count += 1
            above = later.sensitive
        later = record
    if later is not None and (limit is None or count < limit):
        yield as_revision(later, None, above)


def matching(
    store: Store, namespace: str, key: str, wanted: Filter, *, before: int | None = None
) -> Iterator[Revision]:
    """The key's revisions that are meant, newest first; ends with the first one older than asked for."""
    for found in revisions(store, namespace, key, before=before):
        if wanted.since is not None and found.record.time < wanted.since:
            return
        if wanted.wants(found.record):
            yield found


def latest(
    store: Store, namespace: str, prefix: str, wanted: Filter, limit: int, after: Mark | None = None
) -> list[Mark]:
    """The ``limit`` newest revisions meant, of all keys below ``prefix``, from beyond ``after``."""
    found = Newest(store, namespace, wanted, limit, after)
    for entry in walk(store, prefix_of(namespace, HEAD, prefix)):
        found.look_at(entry)
    return found.marks()


class Newest:
    """Gathers the ``limit`` newest revisions meant, whatever order their keys come in.

    Holds no more than twice ``limit`` of them. Of each key it looks from its newest revision back to the first that
    is older than asked for, or than all that are held.
    """

    def __init__(
        self, store: Store, namespace: str, wanted: Filter, limit: int, after: Mark | None = None
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._wanted = wanted
        self._after = after
        self._limit = limit
        self._oldest = wanted.since
        self._marks: list[Mark] = []

    def is_too_old(self, moment: float) -> bool:
        """Whether nothing that was written up to ``moment`` can be among them any more."""
        return self._oldest is not None and moment < self._oldest

    def is_enough(self, moment: float) -> bool:
        """Whether keys that were last written at ``moment`` or before can't add anything."""
        if self.is_too_old(moment):
            return True
        return sum(mark.time > moment for mark in self._marks) >= self._limit

    def look_at(self, entry: Entry) -> None:
        """Take in the revisions of the key whose head this is."""
        last, key = decode_record(entry.value), place(entry.key).name
        if self.is_too_old(last.time):
            return
        for record in _newest_first(self._store, self._namespace, key, None, page=FEW):
            if self.is_too_old(record.time):
                break
            mark = Mark(record.time, key, record.number)
            if self._wanted.wants(record) and (self._after is None or mark.rank > self._after.rank):
                self._add(mark)

    def marks(self) -> list[Mark]:
        """They, the newest first."""
        return sorted(self._marks, key=lambda mark: mark.rank)[: self._limit]

    def _add(self, mark: Mark) -> None:
        self._marks.append(mark)
        if len(self._marks) >= 2 * self._limit:
            self._marks = self.marks()
            self._oldest = self._marks[-1].time


def one(store: Store, namespace: str, mark: Mark) -> Revision | None:
    """The revision at a mark; None if it has been compacted meanwhile."""
    return next(revisions(store, namespace, mark.key, 1, before=mark.number + 1), None)


def revision(store: Store, namespace: str, key: str, number: int) -> Record:
    """One revision's record. Raises KeyMissing (no such key or number) or Compacted (no longer kept)."""
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


def at_time(store: Store, namespace: str, key: str, moment: float, run: str | None = None) -> Record | None:
    """The record whose value a reader saw at ``moment`` (seconds since the epoch); None: nothing was there.

    With ``run``, what that run wrote counts as before the moment. Raises Compacted when it is no longer kept.
    """
    entry = store.get(store_key(namespace, HEAD, key))
    if entry is None:
        return None
    found = in_force(store, namespace, key, decode_record(entry.value), moment, run)
    return None if found is None else load_blob(store, namespace, key, found)


def in_force(
    store: Store, namespace: str, key: str, last: Record, moment: float, run: str | None = None
) -> Record | None:
    """``at_time`` for a key whose head is ``last``; a long value is left in its blob."""
    if _is_before(last, moment, run):
        return seen(last, None, moment)
    later = last
    for record in _newest_first(store, namespace, key, last.number, page=FEW):
        if record.number != later.number - 1:
            break
        if _is_before(record, moment, run):
            return seen(record, later, moment)
        later = record
    if later.number == 1:
        return None
    raise Compacted(f"what {key!r} held then is compacted: {last.first} is the oldest revision kept")


def seen(record: Record, later: Record | None, moment: float) -> Record | None:
    """``record``, if a reader saw its value at a moment when it was in force; ``later`` is the revision after it.

    Its own expiry may have been changed meanwhile; but only what has expired is followed by an "expire", which says
    when that was.
    """
    if later is not None:
        record = record._replace(expires=later.expires if later.op == "expire" else None)
    return record if record.live(moment) else None


def _is_before(record: Record, moment: float, run: str | None) -> bool:
    return record.time <= moment or (run is not None and record.by.run == run)


def _newest_first(
    store: Store, namespace: str, key: str, before: int | None, page: int = 100
) -> Iterator[Record]:
    after = "" if before is None else store_key(namespace, HISTORY, key, before)
    for entry in walk(store, revisions_of(namespace, HISTORY, key), after=after, reverse=True, page=page):
        yield decode_record(entry.value)


def _above(store: Store, namespace: str, key: str, before: int | None) -> bool:
    """Whether what stands above the newest revision wanted is sensitive: the next one, else the head."""
    after = None if before is None else store.get(store_key(namespace, HISTORY, key, before))
    after = after or store.get(store_key(namespace, HEAD, key))
    return after is not None and decode_record(after.value).sensitive


def as_revision(record: Record, old: Record | None, above: bool) -> Revision:
    """``record`` as a change; ``old`` is the one below it, if it is kept, ``above`` whether what stands above it is
    sensitive. Both have their values' texts."""
    if old is not None and old.number != record.number - 1:
        old = None  # what was between them is compacted
    secret = record.sensitive or above
    before = None if old is None or old.text is None else decode(old.text)
    new = None if record.text is None else decode(record.text)
    return Revision(record, before, new, secret, secret or (old is not None and old.sensitive))
