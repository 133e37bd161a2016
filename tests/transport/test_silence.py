"""Why: a machine may stand still with its connection open; it is waited for no longer than it has to be, and what
nobody knows then is said."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sloth_runner.agent import frames, wire
from sloth_runner.agent.frames import Reader
from sloth_runner.errors import Indeterminate
from sloth_runner.ops import Done, Exec, Ran, Write
from sloth_runner.transport.line import Channel
from sloth_runner.transport.remote import Remote

RAN = Ran(0, None, b"", b"", (False, False), False)


class Leaps(selectors.DefaultSelector):
    """Waits for nothing: where nothing is ready, time leaps to the next timer."""

    leapt = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        self.leapt += 0.0 if ready or timeout is None else timeout
        return ready


class Leaping(asyncio.SelectorEventLoop):
    """Hours on it take no time."""

    def __init__(self) -> None:
        self.leaps = Leaps()
        super().__init__(self.leaps)

    def time(self) -> float:
        return super().time() + self.leaps.leapt


class Scripted:
    """A channel to an agent whose every frame ``answer`` decides: what it says to one of ours."""

    def __init__(self, answer: Callable[[frames.Frame], bytes]) -> None:
        self.sent = self.received = self.trips = 0
        self._answer = answer
        self._reader = Reader()
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        hello = wire.Hello(wire.VERSION, "", (3, 8, 0), "me", 0, "/", 1)
        self._said.put_nowait(frames.message(frames.HELLO, 0, wire.dumps(hello)))

    def send(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            if said := self._answer(frame):
                self._said.put_nowait(said)

    async def drain(self) -> None:
        pass

    async def receive(self) -> bytes:
        return await self._said.get()

    def away(self) -> bool:
        return False

    async def aclose(self, *, idle: bool = False) -> None:
        self._said.put_nowait(b"")

    def why(self) -> str:
        return ""


class Slow(Scripted):
    """Contents take their time, and all that is said behind them waits."""

    def __init__(self, answer: Callable[[frames.Frame], bytes]) -> None:
        super().__init__(answer)
        self._behind: list[bytes] = []
        self._bringing = False

    def send(self, data: bytes) -> None:
        self._bringing = self._bringing or data[0] == frames.CONTENT
        self._behind.append(data)
        if not self._bringing:
            self._arrive()

    async def drain(self) -> None:
        if self._bringing:
            await asyncio.sleep(40)
            self._bringing = False
            self._arrive()

    def _arrive(self) -> None:
        behind, self._behind = self._behind, []
        super().send(b"".join(behind))


class Line:
    address = "test://web1"

    def __init__(self, channel: Scripted) -> None:
        self._channel = channel

    async def open(self) -> Channel:
        return self._channel


def there(
    answer: Callable[[frames.Frame], bytes],
    work: Callable[[Remote], Coroutine[Any, Any, Any]],
    make: type[Scripted] = Scripted,
) -> Any:
    async def go() -> Any:
        remote = Remote("web1", Line(make(answer)))
        try:
            return await work(remote)
        finally:
            await remote.aclose()

    with asyncio.Runner(loop_factory=Leaping) as runner:
        return runner.run(go())


def mute(frame: frames.Frame) -> bytes:
    return b""


def program(timeout: float | None = None) -> Exec:
    return Exec("it", ("true",), cwd="/", timeout=timeout)


def test_a_timeout_holds_where_nobody_answers() -> None:
    with pytest.raises(Indeterminate, match="whether it was done is not known") as caught:
        there(mute, lambda remote: remote.do(program(3.0)))
    assert caught.value.system == "no answer within 3 seconds, and the agent is not there"


def test_what_nobody_says_has_stopped_is_not_taken_for_stopped() -> None:
    async def cancelled(remote: Remote) -> None:
        work = asyncio.create_task(remote.do(program()))
        await asyncio.sleep(1)
        work.cancel()
        await work

    with pytest.raises(Indeterminate, match="whether what was under way has stopped is not known"):
        there(mute, cancelled)


def test_an_agent_that_is_there_is_waited_for() -> None:
    asked: list[int] = []
    signs: list[int] = []

    def busy(frame: frames.Frame) -> bytes:
        if frame.kind == frames.REQUEST:
            asked.append(frame.number)
        if frame.kind != frames.PING:
            return b""
        signs.append(frame.number)
        if len(signs) == 100:
            return frames.message(frames.RESULT, asked[0], wire.dumps(RAN))
        return frames.message(frames.PONG, frame.number)

    assert there(busy, lambda remote: remote.do(program(3.0))) == RAN


class Asleep(Scripted):
    """Before its answers are heard, we are asleep for a while."""

    begun = False

    async def receive(self) -> bytes:
        heard = await super().receive()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Leaping)
        if self.begun:
            loop.leaps.leapt += 300.0
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        self.begun = True
        return heard


def test_after_a_sleep_of_ours_nobody_is_taken_for_gone() -> None:
    signs: list[int] = []

    def busy(frame: frames.Frame) -> bytes:
        if frame.kind != frames.PING:
            return b""
        signs.append(frame.number)
        if len(signs) == 10:
            return frames.message(frames.RESULT, 1, wire.dumps(RAN))
        return frames.message(frames.PONG, frame.number)

    assert there(busy, lambda remote: remote.do(program()), Asleep) == RAN
    signs.clear()
    assert there(busy, lambda remote: remote.do(program(3.0)), Asleep) == RAN


class Broken(Scripted):
    """It ends while a content is on its way, and says why."""

    async def drain(self) -> None:
        if not self._said.qsize():
            self._said.put_nowait(b"")
        raise ConnectionResetError

    def why(self) -> str:
        return "it was ended by SIGKILL"


@pytest.mark.parametrize("content", [b"small", b"x" * 10_000])
def test_why_a_line_broke_is_told_though_it_broke_while_we_spoke(content: bytes) -> None:
    with pytest.raises(Indeterminate) as caught:
        there(mute, lambda remote: remote.do(Write("/f", content)), Broken)
    assert caught.value.system == "it was ended by SIGKILL"


def test_a_sign_of_life_may_stand_behind_a_content_that_is_on_its_way() -> None:
    def answer(frame: frames.Frame) -> bytes:
        if frame.kind == frames.REQUEST and frame.number == 2:
            done = frames.message(frames.RESULT, 2, wire.dumps(Done(True)))
            return frames.message(frames.RESULT, 1, wire.dumps(RAN)) + done
        return frames.message(frames.PONG, frame.number) if frame.kind == frames.PING else b""

    async def both(remote: Remote) -> Any:
        ran = asyncio.create_task(remote.do(program(3.0)))
        await asyncio.sleep(1)
        return await asyncio.gather(ran, remote.do(Write("/f", b"x" * 10_000)))

    assert there(answer, both, Slow) == [RAN, Done(True)]
