"""Why: an agent may be a process on this machine: another user's, in another root, or one that a test looks at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from sloth_runner.errors import Unreachable
from sloth_runner.transport.line import Channel, greet
from sloth_runner.transport.told import last_lines

PIECE = 256 << 10
LAST_WORDS = 4096
ENDING = 20.0
"""Seconds that the agent may take to end once its input has."""


class PipeChannel:
    """An agent's standard input and output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.sent = self.received = self.trips = 0
        self._process = process
        self._rest = b""
        self._said = b""
        self._listening = asyncio.create_task(self._listen())

    def unread(self, data: bytes) -> None:
        """These bytes come first."""
        self._rest = data

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self.sent += len(data)
            self._process.stdin.write(data)

    async def drain(self) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.drain()

    async def receive(self) -> bytes:
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        assert self._process.stdout is not None
        piece = await self._process.stdout.read(PIECE)
        self.received += len(piece)
        return piece

    def why(self) -> str:
        """The last that the agent has said on its standard error, and how it ended."""
        code = self._process.returncode
        ended = "" if code is None else f"its process ended with status {code}"
        return "; ".join(filter(None, (ended, *last_lines(self._said))))

    def away(self) -> bool:
        return False  # it ends with its connection

    async def aclose(self, *, idle: bool = False) -> None:
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(ENDING):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        transport = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        while piece := await self._process.stderr.read(LAST_WORDS):
            self._said = (self._said + piece)[-LAST_WORDS:]


class PipeLine:
    """Starts an agent by a command: ``argv`` in ``env``; it has to begin like ``pack.command``'s."""

    def __init__(self, address: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.address = address
        self._argv = list(argv)
        self._env = dict(env)

    async def open(self) -> Channel:
        """Start it. Raises Unreachable."""
        from sloth_runner.agent.pack import packed

        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._env,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Unreachable(
                f"{self.address}: {self._argv[0]} can't be started: {error.strerror}",
                unchanged=["nothing was done there"],
            ) from error
        channel = PipeChannel(process)
        try:
            channel.unread(await greet(channel, packed(), self.address))
        except BaseException:
            await channel.aclose()
            raise
        return channel
