"""Why: many tasks may wait for changes at once; one thread hears the store's doorbell for all of them.

It hears the whole store, and only while somebody waits. Whoever begins to wait is told at first that anything may
have happened: what came before the doorbell was there is found by looking.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from sloth_runner.errors import Bug, SlothError
from sloth_runner.plain import TYPE_CHECKING, TypeAlias
from sloth_runner.state.bells import listening

if TYPE_CHECKING:
    from sloth_runner.state.store import Store

News: TypeAlias = "Sequence[str] | SlothError | None"
"""What the doorbell said (see Doorbell), or why it can't be heard any more."""
Listener: TypeAlias = "Callable[[News], None]"
"""Told in the ear's thread, or in that of ``add``; it must be quick."""
SLICE = 0.25
"""Seconds of one wait: how long the end of the last listener may go unnoticed."""


class Ear:
    """The ear of one run. ``store`` is any handle: the doorbell has a connection of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._listeners: list[Listener] = []
        self._thread: threading.Thread | None = None
        self._hears = False

    def add(self, listener: Listener) -> None:
        """From now on, ``listener`` is told what happens."""
        with self._guard:
            self._listeners.append(listener)
            hears = self._hears
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ear", daemon=True)
                self._thread.start()
        if hears:
            listener(None)

    def remove(self, listener: Listener) -> None:
        """Tell it nothing more; if it was one of them."""
        with self._guard:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def close(self) -> None:
        """Nobody waits any more; returns when the doorbell was given back."""
        with self._guard:
            self._listeners.clear()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        try:
            with listening(self._store) as bell:
                self._tell(None, hears=True)
                while self._goes_on():
                    heard = bell(SLICE)
                    if heard is None or heard:
                        self._tell(heard, hears=True)
        except Exception as error:
            with self._guard:
                self._thread = None
            known = error if isinstance(error, SlothError) else Bug(f"the doorbell broke: {error!r}")
            self._tell(known, hears=False)

    def _goes_on(self) -> bool:
        with self._guard:
            if self._listeners:
                return True
            self._thread, self._hears = None, False
            return False

    def _tell(self, news: News, *, hears: bool) -> None:
        with self._guard:
            self._hears = hears
            listeners = list(self._listeners)
        for listener in listeners:
            listener(news)
