"""Why: progress of long work is shown below the log and never instead of it.

Lines go out in order and stay; below them is an area that is erased before each line and drawn again after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from sloth_runner.cli.text import clip
from sloth_runner.plain import TextIO

TICK = 0.2
"""Seconds between two drawings when nothing happens: the elapsed time goes on."""


class Live:
    """An area at the bottom of a terminal. ``draw`` gives its lines; ``columns`` the width."""

    def __init__(self, stream: TextIO, columns: Callable[[], int], draw: Callable[[], Sequence[str]]) -> None:
        self._stream = stream
        self._columns = columns
        self._draw = draw
        self._height = 0
        self._guard = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._thread.start()

    def lines(self, lines: Sequence[str]) -> None:
        """Put lines above the area, to stay."""
        with self._guard:
            self._stream.write(self._erase() + "".join(line + "\n" for line in lines) + self._area())
            self._stream.flush()

    def close(self) -> None:
        """Erase the area."""
        self._ended.set()
        self._thread.join()
        with self._guard:
            self._stream.write(self._erase())
            self._stream.flush()

    def _tick(self) -> None:
        while not self._ended.wait(TICK):
            try:
                self.lines(())
            except (OSError, ValueError):
                return  # the terminal has gone; whoever writes the next line will hear of it

    def _erase(self) -> str:
        height, self._height = self._height, 0
        return f"\x1b[{height}A\r\x1b[J" if height else ""

    def _area(self) -> str:
        shown = [clip(line, max(1, self._columns() - 1)) for line in self._draw()]
        self._height = len(shown)
        return "".join(line + "\n" for line in shown)
