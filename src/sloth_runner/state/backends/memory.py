"""Why: a store that lasts as long as its process: for runs that shall leave nothing, and for fast laws."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sloth_runner.errors import Conflict
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.store import ABSENT, Change, Check, Entry, Rev, Traits, beyond, check_commit, holds

if TYPE_CHECKING:
    from sloth_runner.state.backends import Options

TRAITS = Traits(embedded=True, concurrency=1, max_changes=10_000, max_value=16 << 20)


class MemoryStore:
    """Entries in a dict. ``clock`` (seconds) judges leases. May be used from several threads."""

    traits = TRAITS

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.traits = self.traits._replace(watch=self._watch)
        self._clock = clock
        self._entries: dict[str, tuple[Entry, float | None]] = {}
        self._keys: list[str] = []
        self._last: Rev = 0
        self._guard = threading.RLock()
        self._bells: list[_Bell] = []

    def get(self, key: str) -> Entry | None:
        """See Store."""
        with self._guard:
            found = self._entries.get(key)
            if found is None or (found[1] is not None and found[1] <= self._clock()):
                return None
            return found[0]

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store; a snapshot."""
        with self._guard:
            low = bisect_left(self._keys, prefix)
            high = bisect_left(self._keys, beyond(prefix)) if prefix else len(self._keys)
            if after and reverse:
                high = min(high, bisect_left(self._keys, after))
            elif after:
                low = max(low, bisect_right(self._keys, after))
            keys = self._keys[low:high]
            found = [entry for key in keys if (entry := self.get(key)) is not None]
        if reverse:
            found.reverse()
        return iter(found if limit is None else found[:limit])

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        check_commit(changes, self.traits)
        with self._guard:
            found = [entry.rev if (entry := self.get(c.key)) else ABSENT for c in changes]
            failed = [c.key for c, rev in zip(changes, found, strict=True) if not holds(c.expect, rev)]
            if failed:
                raise Conflict("the store changed meanwhile", keys=failed)
            revs = [
                rev if isinstance(change, Check) else self._put(change)
                for change, rev in zip(changes, found, strict=True)
            ]
            for bell in self._bells:
                bell.rung([change.key for change in changes if isinstance(change, Change)])
            return revs

    def close(self) -> None:
        """See Store; what was in it stays until the object is gone."""

    @contextmanager
    def _watch(self, prefix: str) -> Iterator[_Bell]:
        bell = _Bell(prefix, self._guard)
        with self._guard:
            self._bells.append(bell)
        try:
            yield bell
        finally:
            with self._guard:
                self._bells.remove(bell)

    def _put(self, change: Change) -> Rev:
        if change.value is None:
            if self._entries.pop(change.key, None) is not None:
                del self._keys[bisect_left(self._keys, change.key)]
            return ABSENT
        if change.key not in self._entries:
            insort(self._keys, change.key)
        self._last += 1
        until = None if change.lease is None else self._clock() + change.lease
        self._entries[change.key] = (Entry(change.key, change.value, self._last), until)
        return self._last


class _Bell:
    """A Doorbell for the keys that start with ``prefix``, on commits made under ``guard``."""

    def __init__(self, prefix: str, guard: threading.RLock) -> None:
        self._prefix = prefix
        self._news = threading.Condition(guard)
        self._keys: dict[str, None] = {}

    def __call__(self, seconds: float) -> Sequence[str]:
        """See Doorbell."""
        with self._news:
            self._news.wait_for(lambda: self._keys, seconds)
            told, self._keys = tuple(self._keys), {}
            return told

    def rung(self, keys: Sequence[str]) -> None:
        """These were put or deleted."""
        self._keys.update(dict.fromkeys(key for key in keys if key.startswith(self._prefix)))
        self._news.notify_all()


def open_store(url: str, options: Options) -> MemoryStore:
    """An empty store of this process's own."""
    return MemoryStore()
