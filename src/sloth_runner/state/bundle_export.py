"""Why: an export is one moment of a namespace, written in one pass and in constant memory.

The heads are read twice within one snapshot: first to count them and to digest them for the header, then to write
them. What is written is checked as an import will check it: a backup that can't be read back is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from typing import TYPE_CHECKING

from sloth_runner.errors import Corrupt
from sloth_runner.plain import NamedTuple
from sloth_runner.state.bundle import (
    BLOCK,
    NEVER,
    OF_KEYS,
    Closing,
    Header,
    Line,
    closing_line,
    header_line,
    record_line,
    rest_of,
)
from sloth_runner.state.bundle_records import Chain, check_record, plain_heads
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, SEP, place, prefix_of, store_key
from sloth_runner.state.lineage import ensure_lineage, lineage_of
from sloth_runner.state.record import digest as digest_of
from sloth_runner.state.record import sha256

if TYPE_CHECKING:
    from sloth_runner.state.record import Record
    from sloth_runner.state.store import Entry, Reader, Store

AT_ONCE = 500
"""Lines that are put together before they are checked and written."""


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


class Exported(NamedTuple):
    """One section as it was written."""

    header: Header
    closing: Closing


def export(
    store: Store,
    order: Order,
    write: Callable[[bytes], object],
    *,
    new_id: Callable[[], str],
    progress: Callable[[int], None],
    consent: Callable[[str, Census], None],
) -> list[Exported]:
    """Write a bundle of whole namespaces, each as of one moment.

    ``consent`` is asked before a section is written, and may raise; ``progress`` hears how many records more have
    been written. A namespace that has records and no lineage gets one. Raises Corrupt, naming the key, for a record
    that no import would take, TooLarge for one that is too long.
    """
    import hashlib

    digest = hashlib.sha256()
    done: list[Exported] = []

    def put(data: bytes) -> None:
        digest.update(data)
        write(data)

    for number, namespace in enumerate(order.namespaces, 1):
        if next(iter(store.scan(namespace + SEP, limit=1)), None) is not None:
            ensure_lineage(store, namespace, new_id)
        with snapshot_of(store, namespace) as reader:
            found, odd = census(reader, namespace, order.prefix)
            consent(namespace, found)
            header = _header(order, number, namespace, lineage_of(reader, namespace), found)
            put(header_line(header))
            if order.with_history:
                counts = _write_history(reader, namespace, order.prefix, put, progress)
            else:
                known = odd if store.traits.snapshot is not None and not order.prefix else None
                counts = _write_keys(reader, namespace, order.prefix, known, put, progress)
        closing = Closing(number, counts, f"sha256:{digest.hexdigest()}")
        put(closing_line(closing))
        done.append(Exported(header, closing))
    return done


def snapshot_of(store: Store, namespace: str) -> AbstractContextManager[Reader]:
    """The namespace as of one moment where the store can give that, else the store itself."""
    make = store.traits.snapshot
    return nullcontext(store) if make is None else make(namespace)


class Counter:
    """Counts and digests heads, batch by batch, and remembers which batches are not all plain keys."""

    def __init__(self, prefix: str) -> None:
        import hashlib

        self._sha256 = hashlib.sha256
        self._head = hashlib.sha256(b"sloth-runner head 1\n")
        self._prefix = prefix
        self._counts = [0, 0, 0, 0]
        self.odd: set[int] = set()

    def add(self, number: int, names: list[str], batch: list[Entry]) -> None:
        """A batch of heads. Raises Corrupt."""
        block = _lines(names, batch)
        found = None if self._prefix else plain_heads(block)
        if found is None:
            self.odd.add(number)
            for name, entry in zip(names, batch, strict=True):
                self._add(name, entry.value)
            return
        sha256 = self._sha256
        rows = [
            b"%b\0%b\0%b\n" % (name, number, sha256(core[:-1]).hexdigest().encode())
            for name, _, _, _, _, core, number, _, _ in found
        ]
        self._head.update(b"".join(rows))
        self._counts[0] += len(found)
        self._counts[1] += sum([b'"s":1,' in fields[4] for fields in found])
        self._counts[3] += sum([int(fields[6]) - int(fields[2]) + 1 for fields in found])

    def census(self) -> Census:
        """What it came to."""
        return Census(self._head.hexdigest(), *self._counts)

    def _add(self, name: str, value: bytes) -> None:
        record = _checked(value, name)
        self._head.update(f"{name}\0{record.number}\0{digest_of(record)}\n".encode())
        if self._prefix and not name.startswith(self._prefix):
            return
        self._counts[3] += record.number - record.first + 1
        if record.text is None and not record.blob:
            self._counts[2] += 1
        else:
            self._counts[0] += 1
            self._counts[1] += record.sensitive


def census(reader: Reader, namespace: str, prefix: str = "") -> tuple[Census, set[int]]:
    """Count and digest the heads; and the batches (see ``_batches``) that are not all plain. Raises Corrupt."""
    counter = Counter(prefix)
    for number, names, batch in _batches(reader, prefix_of(namespace, HEAD), ""):
        counter.add(number, names, batch)
    return counter.census(), counter.odd


def _batches(reader: Reader, heads: str, prefix: str) -> Iterator[tuple[int, list[str], list[Entry]]]:
    """Heads below a prefix by the hundred: the batch's number, their names, the entries."""
    start = len(heads)
    entries = reader.scan(heads + prefix)
    number = 0
    while batch := list(islice(entries, AT_ONCE)):
        yield number, [entry[0][start:] for entry in batch], batch
        number += 1


def _lines(names: list[str], batch: list[Entry]) -> bytes:
    """The lines of plain keys."""
    return b"".join(
        [b'["k","%b",%b]\n' % (name.encode(), entry[1]) for name, entry in zip(names, batch, strict=True)]
    )


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


def _header(order: Order, number: int, namespace: str, lineage: str | None, found: Census) -> Header:
    counts = {"keys": found.keys, "sensitive": found.sensitive}
    if order.with_history:
        counts |= {"deleted": found.deleted, "revisions": found.revisions}
    return Header(
        number, len(order.namespaces), namespace, lineage, found.head, order.created, order.user, order.host,
        order.program, order.with_history, order.prefix, counts,
    )  # fmt: skip


def _write_keys(
    reader: Reader,
    namespace: str,
    prefix: str,
    odd: set[int] | None,
    put: Callable[[bytes], None],
    progress: Callable[[int], None],
) -> dict[str, int]:
    """The keys that have a value. ``odd``: batches that are not all plain; None: unknown."""
    keys = blobs = 0
    for number, names, batch in _batches(reader, prefix_of(namespace, HEAD), prefix):
        block = _lines(names, batch)
        if (number in odd) if odd is not None else plain_heads(block) is None:
            for name, entry in zip(names, batch, strict=True):
                record = _checked(entry.value, name)
                if record.blob:
                    put(_blob_line(reader, namespace, name, record.number, record.blob))
                    blobs += 1
                if record.blob or record.text is not None:
                    put(record_line(Line(HEAD, name, None, entry.value)))
                    keys += 1
        else:
            put(block)
            keys += len(batch)
        progress(len(batch))
    return {kind: count for kind, count in ((BLOB, blobs), (HEAD, keys)) if count}


def _write_history(
    reader: Reader, namespace: str, prefix: str, put: Callable[[bytes], None], progress: Callable[[int], None]
) -> dict[str, int]:
    """All keys with their revisions, then everything else that is not bound to this place."""
    counts: dict[str, int] = {}
    lines: list[bytes] = []
    size = 0
    for line in chain(_with_history(reader, namespace, prefix), _others(reader, namespace, prefix)):
        kind = chr(line[2])
        counts[kind] = counts.get(kind, 0) + 1
        lines.append(line)
        size += len(line)
        if len(lines) >= AT_ONCE or size >= BLOCK:
            put(b"".join(lines))
            progress(len(lines))
            lines, size = [], 0
    put(b"".join(lines))
    progress(len(lines))
    return dict(sorted(counts.items()))


def _with_history(reader: Reader, namespace: str, prefix: str) -> Iterator[bytes]:
    """The lines of all keys with their revisions."""
    revisions = _Peekable(reader.scan(prefix_of(namespace, HISTORY, prefix)))
    for entry in reader.scan(prefix_of(namespace, HEAD, prefix)):
        name = place(entry.key).name
        links = Chain(name)
        for number, value in revisions.of(name):
            record = _checked(value, name)
            links.step(record)
            if record.blob:
                yield _blob_line(reader, namespace, name, number, record.blob)
            yield record_line(Line(HISTORY, name, number, value))
        links.close(_checked(entry.value, name))
        yield record_line(Line(HEAD, name, None, entry.value))


def _others(reader: Reader, namespace: str, prefix: str) -> Iterator[bytes]:
    """Everything that is neither of keys nor bound to this place, kind by kind; nothing, below a prefix."""
    after = "" if not prefix else chr(0x10FFFF)
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
