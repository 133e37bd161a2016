"""Why: one API over state for Lua, the command line and the web: typed values by key, with history.

A ``State`` is a view of one namespace. Keys that start with a shared prefix belong to the shared namespace
from whichever view they are used. Nothing here waits or sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from sloth_runner.errors import BadName
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state import edits
from sloth_runner.state.batch import Fence, Mutation
from sloth_runner.state.layout import (
    HEAD,
    SHARED,
    check_agent_name,
    check_key,
    check_prefix,
    place,
    prefix_of,
    store_key,
)
from sloth_runner.state.record import MISSING, Record, decode_record, load_blob, peek
from sloth_runner.state.store import PAGE, walk
from sloth_runner.state.value import decode, from_json
from sloth_runner.state.writer import Writer

if TYPE_CHECKING:
    from sloth_runner.model import By, Value
    from sloth_runner.state.history import Filter, Revision
    from sloth_runner.state.store import Store


class Row(NamedTuple):
    """A live key: where it is, its name and its record (with the value's text)."""

    namespace: str
    key: str
    record: Record

    @property
    def value(self) -> Value:
        """The value, decoded."""
        return decode(self.record.text or "")


class Stats(NamedTuple):
    """Figures of one namespace; times are seconds since the epoch."""

    keys: int
    bytes: int
    revisions: int
    oldest: float | None
    newest: float | None


class State:
    """A view of one namespace, for someone (``by``), under the locks they hold (``fences``).

    ``on_secret`` learns each sensitive value that is read, so that it can be kept out of logs."""

    __slots__ = ("_store", "by", "fences", "namespace", "on_secret", "shared_prefixes", "writer")

    def __init__(
        self,
        writer: Writer,
        namespace: str,
        by: By,
        *,
        shared_prefixes: tuple[str, ...] = ("cluster:",),
        fences: tuple[Fence, ...] = (),
        on_secret: Callable[[Value], None] | None = None,
    ) -> None:
        if namespace != SHARED:
            check_agent_name(namespace)
        self.writer = writer
        self._store: Store = writer.store
        self.namespace = namespace
        self.by = by
        self.shared_prefixes = shared_prefixes
        self.fences = fences
        self.on_secret = on_secret

    @property
    def store(self) -> Store:
        """The handle that it reads by."""
        return self._store

    def through(self, store: Store) -> State:
        """The same view, read by another handle on the same store; it is for reading alone."""
        if store is self._store:
            return self
        other = self._view(self.namespace)
        other._store = store
        return other

    def home(self, name: str) -> str:
        """The namespace that a key or a lock of this name lies in."""
        return SHARED if name.startswith(self.shared_prefixes) else self.namespace

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or ``default`` when there is none (or it has expired)."""
        namespace = self.home(check_key(key))
        entry = self._store.get(store_key(namespace, HEAD, key))
        if entry is None:
            return default
        data, expires, secret = peek(entry.value)
        if expires is not None and expires <= self.writer.clock():
            return default
        if data is MISSING:
            record = load_blob(self._store, namespace, key, decode_record(entry.value))
            if record.text is None:
                return default
            value = decode(record.text)
        else:
            value = from_json(data)
        if secret and self.on_secret is not None:
            self.on_secret(value)
        return value

    def row(self, key: str) -> Row | None:
        """The live key with its record, or None."""
        namespace = self.home(check_key(key))
        from sloth_runner.state import history

        record = history.head(self._store, namespace, key)
        if record is None or not record.live(self.writer.clock()):
            return None
        return Row(namespace, key, record)

    def exists(self, key: str) -> bool:
        """Whether there is a live value."""
        entry = self._store.get(store_key(self.home(check_key(key)), HEAD, key))
        return entry is not None and decode_record(entry.value).live(self.writer.clock())

    def rows(self, prefix: str = "", *, after: str = "", limit: int | None = None) -> Iterator[Row]:
        """Live keys that start with ``prefix``, in key order, own and shared ones, from beyond ``after``: a snapshot;
        with ``limit`` at most so many, and no more is read than is needed. Raises BadName."""
        import heapq

        check_prefix(prefix)
        check_prefix(after, "the key to go on after")
        parts = [self._rows(self.namespace, prefix, after, limit)]
        if self.namespace != SHARED:
            for shared in self.shared_prefixes:
                if prefix.startswith(shared) or shared.startswith(prefix):
                    longer = max(prefix, shared, key=len)
                    parts.append(self._rows(SHARED, longer, after, limit))
        merged = heapq.merge(*parts, key=lambda row: row.key) if len(parts) > 1 else parts[0]
        for count, row in enumerate(merged):
            if limit is not None and count >= limit:
                return
            yield row

    def items(self, prefix: str = "") -> list[tuple[str, Value]]:
        """Keys and values below a prefix, in key order: a snapshot."""
        return [(row.key, self.tell(row.value, row.record)) for row in self.rows(prefix)]

    def keys(self, prefix: str = "") -> list[str]:
        """The keys below a prefix, in order."""
        return [row.key for row in self.rows(prefix)]

    def edit(self, key: str, edit: edits.Edit) -> Mutation:
        """An edit as a mutation of this view, to be applied together with others."""
        return Mutation(self.home(check_key(key)), key, edit, self.by, self.fences)

    def apply(self, key: str, edit: edits.Edit) -> Any:
        """Apply one edit now; returns its result or raises its error."""
        return self.writer.one(self.edit(key, edit))

    def set(
        self,
        key: str,
        value: Value,
        *,
        ttl: float | None = None,
        keep_ttl: bool = False,
        sensitive: bool | None = None,
    ) -> bool:
        """Set; True if anything changed. Without ``ttl`` an expiry is removed unless ``keep_ttl``."""
        return bool(self.apply(key, edits.put(value, ttl=ttl, keep_ttl=keep_ttl, sensitive=sensitive)))

    def delete(self, key: str) -> bool:
        """Delete; True if there was something."""
        return bool(self.apply(key, edits.delete))

    def increment(self, key: str, delta: int | float = 1) -> int | float:
        """Add to a number; returns the sum."""
        total: int | float = self.apply(key, edits.add(delta))
        return total

    def ttl(self, key: str) -> float:
        """Seconds until expiry; -1 without one, -2 without a key."""
        row = self.row(key)
        if row is None:
            return -2
        return -1 if row.record.expires is None else row.record.expires - self.writer.clock()

    def history(self, key: str, limit: int | None = None, wanted: Filter | None = None) -> list[Revision]:
        """Revisions, newest first; only those ``wanted``."""
        namespace = self.home(check_key(key))
        from sloth_runner.state import history

        found = history.matching(self._store, namespace, key, wanted or history.Filter())
        return [self.told(one) for one in islice(found, limit)]

    def revision(self, key: str, number: int) -> Record:
        """One revision's record, sensitive if the key is now; raises KeyMissing or Compacted."""
        from sloth_runner.state import history

        found = history.revision(self._store, self.home(check_key(key)), key, number)
        return self._marked(key, found)

    def at(self, key: str, moment: float) -> Record | None:
        """The record whose value was there at a moment, sensitive if the key is now; None if there was none.

        Raises Compacted."""
        from sloth_runner.state import history

        found = history.at_time(self._store, self.home(check_key(key)), key, moment)
        return None if found is None else self._marked(key, found)

    def rollback(self, key: str, number: int) -> int:
        """Make revision ``number``'s value the current one again; returns the last revision's number."""
        record = self.revision(key, number)
        return int(self.apply(key, edits.restore(record.text, record.sensitive)))

    def stats(self) -> Stats:
        """Figures over the live keys of this namespace."""
        keys = size = count = 0
        oldest: float | None = None
        newest: float | None = None
        now = self.writer.clock()
        for entry in self._store.scan(prefix_of(self.namespace, HEAD)):
            record = decode_record(entry.value)
            count += record.number - record.first + 1
            newest = record.time if newest is None else max(newest, record.time)
            if record.live(now):
                keys += 1
                size += record.size
                oldest = record.created if oldest is None else min(oldest, record.created)
        return Stats(keys, size, count, oldest, newest)

    def agent(self, name: object) -> State:
        """The same API on another agent's namespace."""
        if not isinstance(name, str):
            raise BadName("state.agent takes the name of an agent")
        return self._view(check_agent_name(name))

    @property
    def shared(self) -> State:
        """The same API on the shared namespace, whole keys."""
        return self._view(SHARED)

    def below(self, prefix: str) -> State:
        """The same API on the namespace that keys with this prefix lie in: of a shared one, the shared namespace."""
        return self if self.home(prefix) == self.namespace else self.shared

    def under(self, fences: tuple[Fence, ...]) -> State:
        """The same view, its writes made under these locks."""
        return self._view(self.namespace, fences)

    def _view(self, namespace: str, fences: tuple[Fence, ...] | None = None) -> State:
        return State(
            self.writer,
            namespace,
            self.by,
            shared_prefixes=self.shared_prefixes,
            fences=self.fences if fences is None else fences,
            on_secret=self.on_secret,
        )

    def tell(self, value: Value, record: Record) -> Value:
        """``value``, which is about to be seen; ``on_secret`` learns of it if its record is sensitive."""
        if record.sensitive and self.on_secret is not None:
            self.on_secret(value)
        return value

    def _marked(self, key: str, record: Record) -> Record:
        """The mark of being sensitive may have been set when the revision was there already."""
        if not record.sensitive:
            last = self._store.get(store_key(self.home(key), HEAD, key))
            if last is None or not decode_record(last.value).sensitive:
                return record
        if record.text is not None:
            self.tell(decode(record.text), record._replace(sensitive=True))
        return record._replace(sensitive=True)

    def told(self, found: Revision) -> Revision:
        """``found``, which is about to be seen; ``on_secret`` learns of its values if they are sensitive."""
        if self.on_secret is not None:
            for value, secret in ((found.new, found.secret), (found.old, found.old_secret)):
                if secret and value is not None:
                    self.on_secret(value)
        return found

    def _rows(self, namespace: str, prefix: str, after: str, limit: int | None) -> Iterator[Row]:
        now = self.writer.clock()
        start = store_key(namespace, HEAD, after) if after else ""
        whole = prefix_of(namespace, HEAD, prefix)
        if limit is None:
            entries = self._store.scan(whole, after=start)
        else:
            entries = walk(self._store, whole, after=start, page=min(PAGE, limit + 1))
        for entry in entries:
            record = decode_record(entry.value)
            if record.live(now):
                key = place(entry.key).name
                yield Row(namespace, key, load_blob(self._store, namespace, key, record))
