"""Why: one open line is a conversation: numbered questions, answers in any order, contents that were said before."""

from __future__ import annotations

import asyncio
import contextlib
import os
from hashlib import sha256

from sloth_runner.agent import frames, wire
from sloth_runner.agent.frames import BadFrame, Reader
from sloth_runner.errors import TaskFailed, Unreachable
from sloth_runner.ops import Batch, Exec, Fetch, OpError, Reach, Unpack, Write
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.transport.told import stopped_unseen, timed_out, unstoppable

if TYPE_CHECKING:
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.line import Channel
    from sloth_runner.transport.remote import Core

PATIENCE = 300.0
"""Seconds of silence after which the agent takes us for gone."""
HEARTBEAT = 20.0
"""Seconds between two signs of life."""
SILENCE = 3
"""Signs of life without an answer after which the line is given up. They are counted, as are looks: we may have been
asleep ourselves, and what came meanwhile is heard only then."""
OPENING = 30.0
"""Seconds that an agent may take to say its first word."""
STOPPING = 15
"""Seconds that an operation may take to stop."""
LOOK = 1.0
"""Seconds between two looks whether anybody is there, when an answer is late."""
MUTE = 15
"""Looks that an agent whose answer is late may leave us without a sign of life."""
APART = 4 << 10
"""Bytes from which a content travels by itself, once for each digest."""


class Cut(Exception):
    """The line has ended."""


class Late(Exception):
    """The answer is late, and nobody is there who could be asked; the line may come back."""


class Wire:
    """One open line: numbers of requests, who waits for which, contents that have gone over it."""

    def __init__(self, channel: Channel, address: str, owner: Core) -> None:
        self._channel = channel
        self._address = address
        self._owner = owner
        self._reader = Reader()
        self._waiting: dict[int, tuple[asyncio.Future[Any], Sink]] = {}
        self._number = 0
        self._seen = 0
        self._unseen: set[int] = set()
        self._contents: set[str] = set()
        self._sending = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = 0
        self.ended = False
        self.why = ""

    @staticmethod
    async def begin(channel: Channel, address: str, password: str | None, owner: Core) -> Wire:
        """Exchange the first frames. Raises Unreachable."""
        self = Wire(channel, address, owner)
        try:
            async with asyncio.timeout(OPENING):
                await self._hello(password)
        except BaseException as error:
            await channel.aclose()
            if isinstance(error, TimeoutError | BadFrame | wire.Malformed | ConnectionError):
                raise Unreachable(
                    f"{address}: the agent does not answer as it should",
                    system=str(error) or f"nothing came within {OPENING:g} seconds",
                    unchanged=["nothing was done there"],
                ) from error
            raise
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
        return self

    async def _hello(self, password: str | None) -> None:
        while True:
            piece = await self._receive()
            if not piece:
                raise ConnectionError(self._channel.why() or "the connection was closed")
            for frame in self._reader.feed(piece):
                hello = wire.loads(frame.payload, wire.Hello) if frame.kind == frames.HELLO else None
                if hello is None or hello.version != wire.VERSION:
                    said = "something else" if hello is None else f"version {hello.version}"
                    raise BadFrame(f"the agent speaks {said}, this is version {wire.VERSION} of the protocol")
                start = wire.Start(wire.VERSION, os.urandom(16).hex(), PATIENCE, password)
                self._send(frames.message(frames.START, 0, wire.dumps(start)))
                self._owner.note(trips=1 + self._channel.trips, lines=1)
                return

    async def ask(self, op: Op, on_output: Sink, user: str | None) -> Result:
        """Have an operation performed. Raises Cut or Late when no answer came, and what the operation raises."""
        for _ in range(3):
            light, contents = _apart(op)
            await self._bring(contents)
            reply = await self._request(light, on_output, user)
            if not isinstance(reply, wire.Lacking):
                return self._result(reply)
            self._contents.discard(reply.digest)  # it was let go there; nothing was done
        raise TaskFailed(
            f"{self._address}: what a file is to hold does not arrive there whole",
            unchanged=["nothing was done there"],
        )

    async def _request(self, op: Any, on_output: Sink, user: str | None) -> Any:
        if self.ended:
            raise Cut(self.why)
        self._number += 1
        number = self._number
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._owner.note(requests=1, trips=0 if self._waiting else 1)
        self._waiting[number] = (future, on_output)
        payload = wire.dumps(wire.Request(op, self._seen, user))
        try:
            for frame in frames.frames(frames.REQUEST, number, payload):
                self._send(frame)
            await self._channel.drain()
            return await self._answer(number, future, _limit(op))
        except ConnectionError as error:
            future.cancel()  # nobody waits for it
            await self._broke(error)
            raise Cut(self.why) from error
        except asyncio.CancelledError:
            await self._cancel(number, future)
            raise
        finally:
            self._waiting.pop(number, None)

    async def _answer(self, number: int, future: asyncio.Future[Any], seconds: float | None) -> Any:
        """The answer, which has to come within so many seconds if it can."""
        await asyncio.wait([future], timeout=seconds)
        heard = quiet = 0
        while not future.done():
            # A content takes its time, and a sign of life may stand behind it.
            if self._heard != heard or self._sending.locked():
                heard, quiet = self._heard, 0
            if self._channel.away() or quiet > MUTE:
                self._send(frames.message(frames.CANCEL, number))
                raise Late(f"no answer within {seconds:g} seconds, and the agent is not there")
            self._send(frames.message(frames.PING, 0))
            await asyncio.wait([future], timeout=LOOK)
            quiet += 1
        return future.result()

    async def _cancel(self, number: int, future: asyncio.Future[Any]) -> None:
        """Have it stopped, and wait for that; a failure to stop it is raised instead."""
        if self.ended or future.done():
            return
        self._send(frames.message(frames.CANCEL, number))
        for _ in range(STOPPING):
            await asyncio.wait([future], timeout=LOOK)
            if future.done():
                break
            if self._channel.away():
                raise stopped_unseen(self._address, self._owner.agent, "the connection is lost")
        if not future.done():
            raise stopped_unseen(self._address, self._owner.agent, f"no answer within {STOPPING} seconds")
        if future.exception() is None and isinstance(future.result(), wire.Unstoppable):
            raise unstoppable(*future.result())

    async def _bring(self, contents: dict[str, bytes]) -> None:
        async with self._sending:  # one content at a time
            for digest, content in contents.items():
                if digest in self._contents or self.ended:
                    continue
                for frame in frames.frames(frames.CONTENT, 0, content, bytes.fromhex(digest)):
                    self._send(frame)
                    try:
                        await self._channel.drain()
                    except ConnectionError as error:
                        await self._broke(error)
                        return  # the request will notice
                self._contents.add(digest)

    def _result(self, reply: Any) -> Result:
        if not isinstance(reply, wire.FAILURES):
            return reply  # type: ignore[no-any-return] # it was read as a result
        if isinstance(reply, wire.Refused):
            error = OpError(reply.kind, reply.path, reply.reason, partial=reply.partial)
            error.results = reply.results
            raise error
        if isinstance(reply, wire.Overran):
            raise timed_out(*reply)
        if isinstance(reply, wire.Unstoppable):
            raise unstoppable(*reply)
        said = reply.text if isinstance(reply, wire.Broken) else f"it answers {type(reply).__name__.lower()}"
        raise TaskFailed(f"{self._address}: the agent failed: {said}", target=self._owner.agent)

    async def _listen(self) -> None:
        try:
            while piece := await self._receive():
                for frame in self._reader.feed(piece):
                    self._take(frame)
            self._end(self._channel.why())
        except (BadFrame, wire.Malformed) as error:
            self._end(f"what came is not understood: {error}")
        except (OSError, EOFError) as error:
            self._end(str(error))

    def _take(self, frame: frames.Frame) -> None:
        kind, number = frame.kind, frame.number
        waiting = self._waiting.get(number)
        if kind == frames.OUTPUT:
            if waiting is not None and frame.payload:
                _tell(waiting, frame.payload)
        elif kind in (frames.RESULT, frames.FAILURE):
            classes = wire.FAILURES if kind == frames.FAILURE else (*wire.RESULTS, tuple)
            value = wire.loads(frame.payload, *classes)
            self._unseen.add(number)
            while self._seen + 1 in self._unseen:
                self._seen += 1
                self._unseen.discard(self._seen)
            if waiting is not None and not waiting[0].done():
                waiting[0].set_result(value)
        elif kind == frames.PING:
            self._send(frames.message(frames.PONG, number))
        elif kind != frames.PONG:
            raise BadFrame(f"an agent sends no frame of kind {kind}")

    async def _beat(self) -> None:
        heard = quiet = 0
        while not self.ended:
            await asyncio.sleep(HEARTBEAT)
            heard, quiet = self._heard, 0 if self._heard != heard else quiet + 1
            if quiet > SILENCE:
                self._end(f"nothing was heard for {SILENCE * HEARTBEAT:g} seconds")
                await self._channel.aclose()
                return
            self._send(frames.message(frames.PING, 0))

    async def _receive(self) -> bytes:
        piece = await self._channel.receive()
        self._heard += 1
        return piece

    def _send(self, data: bytes) -> None:
        if not self.ended:
            self._channel.send(data)

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes sent and received."""
        return self._channel.sent, self._channel.received

    async def _broke(self, error: ConnectionError) -> None:
        """Nothing can be said any more; who listens hears why."""
        await asyncio.wait(self._tasks[:1], timeout=LOOK)
        self._end(str(error))

    def _end(self, why: str) -> None:
        self.ended = True
        self.why = self.why or why
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(Cut(self.why))

    async def aclose(self) -> None:
        """Hang up."""
        idle = self._seen == self._number  # all that was asked for was answered
        self._end("it was closed here")
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.aclose(idle=idle)


def _tell(waiting: tuple[asyncio.Future[Any], Sink], payload: bytes) -> None:
    """Output for whoever waits; if that fails, it is told to the one who waits, not to the line."""
    try:
        waiting[1]("stderr" if payload[0] == 2 else "stdout", payload[1:])
    except Exception as error:
        if not waiting[0].done():
            waiting[0].set_exception(error)


def _limit(op: Any) -> float | None:
    """Seconds after which an operation should have ended, one way or the other; None: it has no such limit."""
    limits = [one.timeout for one in _each(op) if isinstance(one, Exec | Fetch | Reach)]
    return sum(one for one in limits if one is not None) if limits and None not in limits else None


def _each(op: Any) -> list[Any]:
    if isinstance(op, Batch):
        return [inner for one in op.ops for inner in _each(one)]
    return [op.op] if isinstance(op, wire.Kept) else [op]


def _apart(op: Any) -> tuple[Any, dict[str, bytes]]:
    """An operation without its contents, and these by digest; small ones stay in it."""
    if isinstance(op, Batch):
        parts = [_apart(one) for one in op.ops]
        contents = {digest: content for _, found in parts for digest, content in found.items()}
        return op._replace(ops=tuple([light for light, _ in parts])) if contents else op, contents
    field = "content" if isinstance(op, Write | Unpack) else "body" if isinstance(op, Fetch) else None
    content = None if field is None else getattr(op, field)
    if field is None or content is None or len(content) < APART:
        return op, {}
    digest = sha256(content).hexdigest()
    return wire.Kept(op._replace(**{field: b""}), digest), {digest: content}
