"""Why: one call of a built-in function of Lua can take years (a pattern that tries everything), and nothing gets
through to it: no signal, no hook, no deadline. Then only the end of the process helps.

A thread looks at what the one that runs Lua is in. While that comes back to Python now and then, its end is its own
business. Whoever must end and does not is ended here; what it held is free when its leases end, as after a kill.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

from sloth_runner.errors import Interrupted, SlothError, TimedOut
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from sloth_runner.engine.pump import Pump

PERIOD = 0.5
"""Seconds between two looks."""
GRACE = 2.0
"""Seconds that whoever has to end may take to come back."""
_OVER = b"\0"


class Watchdog:
    """Watches the thread that makes it, until it is closed. ``limit``: seconds that Lua may compute; ``inside`` says
    whether a frame is of those that call Lua; ``end`` tells the error and ends the process."""

    def __init__(
        self, limit: float, inside: Callable[[FrameType], bool], end: Callable[[SlothError], None]
    ) -> None:
        self.polls = 0
        """How often Lua has come back by itself: to be counted by whoever is asked."""
        self.pump: Pump | None = None
        """What runs the bodies, once something does."""
        self._limit = limit
        self._inside = inside
        self._end = end
        self._watched = threading.get_ident()
        self._signals: list[int] = []
        self._seen: tuple[FrameType, int] | None = None
        self._stuck = 0.0
        self._at = 0.0
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before: int | None = None
        if threading.current_thread() is threading.main_thread():
            # The only thing that a signal does while its handler can't run.
            self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
        os.write(self._write, _OVER)
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def _run(self) -> None:
        self._at = time.monotonic()
        while True:
            ready, _, _ = select.select([self._read], [], [], PERIOD)
            told = os.read(self._read, 64) if ready else b""
            if _OVER in told:
                return
            self._signals += told
            error = self._look()
            if error is not None:
                self._end(error)
                return

    def _look(self) -> SlothError | None:
        """What to end the process with, if it has come to that."""
        now = time.monotonic()
        passed, self._at = min(now - self._at, 2 * PERIOD), now  # the whole process may have been stopped
        innermost = sys._current_frames().get(self._watched)
        frame = innermost
        while frame is not None and not self._inside(frame):
            frame = frame.f_back
        if frame is None:
            self._seen = None
            return None
        # Held, so that no other frame is taken for it.
        if self._seen is None or self._seen[0] is not frame or self._seen[1] != self.polls:
            self._seen, self._stuck = (frame, self.polls), 0.0
            return None
        self._stuck += passed
        if self._stuck < GRACE:
            return None
        if len(self._signals) > 1:
            return _by_force(Interrupted("interrupted", exit_code=128 + self._signals[-1]), self.pump)
        # What Lua has called in Python comes back, and meets its limits then.
        return self._late() if frame is innermost else None

    def _late(self) -> SlothError | None:
        strand = None if self.pump is None else self.pump.current
        at, error = (None, None) if strand is None else (strand.deadline, strand.error)
        if at is not None and error is not None and time.monotonic() >= at + GRACE:
            return _by_force(TimedOut(error.message), self.pump)
        if self._stuck < self._limit + GRACE:
            return None
        text = f"Lua code ran for more than {self._limit:g} s without calling anything"
        return _by_force(TimedOut(text), self.pump)


def _by_force(error: SlothError, pump: Pump | None) -> SlothError:
    """``error``, with what it means that it can't be told to the code that it is for."""
    strand = None if pump is None else pump.current
    task = None if strand is None else strand.context.task
    who = "it" if task is None else f"task {task.name!r}"
    error.message += f"; nothing stops the call of a built-in function that {who} is in: ended by force"
    error.next = [
        "is there a pattern with many of *, + and -, in string.find, match, gmatch or gsub? make it simpler"
    ]
    if task is not None:
        error.file, error.line = task.site.file, task.site.line
        error.next.append("locks that were held are free when their leases end: sloth-runner lock list")
    return error
