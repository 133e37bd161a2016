"""Why: one key's revisions form a hash chain; following it finds what does not fit, and says what and where.

Each revision holds the hash of the one before. The newest stands twice, as head and as revision, which must agree. A
checkpoint (``tags``) holds one revision's hash, so the chain must contain it.

What the chain does not cover: expiry and the mark of being sensitive (they change without a revision). Whoever can
write the store can also write a chain that fits, and a checkpoint; only a checkpoint's digest kept elsewhere shows
that.
"""

from __future__ import annotations

from collections.abc import Iterable

from sloth_runner.errors import Corrupt
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state import tags
from sloth_runner.state.layout import HISTORY, place, store_key
from sloth_runner.state.record import Record, decode_record, digest, load_blob

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry, Store


class Finding(NamedTuple):
    """Something wrong: with a revision of a key, with a key (revision None), or with the whole (both None).

    ``problem``: ``changed``, ``missing``, ``misplaced``, ``unreadable``, ``value``, ``head-old``, ``head-missing``,
    ``head-differs``, ``rolled-back``, ``tag``, ``checkpoint``, ``damaged``.
    """

    key: str | None
    revision: int | None
    problem: str
    message: str


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
