"""Why: stores in memory are raced deterministically: one seed, one interleaving, and time that passes at once.

Each task is a thread, and only one of them runs: whoever waits hands over to the task whose moment is next. Moments
are drawn by the seed, so what overlaps, and for how long, can be had again.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence

from sloth_runner.errors import Conflict, Indeterminate, StoreDown
from sloth_runner.state.store import Change, Check, Entry, Rev, Store

HOP = 0.001
"""Seconds that a message takes, on average."""


class Sim:
    """A world with a clock (``now``, seconds) and a source of chance of its own."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, threading.Lock]] = []
        self._over = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None

    def clock(self) -> float:
        """Seconds since the world began."""
        return self.now

    def start(self, work: Callable[[], object]) -> None:
        """Add a task. It begins when the others wait."""
        turn = self._queue(self.random.random() * HOP)

        def task() -> None:
            turn.acquire()
            try:
                if self._error is None:
                    work()
            except BaseException as error:
                self._error = self._error or error
            self._next()

        thread = threading.Thread(target=task, daemon=True)
        self._threads.append(thread)
        thread.start()

    def pause(self, mean: float = HOP) -> None:
        """Let the others go on, for a time that is drawn; called by a task."""
        turn = self._queue(self.random.expovariate(1 / mean))
        self._next()
        turn.acquire()

    def wait(self, seconds: float) -> None:
        """Let exactly this time pass; called by a task."""
        turn = self._queue(seconds)
        self._next()
        turn.acquire()

    def run(self) -> None:
        """Run all tasks to their end; raises what the first that failed raised."""
        self._over.acquire()
        self._next()
        self._over.acquire()
        self._over.release()
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _queue(self, delay: float) -> threading.Lock:
        turn = threading.Lock()
        turn.acquire()
        heapq.heappush(self._waiting, (self.now + delay, next(self._order), turn))
        return turn

    def _next(self) -> None:
        if not self._waiting:
            self._over.release()
            return
        moment, _, turn = heapq.heappop(self._waiting)
        self.now = max(self.now, moment)
        turn.release()


class Network:
    """A handle on a store that lies behind a network: messages take time, and some are lost or late.

    ``trouble``: which part of all commits loses its reply, its request, or arrives after it was given up; and which
    part of all calls is refused.
    """

    def __init__(self, inner: Store, sim: Sim, trouble: float) -> None:
        self.traits = inner.traits._replace(embedded=False)
        self._inner = inner
        self._sim = sim
        self._trouble = trouble

    def get(self, key: str) -> Entry | None:
        """See Store."""
        self._travel()
        entry = self._inner.get(key)
        self._sim.pause()
        return entry

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        self._travel()
        found = list(self._inner.scan(prefix, after=after, limit=limit, reverse=reverse))
        self._sim.pause()
        return iter(found)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        self._travel()
        fate = self._sim.random.random() / self._trouble if self._trouble else 1.0
        if fate < 0.5:
            if fate < 0.2:
                self._inner.commit(changes)
            elif fate < 0.35:
                self._sim.start(lambda: self._late(changes))
            self._sim.pause(5 * HOP)
            raise Indeterminate("the reply was lost", next=["look"])
        revs = self._inner.commit(changes)
        self._sim.pause()
        return revs

    def close(self) -> None:
        """See Store."""
        self._inner.close()

    def _travel(self) -> None:
        self._sim.pause()
        if self._sim.random.random() < self._trouble / 2:
            raise StoreDown("the connection was refused", next=["wait"])

    def _late(self, changes: Sequence[Change | Check]) -> None:
        self._sim.pause(20 * HOP)
        try:
            self._inner.commit(changes)
        except Conflict:
            pass
