"""Why: who follows keys is told each of their revisions once and in order, however fast they are written.

A doorbell says when to look, and often not where. What has happened stands in the history: of each key it is known
which revision was told last, and all that came after it are read from there. So nothing depends on how soon one
looks, and a bell that rings for nothing does no harm. What the history no longer keeps by then is told as a gap.

An expiry is nobody's write: it is told when its time has come, by the watcher's clock. The revision that a later
write makes of it is then left out.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence

from sloth_runner.errors import Forbidden, StoreDown
from sloth_runner.model import By
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from sloth_runner.state.bells import listening
from sloth_runner.state.history import Revision, as_revision
from sloth_runner.state.layout import (
    HEAD,
    HISTORY,
    SEP,
    SHARED,
    check_prefix,
    place,
    prefix_of,
    revisions_of,
    store_key,
)
from sloth_runner.state.record import Record, decode_record, load_blob, outline
from sloth_runner.state.store import Entry, Rev, Store, walk

if TYPE_CHECKING:
    from sloth_runner.state.state import State

BATCH: Final = 250
"""Keys that are told together, in the order of time."""
LONG: Final = 3600.0
"""Seconds of one wait, if nobody wants to do anything meanwhile."""
PART: Final = 1 / 3
"""Part of the time that looking at everything may take, where the store can't say what has changed."""
NOBODY: Final = By("", "", 0, None, None)


class Scope(NamedTuple):
    """Keys of a namespace: those that begin with ``prefix``, or (``exact``) the one that is called so."""

    namespace: str
    prefix: str = ""
    exact: bool = False

    @property
    def start(self) -> str:
        """What its store keys begin with."""
        return prefix_of(self.namespace, HEAD, self.prefix)

    def holds(self, name: str) -> bool:
        """Whether a store key is the head of one of them."""
        return name == self.start if self.exact else name.startswith(self.start)


class Change(NamedTuple):
    """A revision of a key. If it is not ``written``, the value has expired and no revision says so yet: its record
    has the number of that value, the time at which it ended, and is by nobody."""

    namespace: str
    key: str
    revision: Revision
    written: bool = True


class Gap(NamedTuple):
    """Revisions of a key that were dropped from its history before they could be told."""

    namespace: str
    key: str
    first: int
    last: int


class Purged(NamedTuple):
    """The key was erased, and its past with it, or another past was put in its place. Its revisions, if there are
    any, are told from the first one on."""

    namespace: str
    key: str


Item: TypeAlias = Change | Gap | Purged


class _Seen(NamedTuple):
    """A key as it was looked at: its head's Rev (0: to be looked at again), its last revision that was told, and what
    tells that from another of its number; when the value ends, and whether that was told."""

    rev: Rev
    number: int
    mark: int
    expires: float | None
    ended: bool


def scopes_of(view: State, prefix: str) -> list[Scope]:
    """What ``view`` calls the keys that begin with ``prefix``: own and shared ones. Raises BadName."""
    check_prefix(prefix)
    if view.namespace == SHARED or view.home(prefix) == SHARED:
        return [Scope(view.home(prefix), prefix)]
    shared: list[str] = []
    for longer in sorted(set(view.shared_prefixes)):
        if longer.startswith(prefix) and not longer.startswith(tuple(shared)):
            shared.append(longer)
    return [Scope(view.namespace, prefix), *(Scope(SHARED, longer) for longer in shared)]


def follow(
    store: Store,
    scopes: Callable[[], Sequence[Scope]],
    clock: Callable[[], float],
    rest: Callable[[], float] = lambda: LONG,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Item | None]:
    """What happens to keys from now on, for ever; None when all of it was told, the first time before anything else.
    After that it waits, at most ``rest()`` seconds before the next None. ``scopes`` says which keys are meant;
    namespaces may be added. ``clock``: seconds since the epoch.

    Raises StoreDown: the server stayed away for longer than the handle's patience lasts.
    """
    watching = Watching(scopes, clock)
    with listening(store, _common(scopes())) as bell:
        watching.begin(store)
        rung: Sequence[str] | None = ()
        failed = False
        while True:
            begun = monotonic()
            try:
                yield from watching.look(store, rung)
            except StoreDown as error:
                if failed or isinstance(error, Forbidden):
                    raise
                failed, rung = True, None  # it broke off in the middle; patience was had by whoever began it
                continue
            took = monotonic() - begun if rung is None else 0.0
            failed = False
            yield None
            due = watching.due()
            rung = bell(max(0.0, min(rest(), LONG if due is None else due - clock())))
            left = took / PART - (monotonic() - begun)
            if rung is None and left > 0:
                sleep(left)


class Watching:
    """What was told of the keys that ``scopes`` names. ``clock``: seconds since the epoch."""

    def __init__(self, scopes: Callable[[], Sequence[Scope]], clock: Callable[[], float]) -> None:
        self._scopes = scopes
        self._clock = clock
        self._known: Sequence[Scope] = ()
        self._seen: dict[str, _Seen] = {}
        self._ends: dict[str, float] = {}

    def begin(self, store: Store) -> None:
        """What happened up to now is of no interest. Revisions that are written meanwhile may count as before."""
        self._known = self._scopes()
        now = self._clock()
        for scope in self._known:
            for entry in self._heads(store, scope, ""):
                number, write_id, expires, present = outline(entry.value)
                ends = expires if present else None
                ended = ends is not None and ends <= now
                self._saw(entry.key, _Seen(entry.rev, number, hash(write_id), ends, ended))

    def due(self) -> float | None:
        """When the next value expires, in seconds since the epoch; None: none of them does."""
        return min(self._ends.values(), default=None)

    def look(self, store: Store, rung: Sequence[str] | None = None) -> Iterator[Item]:
        """What has happened since the last look, of each key in order; ``rung``: where, as the doorbell said (None:
        it may be anywhere). What was taken is not told again, even if the rest is not. Raises what reading does."""
        if rung is None:
            yield from self._look_everywhere(store)
        else:
            yield from self._look_at(store, rung)
        yield from self._expire(store)

    def _look_everywhere(self, store: Store) -> Iterator[Item]:
        """Look at all keys whose head has another Rev than it had; and then for those that are gone."""
        self._known = self._scopes()
        known, met = len(self._seen), 0
        changed: list[Entry] = []
        for scope in self._known:
            after: str | None = ""
            while after is not None:
                for entry in self._heads(store, scope, after):
                    seen = self._seen.get(entry.key)
                    met += seen is not None
                    if seen is None or seen.rev != entry.rev:
                        changed.append(entry)
                        if len(changed) == BATCH:
                            break
                after = None
                if len(changed) == BATCH:
                    after = changed[-1].key
                    yield from self._together(store, changed)
                    changed = []
        yield from self._together(store, changed)
        if met < known:
            there = {entry.key for scope in self._known for entry in self._heads(store, scope, "")}
            for name in self._seen.keys() - there:
                yield from self._look_at_one(store, name)

    def _look_at(self, store: Store, rung: Sequence[str]) -> Iterator[Item]:
        names = [name for name in rung if f"{SEP}{HEAD}{SEP}" in name]
        if any(place(name).namespace not in {scope.namespace for scope in self._known} for name in names):
            self._known = self._scopes()
        names = [name for name in names if any(scope.holds(name) for scope in self._known)]
        for start in range(0, len(names), BATCH):
            entries: list[Entry] = []
            for name in names[start : start + BATCH]:
                entry = store.get(name)
                if entry is None:
                    yield from self._look_at_one(store, name)
                else:
                    entries.append(entry)
            yield from self._together(store, entries)

    def _look_at_one(self, store: Store, name: str) -> Iterator[Item]:
        """Look at a key that may be gone."""
        entry = store.get(name)
        if entry is not None:
            yield from self._together(store, [entry])
        elif name in self._seen:
            where = place(name)
            yield Purged(where.namespace, where.name)
            self._forget(name)

    def _together(self, store: Store, entries: Sequence[Entry]) -> Iterator[Item]:
        """What happened to the keys with these heads, in the order of time, as far as the order of each allows."""
        parts = [self._of_key(store, entry) for entry in entries]
        for _, item in heapq.merge(*parts, key=lambda one: one[0]):
            yield item

    def _of_key(self, store: Store, entry: Entry) -> Iterator[tuple[float, Item]]:
        """What happened to one key up to this head, each with its time."""
        namespace, _, key, _ = place(entry.key)
        last = decode_record(entry.value)
        seen = self._seen.get(entry.key)
        older = None
        if seen is not None and seen.number < last.number:
            older = self._last_told(store, entry.key, seen)
        if seen is not None and self._is_another_past(seen, older, last):
            yield last.time, Purged(namespace, key)
            self._forget(entry.key)
            seen = older = None
        number, ended = (0, False) if seen is None else (seen.number, seen.ended)
        for record, above in _with_above(_later(store, namespace, key, number, last), last):
            if record.number > number + 1:
                yield record.time, Gap(namespace, key, number + 1, record.number - 1)
            if not (ended and record.op == "expire" and record.number == number + 1):
                old = older if older is not None and older.number == record.number - 1 else None
                yield record.time, Change(namespace, key, as_revision(record, old, above))
            number, ended, older = record.number, False, record
            self._saw(entry.key, _Seen(0, number, hash(record.write_id), None, False))
        if number < last.number:
            yield last.time, Gap(namespace, key, number + 1, last.number)
        ended = ended and seen is not None and seen.expires == _ends(last)
        self._saw(entry.key, _Seen(entry.rev, last.number, hash(last.write_id), _ends(last), ended))

    def _last_told(self, store: Store, name: str, seen: _Seen) -> Record | None:
        """The last revision that was told, if it is still kept."""
        where = place(name)
        entry = store.get(store_key(where.namespace, HISTORY, where.name, seen.number))
        if entry is None:
            return None
        return load_blob(store, where.namespace, where.name, decode_record(entry.value))

    def _is_another_past(self, seen: _Seen, older: Record | None, last: Record) -> bool:
        if last.number == seen.number:
            return hash(last.write_id) != seen.mark
        return last.number < seen.number or (older is not None and hash(older.write_id) != seen.mark)

    def _expire(self, store: Store) -> Iterator[Item]:
        """Tell of values whose time is over."""
        now = self._clock()
        for end, name in sorted((end, name) for name, end in self._ends.items() if end <= now):
            yield from self._look_at_one(store, name)
            seen, entry = self._seen.get(name), store.get(name)
            if seen is None or entry is None or entry.rev != seen.rev or self._ends.get(name) != end:
                continue  # it was written meanwhile: its history says what became of it
            namespace, _, key, _ = place(name)
            old = load_blob(store, namespace, key, decode_record(entry.value))
            record = old._replace(op="expire", text=None, blob="", time=old.expires or now, by=NOBODY)
            before = old._replace(number=old.number - 1)
            yield Change(namespace, key, as_revision(record, before, old.sensitive), written=False)
            self._saw(name, seen._replace(ended=True))

    def _heads(self, store: Store, scope: Scope, after: str) -> Iterator[Entry]:
        if not scope.exact:
            yield from walk(store, scope.start, after=after)
        elif not after:
            entry = store.get(scope.start)
            if entry is not None:
                yield entry

    def _saw(self, name: str, seen: _Seen) -> None:
        self._seen[name] = seen
        if seen.expires is None or seen.ended:
            self._ends.pop(name, None)
        else:
            self._ends[name] = seen.expires

    def _forget(self, name: str) -> None:
        del self._seen[name]
        self._ends.pop(name, None)


def _ends(last: Record) -> float | None:
    """When the value of this head expires; None: never, or there is none."""
    return last.expires if last.text is not None or last.blob else None


def _later(store: Store, namespace: str, key: str, number: int, last: Record) -> Iterator[Record]:
    """The revisions above ``number``, up to the head ``last``: what came after it is for the next look."""
    if number >= last.number:
        return
    after = store_key(namespace, HISTORY, key, number) if number else ""
    for entry in walk(store, revisions_of(namespace, HISTORY, key), after=after):
        record = decode_record(entry.value)
        if record.number > last.number:
            return
        yield load_blob(store, namespace, key, record)


def _with_above(records: Iterator[Record], last: Record) -> Iterator[tuple[Record, bool]]:
    """Each record, and whether what stands above it is sensitive."""
    below: Record | None = None
    for record in records:
        if below is not None:
            yield below, record.sensitive
        below = record
    if below is not None:
        yield below, last.sensitive


def _common(scopes: Sequence[Scope]) -> str:
    """What all their store keys begin with."""
    starts = sorted(scope.start for scope in scopes)
    if not starts:
        return ""
    if len(starts) == 1:
        return starts[0]
    return f"{scopes[0].namespace}{SEP}" if len({scope.namespace for scope in scopes}) == 1 else ""
