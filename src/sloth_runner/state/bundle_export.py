"""Why: an export is one moment of a namespace, written in one pass and in constant memory.

The heads are read twice within one snapshot: first to count them and to digest them for the header, then to write
them. What is written is checked as an import will check it: a backup that can't be read back is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from sloth_runner.errors import Corrupt, SlothError
from sloth_runner.state.bundle import (
    BLOCK,
    NEVER,
    OF_KEYS,
    Closing,
    Header,
    Line,
    closing_line,
    header_line,
    parse,
    record_line,
    rest_of,
)
from sloth_runner.state.bundle_records import CORE, Chain, check_record, plain_heads
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, SEP, place, prefix_of, store_key
from sloth_runner.state.lineage import ensure_lineage, lineage_of

if TYPE_CHECKING:
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
            found = census(reader, namespace, order.prefix)
            consent(namespace, found)
            header = _header(order, number, namespace, lineage_of(reader, namespace), found)
            put(header_line(header))
            counts = _write_records(reader, namespace, order, put, progress)
        closing = Closing(number, counts, f"sha256:{digest.hexdigest()}")
        put(closing_line(closing))
        done.append(Exported(header, closing))
    return done


def snapshot_of(store: Store, namespace: str) -> AbstractContextManager[Reader]:
    """The namespace as of one moment where the store can give that, else the store itself."""
    make = store.traits.snapshot
    return nullcontext(store) if make is None else make(namespace)


def census(reader: Reader, namespace: str, prefix: str = "") -> Census:
    """Count and digest the heads. Raises Corrupt."""
    import hashlib

    sha256 = hashlib.sha256
    head = sha256(b"sloth-runner head 1\n")
    keys = sensitive = deleted = revisions = 0
    start = len(prefix_of(namespace, HEAD))
    for key, value, _ in reader.scan(prefix_of(namespace, HEAD)):
        name = key[start:]
        try:
            at = value.index(CORE)
            number = value[at + len(CORE) : value.index(b",", at + len(CORE))]
            first = value[5 : value.index(b",")]
            chained = sha256(value[at:-1]).hexdigest()
            head.update(b"%b\0%b\0%b\n" % (name.encode(), number, chained.encode()))
            if prefix and not name.startswith(prefix):
                continue
            revisions += int(number) - int(first) + 1
        except ValueError as error:
            raise Corrupt(f"the record of {name!r} in {namespace} can't be read: {error}") from error
        if _is_tombstone(value):
            deleted += 1
        else:
            keys += 1
            sensitive += b',"s":1,' in value[:at]
    return Census(head.hexdigest(), keys, sensitive, deleted, revisions)


def _is_tombstone(value: bytes) -> bool:
    """Whether a record holds no value: nothing stands between its operation and its size."""
    operation = value.index(b'"o":"') + 5
    return value.startswith(b',"z":', value.index(b'"', operation) + 1)


def _has_blob(value: bytes) -> bool:
    operation = value.index(b'"o":"') + 5
    return value.startswith(b',"b":', value.index(b'"', operation) + 1)


def _header(order: Order, number: int, namespace: str, lineage: str | None, found: Census) -> Header:
    counts = {"keys": found.keys, "sensitive": found.sensitive}
    if order.with_history:
        counts |= {"deleted": found.deleted, "revisions": found.revisions}
    return Header(
        number, len(order.namespaces), namespace, lineage, found.head, order.created, order.user, order.host,
        order.program, order.with_history, order.prefix, counts,
    )  # fmt: skip


def _write_records(
    reader: Reader, namespace: str, order: Order, put: Callable[[bytes], None], progress: Callable[[int], None]
) -> dict[str, int]:
    counts: dict[str, int] = {}
    lines: list[bytes] = []
    size = 0
    if order.with_history:
        source = _with_history(reader, namespace, order.prefix)
    else:
        source = _heads(reader, namespace, order.prefix)
    for line in source:
        lines.append(line)
        size += len(line)
        if len(lines) >= AT_ONCE or size >= BLOCK:
            _flush(lines, counts, put, progress, checked=order.with_history)
            size = 0
    _flush(lines, counts, put, progress, checked=order.with_history)
    return dict(sorted(counts.items()))


def _flush(
    lines: list[bytes],
    counts: dict[str, int],
    put: Callable[[bytes], None],
    progress: Callable[[int], None],
    *,
    checked: bool,
) -> None:
    if not lines:
        return
    block = b"".join(lines)
    if not checked and plain_heads(block) is None:
        _check(lines)
    for line in lines:
        kind = chr(line[2])
        counts[kind] = counts.get(kind, 0) + 1
    put(block)
    progress(len(lines))
    lines.clear()


def _check(lines: list[bytes]) -> None:
    """Prove that an import would take these lines. Raises Corrupt."""
    for raw in lines:
        if raw.count(b"\n") != 1:
            raise Corrupt(f"a stored record is damaged: {raw[:80]!r}", unchanged=["nothing was exported"])
        try:
            line = parse(raw[:-1])
            if line.kind in (HEAD, HISTORY):
                check_record(line.value, line.name)
        except SlothError as error:
            raise Corrupt(
                error.message.replace("the bundle is damaged: ", ""),
                unchanged=["nothing was exported"],
                next=["delete or set that key anew, then export again"],
            ) from error


def _heads(reader: Reader, namespace: str, prefix: str) -> Iterator[bytes]:
    """The lines of the keys that have a value, each with its long value before it."""
    start = len(prefix_of(namespace, HEAD))
    quote = json.encoder.encode_basestring
    for key, value, _ in reader.scan(prefix_of(namespace, HEAD, prefix)):
        if _is_tombstone(value):
            continue
        name = key[start:]
        if _has_blob(value):
            record = check_record(value, name)
            yield _blob_line(reader, namespace, name, record.number, record.blob)
        yield b'["k",%b,%b]\n' % (quote(name).encode(), value)


def _with_history(reader: Reader, namespace: str, prefix: str) -> Iterator[bytes]:
    """The lines of all keys with their revisions, then of everything else that is not bound to this place."""
    revisions = _Peekable(reader.scan(prefix_of(namespace, HISTORY, prefix)))
    for entry in reader.scan(prefix_of(namespace, HEAD, prefix)):
        name = place(entry.key).name
        chain = Chain(name)
        for number, value in revisions.of(name):
            record = check_record(value, name)
            chain.step(record)
            if record.blob:
                yield _blob_line(reader, namespace, name, number, record.blob)
            yield record_line(Line(HISTORY, name, number, value))
        chain.close(check_record(entry.value, name))
        yield record_line(Line(HEAD, name, None, entry.value))
    yield from _others(reader, namespace, prefix)


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
    from sloth_runner.state.record import sha256

    entry = reader.get(store_key(namespace, BLOB, name, number))
    if entry is None or sha256(entry.value) != expected:
        raise Corrupt(
            f"the value of {name!r} (revision {number}) is missing from the store, or damaged",
            unchanged=["nothing was exported"],
        )
    return record_line(Line(BLOB, name, number, entry.value))
