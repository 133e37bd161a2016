"""Why: one thread keeps all pictures true: it hears of changes, looks at what has changed, and tells the browsers.

Where the store names the keys, their leaves are made anew. Where it only says that something has changed, every leaf
is compared, in the pauses between other news, and never for more than a part of the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import (
    AUDIT,
    FENCE,
    HEAD,
    INTENT,
    LEASE,
    LEDGER,
    PENDING,
    RUN,
    RUN_LIVE,
    RUN_TASK,
    STACK,
    Place,
    place,
)
from sloth_runner.web.index.shelf import UNCHANGED

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.store import Doorbell
    from sloth_runner.web.index.index import Index
    from sloth_runner.web.index.pulse import Pulse

TOPICS = {
    HEAD: "state", AUDIT: "state", LEASE: "locks", FENCE: "locks", RUN: "runs", RUN_TASK: "runs", RUN_LIVE: "runs",
    STACK: "runs", LEDGER: "resources", INTENT: "resources", PENDING: "resources",
}  # fmt: skip
"""Which part of the UI a kind of record concerns."""
ALL_TOPICS = frozenset(TOPICS.values())
LISTEN = 0.2
"""Seconds of one wait for news: how long it takes to notice the end, and expiries."""
PART = 0.3
"""Part of the time that comparing may take while news keeps coming."""
RETRY = 2.0
"""Seconds after which a store that was lost is tried again."""

Ring = Callable[["App"], AbstractContextManager["Doorbell"]]


class Keeper:
    """Keeps the shelves of ``index`` true, and ``pulse``. ``ring`` opens a doorbell of the whole store; ``tell`` is
    called with topics, in the keeper's thread. ``trouble``: why the store can't be read just now."""

    def __init__(
        self,
        make_app: Callable[[], App],
        ring: Ring,
        tell: Callable[[frozenset[str]], None],
        index: Index,
        pulse: Pulse,
    ) -> None:
        self._make_app = make_app
        self._ring = ring
        self._tell = tell
        self._index = index
        self._pulse = pulse
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._sweep: Iterator[bool] | None = None
        self._again = False
        self._rest_until = 0.0
        self._since: float | None = None
        self.trouble: str | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                app = self._make_app()
                try:
                    self._keep(app)
                finally:
                    app.close()
            except SlothError as error:
                self.trouble = error.message
                self._tell(frozenset({"trouble"}))
                self._over.wait(RETRY)

    def _keep(self, app: App) -> None:
        with self._ring(app) as bell:
            self._look_everywhere(app)
            self.trouble = None
            self._tell(ALL_TOPICS | {"trouble"})
            while not self._over.is_set():
                busy = self._sweep is not None and time.monotonic() >= self._rest_until
                keys = bell(0.0 if busy else LISTEN)
                if keys is None:
                    self._tell(ALL_TOPICS)
                    self._begin_sweep(app)
                elif keys:
                    self._take_in(app, keys)
                self._expire(app)
                if busy:
                    self._go_on()

    def _look_everywhere(self, app: App) -> None:
        for namespace in app.namespaces():
            self._index.shelf(namespace)
        self._index.listed = True
        for shelf in self._index.shelves():
            if self._over.is_set():
                return
            shelf.load(app.store(), app.clock(), self._index.room())
            self._tell(frozenset({"state"}))
        if self._since is None:
            self._since = self._pulse.since
            complete = [self._pulse.recall(app.store(), shelf) for shelf in self._index.shelves()]
            if all(complete):
                self._pulse.since -= 3600

    def _take_in(self, app: App, keys: Sequence[str]) -> None:
        """Changes whose keys are known."""
        places = [place(key) for key in keys]
        topics = {TOPICS[where.kind] for where in places if where.kind in TOPICS}
        for where in {Place(w.namespace, w.kind, w.name, None) for w in places if w.kind == HEAD}:
            shelf = self._index.shelf(where.namespace)
            if not shelf.loaded:
                shelf.load(app.store(), app.clock(), self._index.room())
            else:
                self._pulse.add(shelf.look_at(app.store(), where.name, app.clock()))
        if topics:
            self._tell(frozenset(topics))

    def _begin_sweep(self, app: App) -> None:
        if self._sweep is None:
            self._sweep = self._compare(app)
        else:
            self._again = True

    def _go_on(self) -> None:
        """Compare for a while, then rest for longer, if there is more to do."""
        assert self._sweep is not None
        began = time.monotonic()
        changed = False
        for found in self._sweep:
            changed = changed or found
            if time.monotonic() - began > 0.1:
                break
        else:
            self._sweep = None
        took = time.monotonic() - began
        self._rest_until = began + took / PART
        if changed:
            self._tell(frozenset({"state"}))

    def _compare(self, app: App) -> Iterator[bool]:
        """Look over all leaves; each step tells whether something had changed."""
        while True:
            self._again = False
            for namespace in app.namespaces():
                shelf = self._index.shelf(namespace)
                if not shelf.loaded:
                    shelf.load(app.store(), app.clock(), self._index.room())
                    yield True
                    continue
                low: str | None = ""
                while low is not None:
                    writes, low = shelf.look_over(app.store(), low, app.clock())
                    if writes != UNCHANGED:
                        self._pulse.add(writes)
                    yield writes != UNCHANGED
            if not self._again:
                return

    def _expire(self, app: App) -> None:
        now = app.clock()
        for shelf in self._index.shelves():
            if shelf.expire(app.store(), now):
                self._tell(frozenset({"state"}))
