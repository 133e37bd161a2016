"""Why: locks taken in a run are known in one place, so that they are renewed in time and released in the end.

Renewal has its own thread and its own handle on the store: a busy Lua loop or a full queue must not delay it.
The thread begins with the first lock that wants renewing and opens its handle when the first renewal is due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sloth_runner.errors import LockLost, Lost, SlothError

if TYPE_CHECKING:
    from sloth_runner.state.locks import Held
    from sloth_runner.state.store import Store


PATIENCE = 0.5
"""Seconds that the handle for renewals may wait for others: one namespace that is being written for long must not
keep the locks of all others from being renewed."""


class Holding:
    """A lock held in this process: how deep, whether it renews itself, what to do when it is lost."""

    __slots__ = ("depth", "keep", "lock", "on_lost", "until")

    def __init__(self, lock: Held, *, keep: bool, until: float) -> None:
        self.lock = lock
        self.depth = 1
        self.keep = keep
        self.until = until
        self.on_lost: Callable[[SlothError], None] | None = None


class Renewer:
    """Renews leases at a third of their ttl from a thread of its own.

    ``open_store`` gives the thread's handle, which waits for others no longer than PATIENCE; ``wall`` seconds since
    the epoch, for the record; ``monotonic`` seconds for the schedule. ``on_lost`` of a holding is called in that
    thread, once.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        wall: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_store
        self._wall = wall
        self._monotonic = monotonic
        self._due: dict[int, tuple[float, Holding]] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.failure: BaseException | None = None

    def add(self, holding: Holding) -> None:
        """Keep this lock alive until it is removed."""
        with self._change:
            self._due[id(holding)] = (self._monotonic() + holding.lock.ttl / 3, holding)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lock-renewal", daemon=True)
                self._thread.start()
            self._change.notify()

    def remove(self, holding: Holding) -> None:
        """Stop renewing; returns only when no renewal of this lock is under way."""
        with self._change:
            self._due.pop(id(holding), None)

    def close(self) -> None:
        """End the thread and give its handle back."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        store: Store | None = None
        try:
            with self._change:
                while not self._closed:
                    now = self._monotonic()
                    next_due = min((due for due, _ in self._due.values()), default=None)
                    if next_due is None or next_due > now:
                        self._change.wait(None if next_due is None else next_due - now)
                        continue
                    store = store or self._open()
                    stuck: dict[str, Lost] = {}
                    for key, (due, holding) in list(self._due.items()):
                        if due <= now:
                            self._renew(store, key, holding, stuck)
        except BaseException as error:
            self.failure = error
            self._lose_all(error)
        finally:
            if store is not None:
                store.close()

    def _renew(self, store: Store, key: int, holding: Holding, stuck: dict[str, Lost]) -> None:
        """Renew one, unless its namespace has just been found ``stuck``: then all others would wait for nothing."""
        from sloth_runner.state.locks import renew

        now = self._monotonic()
        ttl, namespace = holding.lock.ttl, holding.lock.namespace
        if namespace not in stuck:
            try:
                renew(store, holding.lock, self._wall())
                holding.until = now + ttl
                self._due[key] = (now + ttl / 3, holding)
                return
            except LockLost as lost:
                self._lose(key, holding, lost)
                return
            except Lost as trouble:
                # The store does not answer just now; the lease may outlast that.
                stuck[namespace] = trouble
                now = self._monotonic()
        if now >= holding.until:
            self._lose(key, holding, _unknown(holding, stuck[namespace]))
        else:
            self._due[key] = (now + min(ttl / 10, 1.0), holding)

    def _lose(self, key: int, holding: Holding, error: SlothError) -> None:
        self._due.pop(key, None)
        if holding.on_lost is not None:
            holding.on_lost(error)

    def _lose_all(self, error: BaseException) -> None:
        for key, (_, holding) in list(self._due.items()):
            self._lose(key, holding, _unknown(holding, error))


def _unknown(holding: Holding, error: BaseException) -> LockLost:
    return LockLost(f"the lock {holding.lock.name!r} could not be renewed: {error}")
