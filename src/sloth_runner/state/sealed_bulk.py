"""Why: what a store can do beside its verbs must be sealed no less: a bulk change would write plaintext else.

A bulk change decides once, in its own transaction, what a commit decides each time. Where the namespace has its mark,
that is read by what the change reads by: as long as the change lasts nobody moves it on, and what turns keys over
waits for it, and looks at all of it afterwards. Where there is none yet, the keyring's turn is held, too, from before
the keyring is read until the records are there, with their mark and the guard of their file, for whoever comes next;
a store that has no turns gets the mark first, by a commit that checks the keyring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice

from sloth_runner.errors import Bug, Conflict, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.keyring import OPEN, OPENING
from sloth_runner.state.layout import META, SEAL, SEP, STORE
from sloth_runner.state.marks import in_plaintext, is_own, mark_in, mark_value, without_own
from sloth_runner.state.sealed import TRIES
from sloth_runner.state.sealing import MARK
from sloth_runner.state.store import ABSENT, Entry

if TYPE_CHECKING:
    from sloth_runner.state.keyring import Ring
    from sloth_runner.state.sealed import Sealed
    from sloth_runner.state.store import Bulk, Reader

FEW: Final = 8
AT_ONCE: Final = 500
BYTES: Final = 1 << 20
"""Records at first and at most, and about how many bytes of them, that are opened together."""


class SealedReader:
    """A part of the inner store, opened, without sealing's own records."""

    def __init__(self, store: Sealed, inner: Reader) -> None:
        self._store = store
        self._within = inner

    def get(self, key: str) -> Entry | None:
        """See Store."""
        entry = self._within.get(key)
        if entry is None or is_own(key):
            return None
        return Entry(key, self._store.opened(entry), entry.rev)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store. Without a limit records are opened together, a few ahead of those asked for."""
        if limit is not None:
            yield from self._store.opening(without_own(self._within, prefix, after, limit, reverse))
            return
        for batch in _batches(self._within.scan(prefix, after=after, reverse=reverse), prefix):
            opened = self._store.open_all(batch)
            # One that isn't as it should be is told by itself, once all before it have been handed out.
            yield from self._store.opening(batch) if opened is None else opened


class SealedBulk(SealedReader):
    """A bulk change of the inner store that seals what it puts, unless ``plain``."""

    def __init__(self, store: Sealed, inner: Bulk, *, plain: bool) -> None:
        super().__init__(store, inner)
        self._change = inner
        self._plain = plain

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """See Bulk."""
        most = self._store.traits.max_value
        if not rows:
            return
        if max([len(value) for _, value in rows]) > most:
            key, value = max(rows, key=lambda row: len(row[1]))
            raise TooLarge(
                f"the record {key!r} has {len(value):,} bytes; this store takes {most:,}",
                unchanged=["nothing was stored"],
            )
        self._change.put(rows if self._plain else self._store.seal_all(rows))

    def delete(self, keys: Sequence[str]) -> None:
        """See Bulk."""
        self._change.delete(keys)

    def guard(self, mark: bytes) -> None:
        """Sealing's own affair."""
        raise Bug("a sealed store sets its own guards")


class _Moved(Exception):
    """The namespace lost its mark while we waited for it."""


@contextmanager
def snapshot(store: Sealed, namespace: str) -> Iterator[Reader]:
    """See Traits."""
    make = store.inner.traits.snapshot
    assert make is not None
    store.ring()
    with make(namespace) as within:
        yield SealedReader(store, within)


@contextmanager
def bulk(store: Sealed, namespace: str) -> Iterator[Bulk]:
    """See Traits. Raises, before anything is written, what a commit would."""
    with ExitStack() as stack:
        yield _begun(store, namespace, stack)


def _begun(store: Sealed, namespace: str, stack: ExitStack) -> Bulk:
    make, turns = store.inner.traits.bulk, store.inner.traits.exclusive
    assert make is not None
    for _ in range(TRIES):
        store.begin()
        fresh = store.mark(namespace).rev == ABSENT
        if fresh and turns is None:
            store.mark_first(namespace)
            continue
        try:
            with ExitStack() as attempt:
                if fresh and turns is not None:
                    attempt.enter_context(turns(sorted({namespace, STORE})))
                change = attempt.enter_context(make(namespace))
                plain = _decide(store, namespace, change, fresh=fresh)
                stack.push(attempt.pop_all())
        except _Moved:
            continue
        return SealedBulk(store, change, plain=plain)
    raise Conflict("the keyring of this state was changed at each of many tries")


def _decide(store: Sealed, namespace: str, change: Bulk, *, fresh: bool) -> bool:
    """Whether the change writes in plaintext, because the namespace was told to; and what marks it if it is new."""
    ring = store.begin()
    mark = mark_in(change, namespace)
    if mark.rev != ABSENT:
        return in_plaintext(ring, mark)
    if not fresh:
        raise _Moved
    return _put_mark(store, namespace, change, ring)


def _put_mark(store: Sealed, namespace: str, change: Bulk, ring: Ring) -> bool:
    if ring.mode == OPEN:
        return True
    change.put([(namespace + SEAL, mark_value(ring))])
    if store.inner.traits.guard is not None and ring.mode != OPENING:
        change.guard(MARK)
    return ring.mode == OPENING


def _batches(entries: Iterator[Entry], prefix: str) -> Iterator[list[Entry]]:
    """Entries but sealing's own, a few at first, then as many as are of moderate size."""
    may_be_own = prefix.count(SEP) < 2 or prefix.split(SEP)[1] == META
    count = FEW
    while batch := list(islice(entries, count)):
        if may_be_own:
            yield [entry for entry in batch if not is_own(entry[0])]
        else:
            yield batch
        size = sum([len(entry[1]) for entry in batch]) // len(batch)
        count = max(1, min(AT_ONCE, 4 * count, BYTES // (size + 1)))
