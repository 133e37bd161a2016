"""Why: everything that is remembered rests on three verbs, so that a new backend is one file.

A store is an ordered map from text keys to bytes. ``get`` and ``scan`` read; ``commit`` changes, checks and
leases several keys at once, or nothing at all. Typed values, revisions, locks and expiry are built above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from sloth_runner.errors import Bug, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar
from sloth_runner.state.layout import SEP

if TYPE_CHECKING:
    from sloth_runner.state.patience import Patience

Rev: TypeAlias = int
"""A store's version of one entry: at least 1, never used twice for a key, growing with every write to it."""

ABSENT: Final = 0
"""Expectation: there is no such key (or its lease has ended)."""
ANY: Final = -1
"""Expectation: none."""
PRESENT: Final = -2
"""Expectation: the key is there, at whatever revision (and its lease has not ended)."""


class Entry(NamedTuple):
    """One key as it was read."""

    key: str
    value: bytes
    rev: Rev


as_entry: Final[Callable[[tuple[Any, ...]], Entry]] = partial(tuple.__new__, Entry)
"""``Entry._make`` at a third of its cost, for a million rows."""


class Change(NamedTuple):
    """Put ``value`` (or delete, when it is None) if ``expect`` holds: a Rev, ABSENT, PRESENT or ANY.

    With ``lease`` (seconds, more than 0) the entry vanishes by the store's own clock unless it is put again
    in time. A put without a lease makes the entry permanent.
    """

    key: str
    value: bytes | None
    expect: int = ANY
    lease: float | None = None


class Check(NamedTuple):
    """Assert, inside the same commit, that ``expect`` holds for a key that is not written."""

    key: str
    expect: int


class Traits(NamedTuple):
    """What a store is like. Optional abilities live here, so that the verbs stay three."""

    embedded: bool
    """Answers without a network, in microseconds: may be called from the scheduler's own thread."""
    concurrency: int
    """How many commits in flight make sense."""
    max_changes: int
    """Changes and checks that one commit may hold."""
    max_value: int
    """Bytes that one value may have."""
    exclusive: Callable[[Sequence[str]], AbstractContextManager[None]] | None = None
    """Waits for this process's turn on the namespaces named; inside, read and commit never conflict with
    other users of the store. None where the store has no cheap way to queue: read, commit, retry instead."""
    snapshot: Callable[[str], AbstractContextManager[Reader]] | None = None
    """One namespace as of one moment, for as long as the context lasts, however often it is read; scans stream.
    None where a scan is all the snapshot there is."""
    bulk: Callable[[str], AbstractContextManager[Bulk]] | None = None
    """One change of any size to one namespace, in its turn: applied whole when the context is left, or, by an
    exception, not at all. None where a commit's limits are the store's."""
    copy: Callable[[str, Path], None] | None = None
    """Copies a namespace as it is stored, sealed or not, into a new file. None where there are no files."""
    guard: Callable[[str, bytes], None] | None = None
    """From now on the store itself refuses, whoever writes, records of this namespace that don't begin with these
    bytes (but for NAMESPACE + SEAL); b"" lifts that. None where the store can't."""
    scrub: Callable[[str], None] | None = None
    """Leaves nothing on disk of what was overwritten or deleted in this namespace. Raises Busy while others read
    it. None where nothing is left, or where only the store's operator can do it."""
    retire: Callable[[bytes, bytes], None] | None = None
    """Puts the first bytes at MOVED (b"": nothing) if the second, or the first already, stand there, else Conflict.
    While something stands there the store itself refuses, with Moved, every change of any namespace but STORE,
    whoever makes it. A commit that is under way is waited for. None where the store can't."""

    watch: Callable[[str], AbstractContextManager[Doorbell]] | None = None
    """Tells of changes below a prefix as they are made, from the moment the context is entered. It has a connection
    of its own, and may be used in another thread than the handle. None where there is nothing to listen to."""
    probe: Callable[[], list[Proof]] | None = None
    """Proves by trying, on records of its own, that the server is what this store relies on. None where nothing is
    taken on trust: there is no server."""
    streams: bool = False
    """A scan in key order without a limit is one request, and holds little in memory, however much it brings; pages
    would cost more than all of it. ``walk`` asks for no pages then."""
    max_bytes: int | None = None
    """Bytes of keys and values up to which a commit of any allowed number of changes is surely taken; with more it
    may be TooLarge. None: as much as its values may have."""
    shortest_lease: float = 0.0
    """Seconds that a lease lasts at least. ``locks`` rounds shorter ones up, and who asked for them is told."""
    patience: Patience | None = None
    """How this handle waits between tries, when others change the same keys or the server does not answer. None for
    one that never waits: it queues (``exclusive``), or has to answer at once. Backends leave it alone."""


class Doorbell(Protocol):
    """Rings when entries are put or deleted (renewed leases may ring, too). It may ring for nothing. Whatever is
    committed after watching began rings sooner or later, whoever did it, however short the time between two calls:
    nothing is lost. It may ring a moment after others can see the change: wait for it, don't only look."""

    def __call__(self, seconds: float) -> Sequence[str] | None:
        """Wait up to ``seconds`` (0: only look). The store keys that were put or deleted since the last call, ``()``
        when there were none, None when something may have been, and which can't be said. Raises StoreDown."""
        ...


class Proof(NamedTuple):
    """One thing that a store relies on, as it was found: ``good``, what was tried, and what came of it."""

    name: str
    good: bool
    message: str
    vital: bool = True
    """Whether a store is refused where this is not good; otherwise that is only worth knowing."""


class Reader(Protocol):
    """What can be read of a store."""

    def get(self, key: str) -> Entry | None:
        """See Store."""
        ...

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        ...


class Bulk(Reader, Protocol):
    """A change that is being made. What it reads is what was there before it."""

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Put entries, for good, whatever was there; best in key order. Raises TooLarge for a value, StoreDown."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete entries, if they are there."""
        ...

    def guard(self, mark: bytes) -> None:
        """``guard`` of Traits, as part of this change; only where the store has that."""
        ...


class Store(Protocol):
    """Synchronous; a handle is used from one thread at a time. Keys are made by ``layout``."""

    traits: Traits

    def get(self, key: str) -> Entry | None:
        """The entry as of now: any commit that returned before, in any process, is seen."""
        ...

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """Entries whose key starts with ``prefix``, in key order (or reverse), from beyond ``after``.

        Keys are ordered by code point. The prefix is literal. A snapshot where the store can give one.
        """
        ...

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """Apply all changes, or none: one atomic, durable step.

        Returns the new Rev for each put, 0 for each delete, and the Rev found for each Check (0: absent),
        in order. All puts and deletes lie in one namespace; Checks may lie in others. A key occurs once.

        Raises Conflict (an expectation failed; nothing applied), TooLarge (a limit of ``traits``), Busy or
        StoreDown (nothing applied), Indeterminate (unknown: the caller resolves it by its write id).
        """
        ...

    def close(self) -> None:
        """Give everything back. A closed handle is not used again."""
        ...


class Over:
    """What stores over another one, ``inner``, have in common: what that can do beside the verbs, they can, too."""

    inner: Store

    def __getattr__(self, name: str) -> Any:
        """See Over."""
        if name in _BESIDE:
            return getattr(self.inner, name)
        raise AttributeError(name)


_BESIDE = frozenset({"namespaces", "file_bytes", "integrity", "folder"})


PAGE: Final = 250
"""Entries that ``walk`` asks for at once; a value beside its record may have 64 KiB."""


def walk(
    store: Store, prefix: str, *, after: str = "", reverse: bool = False, page: int = PAGE
) -> Iterator[Entry]:
    """``scan`` for more entries than memory should hold: page by page, each a snapshot of its own, or at once."""
    if store.traits.streams and not reverse:
        yield from store.scan(prefix, after=after)
        return
    while True:
        found = list(store.scan(prefix, after=after, limit=page, reverse=reverse))
        yield from found
        if len(found) < page:
            return
        after = found[-1].key


Part = TypeVar("Part", bound=tuple[Any, ...])


def parts(changes: Iterable[Part], traits: Traits, *, beside: int = 0) -> Iterator[list[Part]]:
    """Changes, or other tuples that begin with a key and a value, in order, in runs that one commit each takes beside
    ``beside`` small ones. What is too much alone stands alone: the store will say so."""
    most = max(1, traits.max_changes - beside)
    room = traits.max_bytes
    part: list[Part] = []
    size = 0
    for change in changes:
        value = change[1]
        own = len(change[0]) + (len(value) if isinstance(value, bytes) else 0)
        if part and (len(part) == most or (room is not None and size + own > room)):
            yield part
            part, size = [], 0
        part.append(change)
        size += own
    if part:
        yield part


def holds(expect: int, rev: Rev) -> bool:
    """Whether an expectation is met by the Rev that was found (0: nothing there)."""
    if expect == ANY:
        return True
    return rev != ABSENT if expect == PRESENT else rev == expect


def beyond(prefix: str) -> str:
    """The least text greater than all that starts with ``prefix``: the end of its range. ``prefix`` not empty.

    Ends in a code point below U+10FFFF, as all store keys' prefixes do, or is the prefix with one more.
    """
    last = ord(prefix[-1])
    if last == 0x10FFFF:
        return prefix + chr(last) * 64
    return prefix[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)


def check_commit(changes: Sequence[Change | Check], traits: Traits) -> tuple[str, set[str]]:
    """The namespace that a commit puts into ("" for one that only checks), and all that it concerns.

    Raises TooLarge for a limit, Bug for a commit that no store accepts.
    """
    if len(changes) > traits.max_changes:
        raise TooLarge(
            f"a commit of {len(changes)} changes; this store takes {traits.max_changes}",
            unchanged=["nothing was stored"],
            next=["change fewer keys in one transaction: each is two changes or more, with its history"],
        )
    target = ""
    most = traits.max_value
    keys: set[str] = set()
    names: set[str] = set()
    for change in changes:
        key = change[0]
        keys.add(key)
        namespace = key.partition(SEP)[0]
        names.add(namespace)
        if isinstance(change, Check):
            continue
        if namespace != target:
            if target:
                raise Bug(f"a commit puts into {target!r} and into {namespace!r}")
            target = namespace
        value = change[1]
        if value is not None and len(value) > most:
            raise TooLarge(
                f"a record has {len(value):,} bytes; this store takes {most:,}",
                unchanged=["nothing was stored"],
            )
    if len(keys) < len(changes):
        raise Bug("a commit names a key twice")
    return target, names
