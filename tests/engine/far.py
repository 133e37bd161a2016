"""Why: how the engine treats a store that is far away is seen best on one whose distance is under control.

The stores that are far away are tested as they are in ``tests/program``; here a call can be held until others are
under way, too, without any sleeping.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from sloth_runner.state.store import Change, Check, Entry, Rev, Store

LONG = 30.0
"""Seconds after which a test that waits for nothing has failed."""


class Distance:
    """What all handles on one far store share. ``before`` and ``after`` are called in the asking thread around each
    call (``get``, ``scan`` or ``commit`` and what it is about)."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.before: Callable[[str, object], object] = lambda verb, about: None
        self.after: Callable[[str, object], object] = lambda verb, about: None
        self.opened = 0
        self.closed = 0
        self.most = 0
        self.commits: list[Sequence[Change | Check]] = []
        self._now = 0
        self._guard = threading.Lock()

    def handle(self, patience: float | None = None) -> Far:
        """One more handle."""
        self.opened += 1
        return Far(self)

    def call(self, verb: str, about: object, work: Callable[[], object]) -> object:
        """One call of a handle."""
        with self._guard:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self.before(verb, about)
            with self._guard:
                result = work()
            self.after(verb, about)
            return result
        finally:
            with self._guard:
                self._now -= 1


class Far:
    """A handle, to be used in one thread at a time: that is checked."""

    def __init__(self, distance: Distance) -> None:
        self._distance = distance
        self._user = threading.Lock()
        self.traits = distance.inner.traits._replace(embedded=False, concurrency=16)

    def get(self, key: str) -> Entry | None:
        """See Store."""
        return self._call("get", key, lambda: self._distance.inner.get(key))  # type: ignore[return-value] # as it is

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        inner = self._distance.inner
        found = self._call(
            "scan", prefix, lambda: list(inner.scan(prefix, after=after, limit=limit, reverse=reverse))
        )
        return iter(found)  # type: ignore[call-overload, no-any-return] # as it is

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        self._distance.commits.append(changes)
        return self._call("commit", changes, lambda: self._distance.inner.commit(changes))  # type: ignore[return-value] # as it is

    def close(self) -> None:
        """See Store."""
        self._distance.closed += 1

    def _call(self, verb: str, about: object, work: Callable[[], object]) -> object:
        assert self._user.acquire(blocking=False), "two threads use one handle"
        try:
            return self._distance.call(verb, about, work)
        finally:
            self._user.release()
