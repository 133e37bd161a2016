"""Why: locks taken in a run are known in one place, so that they are renewed in time and released in the end.

Renewal has its own thread and its own handle on the store: a busy Lua loop or a full queue must not delay it.
The thread begins with the first lock that wants renewing and opens its handle when the first renewal is due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sloth_runner.errors import LockLost, Lost, SlothError
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.state.batch import Fence
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

    @property
    def fence(self) -> Fence:
        """What a write under this lock checks."""
        return self.lock.fence._replace(renewed=self.on_lost is not None)


class Renewer:
    """Renews leases at a third of their ttl from a thread of its own.

    ``open_store`` gives the thread's handle, which waits for others no longer than PATIENCE, and for an answer no
    longer than the seconds it is given; ``wall`` seconds since the epoch, for the record; ``monotonic`` seconds for
    the schedule. ``on_lost`` of a holding is called in that thread, once.
    """

    def __init__(
        self,
        open_store: Callable[[float], Store],
        wall: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_store
        self._wall = wall
        self._monotonic = monotonic
        self._due: dict[int, tuple[float, Holding]] = {}
        self._change = threading.Condition()
        self._renewing: Holding | None = None
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
            self._change.notify_all()

    def remove(self, holding: Holding) -> None:
        """Stop renewing; returns only when no renewal of this lock is under way."""
        with self._change:
            self._due.pop(id(holding), None)
            while self._renewing is holding:
                self._change.wait()

    def close(self) -> None:
        """End the thread and give its handle back."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        store: Store | None = None
        length = 0.0
        try:
            while due := self._next():
                wanted = min(holding.lock.ttl for holding in due) / 4
                if store is None or wanted < length / 2:
                    if store is not None:
                        store.close()
                    store, length = self._open(wanted), wanted
                self._renew_all(store, due)
        except BaseException as error:
            self.failure = error
            self._lose_all(error)
        finally:
            if store is not None:
                store.close()

    def _next(self) -> list[Holding]:
        """Those whose time has come, waited for; none when it is over."""
        with self._change:
            while not self._closed:
                now = self._monotonic()
                due = [holding for at, holding in self._due.values() if at <= now]
                if due:
                    return due
                first = min((at for at, _ in self._due.values()), default=None)
                self._change.wait(None if first is None else first - now)
            return []

    def _renew_all(self, store: Store, due: list[Holding]) -> None:
        """Renew each that is still wanted. Once a namespace (or the server of all) has been found stuck, the others
        there would wait for nothing."""
        stuck: dict[str, Lost] = {}
        for holding in due:
            with self._change:
                if self._closed or id(holding) not in self._due:
                    continue
                self._renewing = holding
            try:
                self._renew(store, holding, stuck)
            finally:
                with self._change:
                    self._renewing = None
                    self._change.notify_all()

    def _renew(self, store: Store, holding: Holding, stuck: dict[str, Lost]) -> None:
        from sloth_runner.state.locks import renew

        now = self._monotonic()
        ttl = holding.lock.ttl
        where = holding.lock.namespace if store.traits.embedded else ""
        if where not in stuck:
            try:
                renew(store, holding.lock, self._wall())
                holding.until = now + ttl
                self._again(holding, now + ttl / 3)
                return
            except LockLost as lost:
                self._lose(holding, lost)
                return
            except Lost as trouble:
                # The store does not answer just now; the lease may outlast that.
                stuck[where] = trouble
                now = self._monotonic()
        if now >= holding.until:
            self._lose(holding, _unknown(holding, stuck[where]))
        else:
            self._again(holding, now + min(ttl / 10, 1.0))

    def _again(self, holding: Holding, at: float) -> None:
        with self._change:
            if id(holding) in self._due:
                self._due[id(holding)] = (at, holding)

    def _lose(self, holding: Holding, error: SlothError) -> None:
        with self._change:
            wanted = self._due.pop(id(holding), None) is not None
        if wanted and holding.on_lost is not None:
            holding.on_lost(error)

    def _lose_all(self, error: BaseException) -> None:
        for _, holding in list(self._due.values()):
            self._lose(holding, _unknown(holding, error))


def _unknown(holding: Holding, error: BaseException) -> LockLost:
    return LockLost(f"the lock {holding.lock.name!r} could not be renewed: {error}")
