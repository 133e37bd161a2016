"""Why: a connection may end between any two frames, or in one; nothing is done twice, and what is told is true."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sloth_runner.agent.frames import HEADER
from sloth_runner.agent.pack import command, packed
from sloth_runner.errors import Indeterminate, Unreachable
from sloth_runner.ops import Batch, Exec, MakeDir, Remove, Stat, Write
from sloth_runner.transport.line import Channel
from sloth_runner.transport.pipe import PipeChannel, PipeLine
from sloth_runner.transport.remote import Remote
from tests.transport.test_pipe import wait_until

if TYPE_CHECKING:
    from sloth_runner.ops import Op


class Cut:
    """A channel that ends after so many frames (there and back), or so many bytes of the next one."""

    def __init__(self, inner: PipeChannel, frames: int, more: int) -> None:
        self._inner = inner
        self._left = frames
        self._more = more
        self._heard = b""
        self._over = False
        self.frames = 0
        self.trips = 0

    sent = property(lambda self: self._inner.sent)
    received = property(lambda self: self._inner.received)

    def send(self, data: bytes) -> None:
        while data and not self._over:
            size = HEADER.size + HEADER.unpack_from(data)[2]
            self._pass(data[:size], self._inner.send)
            data = data[size:]

    async def drain(self) -> None:
        if self._over:
            raise ConnectionResetError("it was cut")
        await self._inner.drain()

    async def receive(self) -> bytes:
        while not self._over:
            whole = len(self._heard) >= HEADER.size and HEADER.unpack_from(self._heard)[2] + HEADER.size
            if whole and len(self._heard) >= whole:
                frame, self._heard = self._heard[:whole], self._heard[whole:]
                got: list[bytes] = []
                self._pass(frame, got.append)
                if got:
                    return got[0]
                continue
            piece = await self._inner.receive()
            if not piece:
                return b""
            self._heard += piece
        return b""

    def _pass(self, frame: bytes, on: Any) -> None:
        self.frames += 1
        if self._left > 0:
            self._left -= 1
            on(frame)
            return
        if self._more:
            on(frame[: self._more])
        self._over = True
        process = self._inner._process
        assert process.stdin is not None
        process.stdin.close()

    async def aclose(self, *, idle: bool = False) -> None:
        await self._inner.aclose()

    def away(self) -> bool:
        return False

    def why(self) -> str:
        return "it was cut"


class CuttingLine:
    """The first line that is opened is cut; later ones are not."""

    address = "pipe://"

    def __init__(self, inner: PipeLine, frames: int, more: int) -> None:
        self._inner = inner
        self._cut: tuple[int, int] | None = (frames, more)
        self.first: Cut | None = None

    async def open(self) -> Channel:
        channel = await self._inner.open()
        if self._cut is None:
            return channel
        assert isinstance(channel, PipeChannel)
        self.first, self._cut = Cut(channel, *self._cut), None
        return self.first


def appends(folder: Path, word: str) -> Exec:
    """Leaves a trace each time it is done; what it starts would live on, if it were not stopped with it."""
    return Exec(word, line=f"echo {word} >> {folder}/log; sleep 0.02")


def lasting(folder: Path) -> Exec:
    """Is under way when the end comes, more often than not."""
    return Exec("lasting", line=f"echo lasting >> {folder}/log; sleep 100 & sleep 0.1; kill $!")


def work(folder: Path) -> Iterator[Op]:
    """Operations of all sorts; each that changes something does it in a way that can be counted."""
    yield Stat(str(folder))
    yield appends(folder, "one")
    yield Write(str(folder / "a"), os.urandom(20_000))
    yield Batch(
        (MakeDir(str(folder / "d"), 0o755), appends(folder, "two"), Stat(str(folder / "a"), digest=True))
    )
    yield lasting(folder)
    yield Write(str(folder / "a"), b"short")
    yield Remove(str(folder / "d"))
    yield appends(folder, "three")


async def played(folder: Path, home: Path, frames: int, more: int) -> tuple[list[tuple[Op, str]], int]:
    """How each operation ended (ok, unknown, unreachable), and how many frames the first line carried."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    line = CuttingLine(PipeLine("pipe://", ["/bin/sh", "-c", command(packed().name)], env), frames, more)
    remote = Remote("web1", line)
    ended: list[tuple[Op, str]] = []
    try:
        for op in work(folder):
            try:
                await remote.do(op)
                ended.append((op, "ok"))
            except Indeterminate:
                ended.append((op, "unknown"))
            except Unreachable:
                ended.append((op, "unreachable"))
    finally:
        await remote.aclose()
    return ended, line.first.frames if line.first is not None else 0


def left_over(home: Path) -> list[str]:
    """Processes that belong to the agents of this home."""
    mark, found = f"HOME={home}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(folder.name)
            except OSError:
                pass
    return found


def check(folder: Path, ended: list[tuple[Op, str]]) -> None:
    """What was told is true: done is done, once; not known is done at most once; the rest was not."""
    done = (folder / "log").read_text().split() if (folder / "log").exists() else []
    for op, how in ended:
        for one in op.ops if isinstance(op, Batch) else (op,):
            if isinstance(one, Exec):
                count = done.count(one.label)
                assert count == 1 if how == "ok" else count == 0 if how == "unreachable" else count <= 1, (
                    op,
                    how,
                    done,
                )
    last = next(how for op, how in ended if isinstance(op, Write) and op.content == b"short")
    if last == "ok":
        assert (folder / "a").read_bytes() == b"short"
    assert sum(how == "unknown" for _, how in ended) <= 1, "one cut, one doubt"
    hidden = [path.name for path in folder.rglob(".*")]
    assert hidden == [], "a temporary file is left"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the agents of these tests live."""
    return tmp_path_factory.mktemp("agents")


def test_at_frame_boundaries_and_between_them(home: Path, tmp_path: Path, soak: bool) -> None:
    """Every boundary between frames once, then places at random (with --soak: a thousand)."""
    whole = tmp_path / "whole"
    whole.mkdir()
    ended, count = asyncio.run(played(whole, home, 1 << 30, 0))
    assert {how for _, how in ended} == {"ok"} and count > 15
    check(whole, ended)
    places = [(frames, 0) for frames in range(count + 1)]
    some = random.Random(7)
    places += [(some.randrange(count), some.randrange(1, 40)) for _ in range(1000 if soak else 25)]
    seen: set[str] = set()
    for number, place in enumerate(places):
        folder = tmp_path / str(number)
        folder.mkdir()
        ended, _ = asyncio.run(played(folder, home, *place))
        check(folder, ended)
        seen.update(how for _, how in ended)
    assert seen >= {"ok", "unknown"}
    wait_until(lambda: not left_over(home))
