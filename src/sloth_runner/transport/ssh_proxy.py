"""Why: a ProxyCommand is a program of ours. A shell reads it, as ssh has it; what it says on its standard error is
told where the way fails, and is no part of the connection; and it has ended when the connection has.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess

from sloth_runner.transport.base import discard
from sloth_runner.transport.process import Watch, send_to_group, stop, within
from sloth_runner.transport.told import last_lines

ENDING = 10.0
"""Seconds that it may take to end."""
TELLING = 2.0
"""Seconds between the end of the connection and word of how it ended."""
LAST_WORDS = 4096


class Proxy:
    """A program whose standard input and output lead to a machine; ``sock`` is our end of them."""

    def __init__(self, sock: socket.socket, transport: asyncio.SubprocessTransport, watch: Watch) -> None:
        self.sock = sock
        self._transport = transport
        self._watch = watch
        self._stopped = False

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._transport.get_returncode() is not None and not self._stopped

    def why(self) -> list[str]:
        """How it ended, if it did by itself, and the last that it has said."""
        ended = (
            [f"its ProxyCommand ended with status {self._transport.get_returncode()}"] if self.ended else []
        )
        return [*ended, *last_lines(self._watch.captures[2].content())]

    async def fall(self) -> None:
        """It has closed the connection: hear why."""
        await within(self._watch.lost, TELLING)

    async def aclose(self, *, fell: bool = False) -> None:
        """End it, and wait until it has ended. ``fell``: it has closed the connection."""
        if fell:
            await self.fall()
        self.sock.close()
        with contextlib.suppress(
            PermissionError
        ):  # another user's: its input has ended, which is all we can do
            if not self._watch.exited.is_set():
                self._stopped = True
                await stop(self._transport.get_pid(), self._watch, ENDING, send_to_group)
            self._transport.close()
        await within(self._watch.lost, ENDING)


async def start(line: str) -> Proxy:
    """Start one. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            transport, watch = await asyncio.get_running_loop().subprocess_exec(
                lambda: Watch(LAST_WORDS, discard), "/bin/sh", "-c", f"exec {line}",
                stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
    except BaseException:
        ours.close()
        raise
    return Proxy(ours, transport, watch)
