"""Why: a record that was changed, lost, swapped or put back from an older copy must be found, and named.

The revisions of a key form a hash chain: each holds the hash of the one before. The newest stands twice, as head and
as revision, which must agree. A checkpoint (``tags``) holds one revision's hash of every key, so each chain must
contain it. All of it is read once, in key order and constant memory; a key that looks wrong is read again by itself,
since others may be writing.

What the chain does not cover: expiry and the mark of being sensitive (they change without a revision). Whoever can
write the store can also write a chain that fits, and a checkpoint; only a checkpoint's digest kept elsewhere shows
that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from sloth_runner.errors import Corrupt
from sloth_runner.state import tags
from sloth_runner.state.layout import HEAD, HISTORY, place, prefix_of, revisions_of, store_key
from sloth_runner.state.record import Record, decode_record, digest
from sloth_runner.state.store import walk
from sloth_runner.state.writer import load_blob

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry, Store

MOST = 1000
"""Findings that a report lists; more are counted."""
TRIES = 5


class Finding(NamedTuple):
    """Something wrong: with a revision of a key, with a key (revision None), or with the whole (both None).

    ``problem``: ``changed``, ``missing``, ``misplaced``, ``unreadable``, ``value``, ``head-old``, ``head-missing``,
    ``head-differs``, ``rolled-back``, ``tag``, ``checkpoint``, ``damaged``.
    """

    key: str | None
    revision: int | None
    problem: str
    message: str


class Checked(NamedTuple):
    """A checkpoint, held against the chains: keys whose chain was followed from it to the head, and those where
    revisions between are compacted, so that the links could not be verified."""

    tag: tags.Tag
    verified: int
    compacted: int


class Report(NamedTuple):
    """What verification came to. ``head`` is the namespace's head; ``more`` counts findings that are not listed;
    ``compacted`` the keys that have revisions below their horizon."""

    namespace: str
    head: str
    keys: int
    revisions: int
    compacted: int
    tags: tuple[Checked, ...]
    findings: tuple[Finding, ...]
    more: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


class Pinned(NamedTuple):
    """What a checkpoint says of a key."""

    tag: str
    number: int
    hash: str


class Chain(NamedTuple):
    """One key's chain: its head's row (None: no readable head), revisions read, the number after the last place
    where revisions are compacted (0: nowhere), and what is wrong."""

    row: tags.Row | None
    revisions: int
    after_gap: int
    findings: list[Finding]


def verify(
    store: Store, namespace: str, pinned: str | None = None, told: Callable[[int], None] | None = None
) -> Report:
    """Verify every chain of a namespace and hold it against its checkpoints; ``pinned``: the digest of a
    checkpoint (or of the whole head) that must be there. ``told`` hears the number of keys done, key by key."""
    return _Run(store, namespace, pinned, told).report()


def chain(
    store: Store, namespace: str, key: str, head: Entry | None, entries: Iterable[Entry], pins: list[Pinned]
) -> Chain:
    """Verify one key's chain; ``entries`` are its revisions in order."""
    walked = _Walk(store, namespace, key)
    last = None if head is None else walked.read(head)
    walked.first = 0 if last is None else last.first
    wanted: dict[int, list[Pinned]] = {}
    for pin in pins:
        wanted.setdefault(pin.number, []).append(pin)
    for entry in entries:
        walked.step(entry, wanted)
    if last is not None:
        walked.end(last)
    elif head is None and walked.count:
        walked.find(None, "head-missing", "the key has revisions, but its head is missing")
    for pin in pins:
        walked.check_pin(pin, last)
    row = None if last is None else tags.Row(key, last.number, digest(last))
    return Chain(row, walked.count, walked.after_gap, walked.findings)


class _Walk:
    """Follows one chain, revision by revision."""

    def __init__(self, store: Store, namespace: str, key: str) -> None:
        self._store, self._namespace, self._key = store, namespace, key
        self.findings: list[Finding] = []
        self.first = 0
        """The horizon; 0: not known, it is where the history begins."""
        self.count = 0
        self.after_gap = 0
        self._number = 0
        """The last number seen."""
        self._record: Record | None = None
        """Its record, if it could be read and stood in its place."""

    def find(self, revision: int | None, problem: str, message: str) -> None:
        self.findings.append(Finding(self._key, revision, problem, message))

    def read(self, entry: Entry) -> Record | None:
        revision = place(entry.key).revision
        try:
            return decode_record(entry.value)
        except Corrupt as error:
            what = "the head" if revision is None else f"revision {revision}"
            self.find(revision, "unreadable", f"{what} can't be read: {error.message}")
            return None

    def step(self, entry: Entry, pins: dict[int, list[Pinned]]) -> None:
        number = place(entry.key).revision or 0
        self.count += 1
        self.first = self.first or number
        self._check_gap(number)
        record = self.read(entry)
        if record is not None and record.number != number:
            message = f"revision {number} holds the record of revision {record.number}"
            self.find(number, "misplaced", message)
            record = None
        if record is not None:
            self._check_link(record)
            self._check_blob(record)
            for pin in pins.get(number, ()):
                if digest(record) != pin.hash:
                    message = f"revision {number} is not the one that the tag {pin.tag!r} recorded"
                    self.find(number, "changed", message)
        self._number, self._record = number, record

    def end(self, last: Record) -> None:
        """The chain is over: does the head agree with its last revision?"""
        if last.number < self._number:
            message = f"the head is at revision {last.number}, but its history goes on to {self._number}"
            self.find(last.number, "head-old", f"{message}: an older head was put back")
        elif last.number > self._number:
            self._check_gap(last.number + 1)
        elif self._record is not None:
            found = self._record
            same_touch = last.touch == found.touch
            marks = (last.expires, last.sensitive) == (found.expires, found.sensitive)
            if last.core != found.core:
                self.find(
                    last.number,
                    "head-differs",
                    f"the head and revision {last.number} of the history differ: one of them was changed",
                )
            elif same_touch and not marks:
                self.find(
                    last.number,
                    "head-differs",
                    f"expiry or sensitivity of the head and of revision {last.number} differ: one was changed",
                )

    def check_pin(self, pin: Pinned, last: Record | None) -> None:
        """The checkpoint's revision must be in the chain (what it holds was compared on the way)."""
        if last is not None and last.number < pin.number:
            self.find(
                last.number,
                "rolled-back",
                f"the key is at revision {last.number}; the tag {pin.tag!r} saw revision {pin.number}",
            )
        elif pin.number < self.first or last is None:
            found = self._store.get(store_key(self._namespace, HISTORY, self._key, pin.number))
            if found is None:
                message = f"revision {pin.number} is missing; the tag {pin.tag!r} keeps it"
                self.find(pin.number, "missing", message)

    def _check_gap(self, number: int) -> None:
        """Numbers between the last one seen and ``number``: missing from the horizon on, compacted below it."""
        start, end = max(self._number + 1, self.first), number - 1
        if start <= end:
            which = f"revision {start} is" if start == end else f"revisions {start} to {end} are"
            self.find(start, "missing", f"{which} missing from the history")
        if number > self._number + 1:
            self._record = None
            if self._number + 1 < self.first:
                self.after_gap = number

    def _check_link(self, record: Record) -> None:
        number, before = record.number, self._record
        if number == 1 and record.previous:
            self.find(1, "changed", "revision 1 names a revision before it")
        elif before is not None and record.previous != digest(before):
            self.find(
                before.number,
                "changed",
                f"the hash of revision {before.number} differs from what revision {number} says of it: "
                "one of the two was changed",
            )

    def _check_blob(self, record: Record) -> None:
        if not record.blob:
            return
        try:
            load_blob(self._store, self._namespace, self._key, record)
        except (Corrupt, TypeError):  # TypeError: it is no bytes
            message = f"the long value of revision {record.number} is missing, or is not what was written"
            self.find(record.number, "value", message)


class _Run:
    """One verification of a namespace."""

    def __init__(
        self, store: Store, namespace: str, pinned: str | None, told: Callable[[int], None] | None
    ) -> None:
        self._store, self._namespace, self._pinned, self._told = store, namespace, pinned, told
        self._head = tags.HeadDigest()
        self._findings: list[Finding] = []
        self._more = 0
        self._keys = self._revisions = self._compacted = 0
        self._tags: list[_TagRun] = []

    def report(self) -> Report:
        try:
            self._open_tags()
            self._walk()
        except Corrupt as error:  # the store itself can't go on
            system = f" ({error.system})" if error.system else ""
            message = f"{error.message}{system}; what comes after it was not verified"
            self._add(Finding(None, None, "damaged", message))
        else:
            self._close()
        checked = tuple(tag.checked() for tag in self._tags)
        listed = tuple(self._findings)
        return Report(
            self._namespace,
            self._head.hex(),
            self._keys,
            self._revisions,
            self._compacted,
            checked,
            listed,
            self._more,
        )

    def _open_tags(self) -> None:
        for name in tags.names(self._store, self._namespace):
            try:
                tag = tags.find(self._store, self._namespace, name)
            except Corrupt as error:
                self._add(Finding(None, None, "tag", error.message))
                continue
            if tag is not None and tag.status == tags.DONE:
                self._tags.append(_TagRun(self._store, self._namespace, tag))

    def _walk(self) -> None:
        heads = _Keyed(walk(self._store, prefix_of(self._namespace, HEAD)))
        histories = _Keyed(walk(self._store, prefix_of(self._namespace, HISTORY)))
        while True:
            keys = [heads.key, histories.key, *(tag.key for tag in self._tags)]
            here = [key for key in keys if key is not None]
            if not here:
                return
            key = min(here)
            pins = {tag: pin for tag in self._tags if (pin := tag.take(key)) is not None}
            head = next(iter(list(heads.take(key))), None)
            self._one(key, head, histories.take(key), pins)

    def _one(
        self, key: str, head: Entry | None, entries: Iterator[Entry], pins: dict[_TagRun, Pinned]
    ) -> None:
        found = chain(self._store, self._namespace, key, head, entries, list(pins.values()))
        if found.findings:
            found = self._again(key, pins)
        for finding in found.findings:
            self._add(finding)
        self._revisions += found.revisions
        self._compacted += found.after_gap > 0
        if found.row is not None:
            self._keys += 1
            self._head.add(found.row)
            if self._told is not None:
                self._told(self._keys)
        for tag, pin in pins.items():
            tag.count(compacted=pin.number < found.after_gap, wrong=bool(found.findings))

    def _again(self, key: str, pins: dict[_TagRun, Pinned]) -> Chain:
        """A key that looked wrong, read once more while nobody wrote it."""
        found = Chain(None, 0, 0, [])
        for _ in range(TRIES):
            head = self._store.get(store_key(self._namespace, HEAD, key))
            entries = list(walk(self._store, revisions_of(self._namespace, HISTORY, key)))
            still = [pin for tag, pin in pins.items() if tag.stands()]
            found = chain(self._store, self._namespace, key, head, entries, still)
            after = self._store.get(store_key(self._namespace, HEAD, key))
            if (head.rev if head else 0) == (after.rev if after else 0):
                break
        return found

    def _close(self) -> None:
        for tag in self._tags:
            fault = tag.fault()
            if fault is not None and tag.stands():
                self._add(Finding(None, None, "tag", fault))
        known = {tag.tag.digest for tag in self._tags} | {self._head.hex()}
        if self._pinned is not None and self._pinned not in known:
            self._add(
                Finding(
                    None,
                    None,
                    "checkpoint",
                    f"no checkpoint of {self._namespace} has the digest {self._pinned}: the tag was deleted, or the "
                    "whole was replaced by an older copy or another one",
                )
            )

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < MOST:
            self._findings.append(finding)
        else:
            self._more += 1


class _TagRun:
    """One checkpoint's rows, taken in key order beside the chains."""

    def __init__(self, store: Store, namespace: str, tag: tags.Tag) -> None:
        self._store, self._namespace = store, namespace
        self.tag = tag
        self._digest = tags.HeadDigest()
        self._rows = tags.rows(store, namespace, tag.name)
        self._unreadable: str | None = None
        self._verified = self._compacted = 0
        self._next = self._row()

    @property
    def key(self) -> str | None:
        return None if self._next is None else self._next.key

    def take(self, key: str) -> Pinned | None:
        row = self._next
        if row is None or row.key != key:
            return None
        self._digest.add(row)
        self._next = self._row()
        return Pinned(self.tag.name, row.number, row.hash)

    def count(self, *, compacted: bool, wrong: bool) -> None:
        if not wrong:
            self._compacted += compacted
            self._verified += not compacted

    def stands(self) -> bool:
        """Whether the tag is still there (it may have been deleted while we were reading)."""
        now = tags.find(self._store, self._namespace, self.tag.name)
        return now is not None and now.rev == self.tag.rev

    def fault(self) -> str | None:
        if self._unreadable is not None:
            return self._unreadable
        if self._digest.hex() == self.tag.digest and self._digest.count == self.tag.keys:
            return None
        return f"the rows of the tag {self.tag.name!r} are not those that its digest was made of"

    def checked(self) -> Checked:
        return Checked(self.tag, self._verified, self._compacted)

    def _row(self) -> tags.Row | None:
        try:
            return next(self._rows, None)
        except Corrupt as error:
            self._unreadable = error.message
            return None


class _Keyed:
    """Entries in key order, taken key by key."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._groups = groupby(entries, key=lambda entry: place(entry.key).name)
        self.key: str | None = None
        self._entries: Iterator[Entry] = iter(())
        self._advance()

    def take(self, key: str) -> Iterator[Entry]:
        """The entries of ``key``, if it is the next one; they must be used up before the next is taken."""
        if self.key != key:
            return iter(())
        return self._used_up()

    def _used_up(self) -> Iterator[Entry]:
        yield from self._entries
        self._advance()

    def _advance(self) -> None:
        self.key, self._entries = next(self._groups, (None, iter(())))
