"""Why: one program under asyncio's watch, without what hangs or breaks there.

asyncio's streams fail on long lines, and waiting for a pipe's end waits for every grandchild that holds it.
So output is taken from the protocol's own callbacks, the program's end counts as the end, and all that it
started stands in one process group that can be stopped together.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from sloth_runner.agent.output import Capture
from sloth_runner.model import Sink

POLL = 0.02
"""Seconds between two looks whether a process group is empty; the system tells nobody."""


class Watch(asyncio.SubprocessProtocol):
    """Hears a program's output and its end."""

    def __init__(self, limit: int, on_output: Sink) -> None:
        self.captures = {1: Capture(limit), 2: Capture(limit)}
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self.lost = asyncio.Event()
        self.failure: Exception | None = None
        self._open = {1, 2}
        self._on_output = on_output

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Some output."""
        self.captures[fd].add(data)
        try:
            self._on_output("stdout" if fd == 1 else "stderr", data)
        except Exception as error:  # whoever listens failed: told to the one who waits, not to the event loop
            self.failure = self.failure or error

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """A stream's end."""
        self._open.discard(fd)
        if not self._open:
            self.closed.set()

    def process_exited(self) -> None:
        """The program's end; its streams may still be held by what it started."""
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Everything is given back."""
        self.lost.set()


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event comes within that time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def stop(pid: int, watch: Watch, grace: float, send: Callable[[int, int], bool]) -> None:
    """End a process group: TERM, up to ``grace`` seconds to leave, KILL. Cancelled meanwhile: KILL at once.

    ``send(pid, signal)`` signals the group and says whether anyone is left in it.
    """
    try:
        if send(pid, signal.SIGTERM):
            loop = asyncio.get_running_loop()
            end = loop.time() + grace
            while loop.time() < end and send(pid, 0):
                await asyncio.sleep(POLL)
    finally:
        send(pid, signal.SIGKILL)
    await within(watch.exited, grace)


def send_to_group(pid: int, number: int) -> bool:
    """Signal a process group (0: only look); False if nobody is left in it. Raises PermissionError."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True
