"""Why: looking at machines takes long; one look at a time, and what it found stays to be seen."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from sloth_runner.documents import Document
from sloth_runner.errors import LockHeld
from sloth_runner.plain import NamedTuple


class Check(NamedTuple):
    """A finished look: when it began and ended (seconds since the epoch), and the body of its document."""

    began: float
    ended: float
    body: Document


class Checks:
    """The last look at all machines."""

    def __init__(self) -> None:
        self._busy = Lock()
        self.last: Check | None = None
        self.failed: str | None = None
        """Why the last one that a page asked for came to nothing."""
        self.since: float | None = None
        """When the look that is under way began; None: none is."""

    def run(self, look: Callable[[], Document], clock: Callable[[], float], *, keep: bool) -> Document:
        """Look now; ``keep``: it is a look at all there is. Raises LockHeld: one is under way."""
        if not self._busy.acquire(blocking=False):
            raise LockHeld("a check is under way", next=["wait for it: its result appears by itself"])
        try:
            self.since = clock()
            body = look()
            if keep:
                self.last = Check(self.since, clock(), body)
            return body
        finally:
            self.since = None
            self._busy.release()
