"""Why: what goes into a section is read once, counted and digested on its way.

It is checked as an import will check it: a backup that can't be read back is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from sloth_runner.errors import Corrupt
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.state.bundle import BLOCK, NEVER, OF_KEYS, Line, record_line, rest_of
from sloth_runner.state.bundle_records import Chain, Plain, check_record, plain_heads
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, SEP, place, prefix_of, store_key
from sloth_runner.state.record import digest as digest_of
from sloth_runner.state.record import sha256

if TYPE_CHECKING:
    from sloth_runner.state.bundle_draft import Draft
    from sloth_runner.state.record import Record
    from sloth_runner.state.store import Entry, Reader

AT_ONCE: Final = 500
"""Heads that are looked at together."""


class Order(NamedTuple):
    """What to export. ``created``: ISO 8601; ``program`` names this one."""

    namespaces: Sequence[str]
    created: str
    user: str
    host: str
    program: str
    with_history: bool = False
    prefix: str = ""


class Census(NamedTuple):
    """What a namespace holds: the digest over all heads; of those below the prefix the keys that have a value (and
    how many of them are sensitive), those that were deleted, and revisions kept."""

    head: str
    keys: int
    sensitive: int
    deleted: int
    revisions: int


class Gathering:
    """One section's lines, into a draft. ``progress`` hears how many records more were read."""

    def __init__(
        self, reader: Reader, namespace: str, order: Order, draft: Draft, progress: Callable[[int], None]
    ) -> None:
        import hashlib

        self._reader = reader
        self._namespace = namespace
        self._prefix = order.prefix
        self._draft = draft
        self._progress = progress
        self._revisions: _Peekable | None = None
        if order.with_history:
            self._revisions = _Peekable(reader.scan(prefix_of(namespace, HISTORY, order.prefix)))
        self._sha256 = hashlib.sha256
        self._head = hashlib.sha256(b"sloth-runner head 1\n")
        self._counts: dict[str, int] = {}
        self._keys = self._sensitive = self._deleted = self._kept = 0
        self._lines: list[bytes] = []
        self._size = 0

    def gather(self) -> tuple[Census, dict[str, int]]:
        """What there is, and how many lines of each kind. Raises Corrupt, TooLarge."""
        for names, batch in _batches(self._reader, prefix_of(self._namespace, HEAD)):
            self._add(names, batch)
        if self._revisions is not None and not self._prefix:
            for line in _others(self._reader, self._namespace):
                self._line(line)
        self._flush()
        census = Census(self._head.hexdigest(), self._keys, self._sensitive, self._deleted, self._kept)
        return census, dict(sorted(self._counts.items()))

    def _add(self, names: list[str], batch: list[Entry]) -> None:
        """Some heads: all at once where all of them are plain and wanted, and nothing but they."""
        if not self._prefix and self._revisions is None:
            block = b"".join(
                [
                    b'["k","%b",%b]\n' % (name.encode(), entry[1])
                    for name, entry in zip(names, batch, strict=True)
                ]
            )
            found = plain_heads(block)
            if found is not None:
                self._add_plain(block, found)
                return
        for name, entry in zip(names, batch, strict=True):
            record = _checked(entry.value, name)
            self._head.update(f"{name}\0{record.number}\0{digest_of(record)}\n".encode())
            if name.startswith(self._prefix):
                self._add_key(name, entry.value, record)

    def _add_plain(self, block: bytes, found: list[Plain]) -> None:
        sha256 = self._sha256
        rows = [
            b"%b\0%b\0%b\n" % (name, number, sha256(core[:-1]).hexdigest().encode())
            for name, _, _, _, _, core, number, _, _ in found
        ]
        self._head.update(b"".join(rows))
        self._keys += len(found)
        self._sensitive += sum([b'"s":1,' in fields[4] for fields in found])
        self._kept += sum([int(fields[6]) - int(fields[2]) + 1 for fields in found])
        self._counts[HEAD] = self._counts.get(HEAD, 0) + len(found)
        self._flush()
        self._draft.write(block)
        self._progress(len(found))

    def _add_key(self, name: str, value: bytes, record: Record) -> None:
        """One key: with its revisions, if they are wanted; without, if it has a value."""
        self._kept += record.number - record.first + 1
        has_value = record.text is not None or bool(record.blob)
        self._keys += has_value
        self._deleted += not has_value
        self._sensitive += has_value and record.sensitive
        if self._revisions is not None:
            self._add_revisions(name, record)
        elif not has_value:
            return
        elif record.blob:
            self._line(_blob_line(self._reader, self._namespace, name, record.number, record.blob))
        self._line(record_line(Line(HEAD, name, None, value)))

    def _add_revisions(self, name: str, head: Record) -> None:
        assert self._revisions is not None
        links = Chain(name)
        for number, value in self._revisions.of(name):
            record = _checked(value, name)
            links.step(record)
            if record.blob:
                self._line(_blob_line(self._reader, self._namespace, name, number, record.blob))
            self._line(record_line(Line(HISTORY, name, number, value)))
        links.close(head)

    def _line(self, line: bytes) -> None:
        kind = chr(line[2])
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._lines.append(line)
        self._size += len(line)
        if len(self._lines) >= AT_ONCE or self._size >= BLOCK:
            self._flush()

    def _flush(self) -> None:
        """Pass on the lines that were made one by one."""
        if self._lines:
            self._draft.write(b"".join(self._lines))
            self._progress(len(self._lines))
            self._lines, self._size = [], 0


def _batches(reader: Reader, heads: str) -> Iterator[tuple[list[str], list[Entry]]]:
    """Heads by the hundred: their names, the entries."""
    start = len(heads)
    entries = reader.scan(heads)
    while batch := list(islice(entries, AT_ONCE)):
        yield [entry[0][start:] for entry in batch], batch


def _checked(value: bytes, name: str) -> Record:
    """A head's or a revision's record, proved as an import will. Raises Corrupt."""
    try:
        return check_record(value, name)
    except Corrupt as error:
        raise Corrupt(
            error.message.replace("the bundle is damaged: ", ""),
            unchanged=["nothing was exported"],
            next=["set that key anew, or delete it, then export again"],
        ) from error


def _others(reader: Reader, namespace: str) -> Iterator[bytes]:
    """Everything that is neither of keys nor bound to this place, kind by kind."""
    after = ""
    start = namespace + SEP
    while after < chr(0x10FFFF):
        entry = next(iter(reader.scan(start, after=start + after if after else "", limit=1)), None)
        if entry is None:
            return
        kind = entry.key[len(start) :].partition(SEP)[0]
        after = kind + chr(ord(SEP) + 1)  # beyond all of this kind
        if kind in OF_KEYS or kind in NEVER:
            continue
        for entry in reader.scan(start + kind + SEP):
            name, *rest = entry.key.split(SEP)[2:]
            yield record_line(Line(kind, name, rest_of(rest), entry.value))


class _Peekable:
    """Revisions in key order, handed out key by key."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._next = next(entries, None)

    def of(self, name: str) -> Iterator[tuple[int, bytes]]:
        """Number and value of this key's revisions; those of keys before it, which have no head, are passed over."""
        while self._next is not None:
            found = place(self._next.key)
            if found.name > name:
                return
            if found.name == name and found.revision is not None:
                yield found.revision, self._next.value
            self._next = next(self._entries, None)


def _blob_line(reader: Reader, namespace: str, name: str, number: int, expected: str) -> bytes:
    entry = reader.get(store_key(namespace, BLOB, name, number))
    if entry is None or sha256(entry.value) != expected:
        raise Corrupt(
            f"the value of {name!r} (revision {number}) is missing from the store, or damaged",
            unchanged=["nothing was exported"],
        )
    return record_line(Line(BLOB, name, number, entry.value))
