"""Why: a server answers after a while, and its clients wait in threads of ours: as many as it can make use of.

Each thread has a handle of its own on the store, opened with its first job.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sloth_runner.plain import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from sloth_runner.state.writer import Writer

Done: TypeAlias = Callable[[Any, BaseException | None], None]
"""Told, in the worker's thread, what a job came to: its result, or what it raised."""


class Workers:
    """Up to ``most`` threads, begun as they are needed. ``open_writer`` gives each its handle."""

    def __init__(self, most: int, open_writer: Callable[[], Writer]) -> None:
        self.most = most
        self._open = open_writer
        self._jobs: deque[tuple[Callable[[Writer], Any], Done]] = deque()
        self._change = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def do(self, work: Callable[[Writer], Any], done: Done) -> None:
        """Have ``work`` done soon, by the next one who is free."""
        with self._change:
            self._jobs.append((work, done))
            if self._idle < len(self._jobs) and len(self._threads) < self.most:
                name = f"store-{len(self._threads) + 1}"
                self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
                self._threads[-1].start()
            else:
                self._change.notify()

    def close(self) -> None:
        """End the threads, after the jobs that they have."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        writer: Writer | None = None
        try:
            while (job := self._next()) is not None:
                work, done = job
                try:
                    writer = writer or self._open()
                    result = work(writer)
                except BaseException as error:
                    done(None, error)
                else:
                    done(result, None)
        finally:
            if writer is not None:
                writer.store.close()

    def _next(self) -> tuple[Callable[[Writer], Any], Done] | None:
        with self._change:
            self._idle += 1
            while not self._jobs and not self._closed:
                self._change.wait()
            self._idle -= 1
            return self._jobs.popleft() if self._jobs else None
