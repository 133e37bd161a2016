"""Why: a network is far more often slow than narrow; what a round trip costs shows only where one takes its time."""

from __future__ import annotations

import asyncio
import threading
from typing import NamedTuple


class Counted(NamedTuple):
    """What went through: bytes each way, and flights: how often the client spoke after the server had."""

    up: int
    down: int
    flights: int
    connections: int


class Delay:
    """Passes connections to ``port`` on to ``target`` on loopback, each byte ``seconds`` late each way, in order."""

    def __init__(self, target: int, seconds: float) -> None:
        self._target = target
        self._seconds = seconds
        self._count = [0, 0, 0, 0]
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def taken(self) -> Counted:
        """What went through since the last time."""
        found, self._count = Counted(*self._count), [0, 0, 0, 0]
        return found

    def close(self) -> None:
        """Pass nothing on any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count[3] += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        spoke = [1]  # who was heard last
        await asyncio.gather(self._pass(reader, back, 0, spoke), self._pass(there, writer, 1, spoke))

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: int, spoke: list[int]
    ) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0
        while True:
            try:
                piece = await source.read(1 << 16)
            except OSError:
                piece = b""
            self._count[way] += len(piece)
            if piece and way == 0 and spoke[0] == 1:
                self._count[2] += 1
            if piece:
                spoke[0] = way
            last = max(last, loop.time() + self._seconds)
            loop.call_at(last, _deliver, sink, piece)
            if not piece:
                return


def _deliver(sink: asyncio.StreamWriter, piece: bytes) -> None:
    if piece:
        sink.write(piece)
    else:
        sink.close()
