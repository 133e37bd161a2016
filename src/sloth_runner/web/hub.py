"""Why: what changes is told to every open page at once, and to none of them more often than a page can follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

PAUSE = 0.25
"""Seconds between two messages to one page: what happens in between is told together."""
BEAT = 15.0
"""Seconds of silence after which a page is told that the line is alive."""
MOST = 200
"""Pages that may listen at once."""


class Hub:
    """Pages that listen. ``tell`` may be called from any thread, all else from the event loop's."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: set[_Listener] = set()
        self._closed = False
        self.told = 0
        """How often something was told: a page that was made before must be made again."""

    @property
    def listening(self) -> int:
        """How many pages listen."""
        return len(self._listeners)

    def tell(self, topics: frozenset[str]) -> None:
        """Something about these has changed."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(self._publish, topics)
            except RuntimeError:  # it was closed in between
                return

    @property
    def full(self) -> bool:
        """Whether no more may listen."""
        return len(self._listeners) >= MOST

    def bind(self) -> None:
        """From now on messages go through the event loop that runs here."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """All lines end."""
        self._closed = True
        self._publish(frozenset())

    async def listen(self, good: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Messages as an event stream, until the hub is closed, or at a beat when it is no longer ``good``."""
        listener = _Listener()
        self._listeners.add(listener)
        try:
            yield f"retry: 1000\n\nevent: hello\ndata: {self.told}\n\n".encode()
            while not self._closed:
                try:
                    await asyncio.wait_for(listener.woken.wait(), BEAT)
                except TimeoutError:
                    if not good():
                        return
                    yield b": still here\n\n"
                    continue
                topics = listener.take()
                if topics:
                    yield f"event: change\ndata: {' '.join(sorted(topics))}\n\n".encode()
                    await asyncio.sleep(PAUSE)
        finally:
            self._listeners.discard(listener)

    def _publish(self, topics: frozenset[str]) -> None:
        self.told += 1
        for listener in self._listeners:
            listener.put(topics)


class _Listener:
    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self._topics: set[str] = set()

    def put(self, topics: frozenset[str]) -> None:
        self._topics |= topics
        self.woken.set()

    def take(self) -> set[str]:
        self.woken.clear()
        taken, self._topics = self._topics, set()
        return taken
