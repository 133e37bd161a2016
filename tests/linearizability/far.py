"""Why: a client that is a process of its own can be killed and stopped; this is what it runs, and its other end.

Requests and outcomes go through a pipe. Whoever is killed before it has answered leaves a request of unknown outcome.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.patience import Patience
from tests.linearizability.checker import Request
from tests.linearizability.perform import Handles, Outcome, handles, perform


class Place(NamedTuple):
    """How a client opens the store: ``timeout`` of a request and ``patience`` with other clients, in seconds."""

    url: str
    folder: str
    timeout: float
    patience: float


def opened(place: Place) -> Handles:
    """Handles of one's own."""
    store = open_store(place.url, Options(Path(place.folder), place.patience, place.timeout))
    patience = None if store.traits.embedded else Patience(2 * place.timeout, place.patience)
    return handles(store, time.time, lambda: os.urandom(16).hex(), patience)


class Near:
    """A client in this process."""

    def __init__(self, place: Place) -> None:
        self._on = opened(place)

    def perform(self, request: Request) -> Outcome:
        """Do one request."""
        return perform(self._on, request)

    def close(self) -> None:
        """Give its handle back."""
        self._on.store.close()


class Far:
    """A client in a process of its own, which is started anew when it is gone. ``signal`` may be called by others."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._start()

    def perform(self, request: Request) -> Outcome:
        """Have one request done."""
        try:
            self._pipe.send(request)
            outcome = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            self._pipe.close()
            self._start()
            return Outcome("unknown", why="the client was killed")
        assert isinstance(outcome, Outcome), outcome
        return outcome

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one just now."""
        if self._process.is_alive():
            assert self._process.pid is not None
            os.kill(self._process.pid, number)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()

    def _start(self) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, self._place), daemon=True)
        self._process.start()
        other.close()


def serve(pipe: Connection, place: Place, open_handles: Callable[[Place], Handles] = opened) -> None:
    """What the process does until its pipe is closed."""
    on = open_handles(place)
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            break
        try:
            pipe.send(perform(on, request))
        except BaseException as error:
            pipe.send(repr(error))
            raise
    on.store.close()
