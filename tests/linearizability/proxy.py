"""Why: a network fails in more ways than by being away: bytes stop anywhere, in either direction, or come too late.

``Proxy`` stands between clients and one server, on loopback. What it does to what passes is changed while it runs.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final, NamedTuple

CHUNK = 1 << 16
REQUEST, REPLY = "request", "reply"
MODES: Final = ("cut", "deaf", "mute", "late", "slow", "refuse")
"""Connections are cut after some bytes more, in either direction; replies vanish, and then the connection; requests
do; requests come long after they were sent, even if their sender has given up; everything takes a while; there is no
connection to be had."""


class Mode(NamedTuple):
    """``kind`` of MODES or "pass"; ``delay``: seconds by which what is late is late."""

    kind: str = "pass"
    delay: float = 0.0


class _Link:
    """One connection through the proxy. ``first``: its first bytes, where they count; ``budget``: bytes that still
    pass before it is cut, and in which direction; ``doomed``: bytes of it are missing, it can only be ended."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = list(writers)
        self.first = b""
        self.budget: tuple[str, int] | None = None
        self.doomed = False

    def end(self, *, hard: bool = False) -> None:
        """End both sides: in order, or with a reset."""
        for writer in self.writers:
            if hard and not writer.is_closing():
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            writer.close()


class Proxy:
    """Listens on ``port`` of loopback for what is meant for ``target`` there. ``blocks`` is told how each connection
    began (its first bytes) and says whether to let nothing through it."""

    def __init__(
        self, target: int, rng: random.Random, blocks: Callable[[bytes], bool] | None = None
    ) -> None:
        self.target = target
        self._rng = rng
        self._blocks = blocks
        self._mode = Mode()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """End, and all connections with it."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def arm(self, kind: str, delay: float = 0.0) -> None:
        """From now on do this to all connections."""
        self._loop.call_soon_threadsafe(self._change, Mode(kind, delay))

    def heal(self) -> None:
        """Let everything pass again. Connections that have lost bytes end."""
        self._loop.call_soon_threadsafe(self._change, Mode())

    def _change(self, mode: Mode) -> None:
        self._mode = mode
        for link in list(self._links):
            if link.doomed or mode.kind == "refuse":
                link.end(hard=self._rng.random() < 0.5)
            link.budget = self._draw()

    def _draw(self) -> tuple[str, int] | None:
        if self._mode.kind != "cut":
            return None
        size = self._rng.choice((0, self._rng.randrange(64), self._rng.randrange(2000)))
        return (self._rng.choice((REQUEST, REPLY)), size)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._socket)
        self._ready.set()
        await self._over.wait()
        server.close()
        for link in list(self._links):
            link.end()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection from its beginning to its end."""
        link = _Link(to_client)
        self._links.add(link)
        try:
            if self._mode.kind == "refuse":
                return
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
            link.writers.append(to_server)
            link.budget = self._draw()
            if self._blocks is not None:
                link.first = await client.read(CHUNK)
            await asyncio.gather(
                self._pump(link, client, to_server, REQUEST, link.first),
                self._pump(link, server, to_client, REPLY),
            )
        except OSError:
            pass
        finally:
            self._links.discard(link)
            link.end()

    async def _pump(
        self,
        link: _Link,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        way: str,
        first: bytes = b"",
    ) -> None:
        """One direction; its end is the connection's."""
        try:
            data = first or await source.read(CHUNK)
            while data and await self._pass(link, data, sink, way):
                data = await source.read(CHUNK)
        except OSError:
            pass
        finally:
            link.end()

    async def _pass(self, link: _Link, data: bytes, sink: asyncio.StreamWriter, way: str) -> bool:
        """Let a piece through, or what the mode leaves of it; False: the connection is at its end."""
        kind, delay = self._mode
        blocked = self._blocks is not None and self._blocks(link.first)
        if link.doomed or blocked or (kind, way) in (("deaf", REPLY), ("mute", REQUEST)):
            link.doomed = True
            return True
        if kind == "slow" or (kind, way) == ("late", REQUEST):
            await asyncio.sleep(delay if kind == "late" else self._rng.random() * delay)
        if link.budget is not None and link.budget[0] == way:
            left = link.budget[1] - len(data)
            link.budget = (way, left)
            if left <= 0:
                sink.write(data[: len(data) + left])
                await sink.drain()
                link.end(hard=self._rng.random() < 0.5)
                return False
        sink.write(data)
        await sink.drain()
        return True
