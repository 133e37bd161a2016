"""Why: how much is being written is seen as a curve: writes per minute, over the last hour."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.history import Filter, Newest
from sloth_runner.state.layout import HEAD, prefix_of, store_key

if TYPE_CHECKING:
    from sloth_runner.state.store import Store
    from sloth_runner.web.index.shelf import Shelf

MINUTES = 60
MOST = 20_000
"""Writes before the start that are looked up, for the curve not to begin empty."""


class Pulse:
    """Writes by minute. ``clock``: seconds since the epoch. ``since``: from when on it is complete."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: dict[int, int] = {}
        self._guard = Lock()
        self.since = clock()

    def add(self, writes: int, at: float | None = None) -> None:
        """So many writes, now or at a moment."""
        if writes <= 0:
            return
        now = self._clock()
        with self._guard:
            minute = int((now if at is None else at) // 60)
            self._counts[minute] = self._counts.get(minute, 0) + writes
            oldest = int(now // 60) - MINUTES
            for old in [one for one in self._counts if one < oldest]:
                del self._counts[old]

    def minutes(self) -> list[tuple[float, int]]:
        """The last minutes, the oldest first: when each began, and its writes."""
        now = int(self._clock() // 60)
        with self._guard:
            return [
                (minute * 60.0, self._counts.get(minute, 0)) for minute in range(now - MINUTES + 1, now + 1)
            ]

    def recall(self, store: Store, shelf: Shelf) -> bool:
        """Count what was written in the last hour before the start; False: that is too much to look up."""
        begin = self.since - MINUTES * 60
        found = Newest(store, shelf.namespace, Filter(begin, self.since), MOST)
        prefix = prefix_of(shelf.namespace, HEAD)
        for leaf in shelf.picture.leaves:
            if leaf.newest < begin:
                continue
            after = store_key(shelf.namespace, HEAD, leaf.low) if leaf.low else ""
            for entry in store.scan(prefix, after=after, limit=leaf.heads):
                found.look_at(entry)
        marks = found.marks()
        if len(marks) == MOST:
            return False
        for mark in marks:
            self.add(1, mark.time)
        return True
