"""Why: a copy is made by comparing: what is missing is put, so it can break off anywhere and be made again.

Both sides are read in key order, side by side, in constant memory. What is written is whole where the target can
(``Traits.bulk``), else by commits that expect what was read, as large as the target takes them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

from sloth_runner.errors import Conflict, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import BLOB, FENCE, HEAD, HISTORY, LEASE, SEP, place, what
from sloth_runner.state.locks import fence_token
from sloth_runner.state.marks import is_own
from sloth_runner.state.store import ABSENT, Change, Check, walk

if TYPE_CHECKING:
    from sloth_runner.state.store import Bulk, Entry, Reader, Store

ROWS: Final = 4000
BYTES: Final = 4 << 20
"""What is written at once, at most."""


class Copying(NamedTuple):
    """How to copy: ``progress`` hears how many records more were read; ``renew`` is called now and then. ``strict``:
    the target holds nothing but what an earlier try copied; else what is there and not in the source goes."""

    progress: Callable[[int], None]
    renew: Callable[[], None]
    strict: bool


class Sum(NamedTuple):
    """What a namespace holds, but for leases: records by kind, bytes of their values, the digest of all but fences,
    and the fences' tokens."""

    namespace: str
    kinds: tuple[tuple[str, int], ...]
    bytes: int
    digest: str
    fences: tuple[tuple[str, int], ...]

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(count for _, count in self.kinds)


class _Difference(NamedTuple):
    """A key that is not as it should be: what to put (None: to delete), and what is there."""

    key: str
    value: bytes | None
    there: Entry | None


def copy(source: Store, target: Store, namespace: str, copying: Copying) -> int:
    """Make the target's namespace like the source's; how many records were put or deleted.

    Raises Conflict: others write into the target; TooLarge: it can't take a record.
    """
    with _still(source, namespace) as theirs:
        ours = Pages(target)
        if next(_differences(theirs, ours, namespace, copying), None) is None:
            return 0
        if target.traits.bulk is None:
            return _by_commits(target, _differences(theirs, ours, namespace, copying), copying)
        with target.traits.bulk(namespace) as change:
            return _by_bulk(change, _differences(theirs, change, namespace, copying), copying)


def holds(store: Store, namespace: str) -> bool:
    """Whether there is anything in a namespace that would be copied."""
    return next(records(Pages(store), namespace), None) is not None


def total(
    reader: Store,
    namespace: str,
    progress: Callable[[int], None],
    *,
    renew: Callable[[], None] = lambda: None,
    most: int | None = None,
) -> Sum:
    """Read a namespace through. With ``most``, raises TooLarge for a record that has more bytes."""
    kinds: Counter[str] = Counter()
    size = 0
    digest = hashlib.sha256(b"sloth-runner namespace 1\n")
    fences: list[tuple[str, int]] = []
    with _still(reader, namespace) as found:
        for count, entry in enumerate(records(found, namespace), 1):
            where = place(entry.key)
            kinds[where.kind] += 1
            size += len(entry.value)
            if most is not None and len(entry.value) > most:
                raise too_large(entry.key, len(entry.value), most)
            if where.kind == FENCE:
                fences.append((where.name, fence_token(entry.value)))
            else:
                digest.update(b"%b\0%d\0%b" % (entry.key.encode(), len(entry.value), entry.value))
            if count % ROWS == 0:
                progress(ROWS)
                renew()
    progress(sum(kinds.values()) % ROWS)
    return Sum(namespace, tuple(sorted(kinds.items())), size, digest.hexdigest(), tuple(fences))


def too_large(key: str, size: int, most: int) -> TooLarge:
    """The error for a record that its new store would not take."""
    steps = ["choose a store that takes larger records: docs/stores/README.md has the limits of each"]
    if place(key).kind in (HEAD, HISTORY, BLOB):
        steps.append("or leave the history behind: state export here, state import there")
        steps.append("what a key holds now and is too long has to be deleted first")
    return TooLarge(
        f"{what(key)} has a record of {size:,} bytes; the target takes {most:,}",
        unchanged=["nothing was changed"],
        next=steps,
    )


def alike(source: Sum, target: Sum) -> bool:
    """Whether the target holds what the source holds, and no fence's token is lower there."""
    tokens = dict(target.fences)
    counts = [{kind: n for kind, n in one.kinds if kind != FENCE} for one in (source, target)]
    return (
        counts[0] == counts[1]
        and source.digest == target.digest
        and all(tokens.get(name, -1) >= token for name, token in source.fences)
    )


def erase(store: Store, namespace: str, renew: Callable[[], None]) -> int:
    """Delete everything of a namespace but leases; how many records that were."""
    gone = (_Difference(entry.key, None, entry) for entry in records(Pages(store), namespace))
    return _by_commits(store, gone, Copying(lambda count: None, renew, strict=False))


def _differences(theirs: Reader, ours: Reader, namespace: str, copying: Copying) -> Iterator[_Difference]:
    here = records(ours, namespace)
    there = next(here, None)
    for count, entry in enumerate(records(theirs, namespace), 1):
        while there is not None and there.key < entry.key:
            yield _surplus(there, copying)
            there = next(here, None)
        if there is None or there.key > entry.key:
            yield _Difference(entry.key, entry.value, None)
        else:
            if there.value != entry.value and not _is_ahead(there, entry):
                if copying.strict:
                    raise _others(there)
                yield _Difference(entry.key, entry.value, there)
            there = next(here, None)
        if count % ROWS == 0:
            copying.progress(ROWS)
            copying.renew()
    while there is not None:
        yield _surplus(there, copying)
        there = next(here, None)


def _surplus(there: Entry, copying: Copying) -> _Difference:
    if copying.strict:
        raise _others(there)
    return _Difference(there.key, None, there)


def _is_ahead(there: Entry, entry: Entry) -> bool:
    """Whether these are fences, and the target's token is the higher one: that is never lowered."""
    return place(entry.key).kind == FENCE and fence_token(there.value) > fence_token(entry.value)


def _by_bulk(change: Bulk, differences: Iterator[_Difference], copying: Copying) -> int:
    done = size = 0
    rows: list[tuple[str, bytes]] = []
    gone: list[str] = []
    for one in differences:
        done += 1
        if one.value is None:
            gone.append(one.key)
        else:
            rows.append((one.key, one.value))
            size += len(one.value)
        if len(rows) + len(gone) >= ROWS or size >= BYTES:
            change.put(rows)
            change.delete(gone)
            rows, gone, size = [], [], 0
            copying.renew()
    change.put(rows)
    change.delete(gone)
    return done


def _by_commits(store: Store, differences: Iterator[_Difference], copying: Copying) -> int:
    most, room = min(ROWS, store.traits.max_changes), min(BYTES, store.traits.max_bytes or BYTES)
    done = size = 0
    changes: list[Change] = []
    for one in differences:
        done += 1
        own = len(one.key) + len(one.value or b"")
        if changes and (len(changes) == most or size + own > room):
            _commit(store, changes)
            changes, size = [], 0
            copying.renew()
        changes.append(Change(one.key, one.value, one.there.rev if one.there else ABSENT))
        size += own
    _commit(store, changes)
    return done


def _commit(store: Store, changes: list[Change]) -> None:
    """Commit them, in halves where a store limits the bytes of all of them."""
    if not changes:
        return
    try:
        wanted: list[Change | Check] = [*changes]
        settle(store, wanted)
    except TooLarge:
        if len(changes) == 1:
            raise
        half = len(changes) // 2
        _commit(store, changes[:half])
        _commit(store, changes[half:])
    except Conflict as conflict:
        raise _others_wrote(sorted(conflict.keys)) from conflict


def records(reader: Reader, namespace: str) -> Iterator[Entry]:
    """All that is copied of a namespace: not leases, nor what belongs to its place."""
    for entry in reader.scan(namespace + SEP):
        if entry.key.split(SEP, 2)[1] != LEASE and not is_own(entry.key):
            yield entry


class Pages:
    """A store without snapshots, read page by page."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.get = store.get

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Reader."""
        return islice(walk(self._store, prefix, after=after, reverse=reverse), limit)


def _still(store: Store, namespace: str) -> AbstractContextManager[Reader]:
    """A namespace as of one moment, or page by page where that can't be had."""
    make = store.traits.snapshot
    return nullcontext(Pages(store)) if make is None else make(namespace)


def _others(there: Entry) -> Conflict:
    return _others_wrote([there.key])


def _others_wrote(keys: list[str]) -> Conflict:
    names = ", ".join(f"{place(key).name!r} in {place(key).namespace}" for key in keys[:3])
    return Conflict(
        f"others write into the target: {names or 'it'} is not what was copied there",
        keys=keys,
        next=["find out who, undo this migration (--abort), and begin again"],
    )
