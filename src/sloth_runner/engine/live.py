"""Why: a run under way can be followed from elsewhere: what its tasks say so far stands in the store while it lasts.

A thread of its own with its own handle writes one record, when there is news and at most once in PERIOD; a run
that is shorter never waits for it. The record goes with the run's last commit; one that is left behind tells what a
killed run was doing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sloth_runner.engine import records
from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.state.batch import Fence
    from sloth_runner.state.store import Store

PERIOD = 0.4
"""Seconds between two writes."""


class LiveRecord:
    """Writes what ``news`` gives (None: nothing new) under the stack's lock. ``open_store`` gives the thread its
    handle."""

    def __init__(
        self,
        run: str,
        news: Callable[[], dict[str, Any] | None],
        open_store: Callable[[], Store],
        fences: Callable[[], tuple[Fence, ...]],
    ) -> None:
        self._key = records.live_key(run)
        self._news = news
        self._open = open_store
        self._fences = fences
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From now on."""
        self._thread = threading.Thread(target=self._run, name="live-record", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing more will be written."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        store: Store | None = None
        try:
            while not self._over.wait(PERIOD):
                document = self._news()
                if document is None:
                    continue
                store = store or self._open()
                fences = self._fences()
                if fences:
                    records.write(store, [(self._key, document)], fences)
        except SlothError:
            # The run itself meets what is wrong with the store or the lock, and tells it; to be watched is not worth
            # failing for.
            return
        finally:
            if store is not None:
                store.close()
