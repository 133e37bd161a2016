"""Why: Ctrl-C, a stopped service and a terminal that is gone are requests, to be told to the run once, and again when
repeated."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from sloth_runner.plain import Any


class Signals:
    """SIGINT, SIGTERM and SIGHUP (unless it is ignored, as by nohup) ask the run to stop while this is entered;
    ``tell`` gets the number and the count."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self._tell = tell
        self._count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            lost = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
            for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if lost else [])):
                self._before[number] = signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        self._count += 1
        self._tell(number, self._count)

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
