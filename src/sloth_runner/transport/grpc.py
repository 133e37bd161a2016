"""Why: an agent that runs as a service is reached at once, and a broken connection does not break what runs there.

One stream to each agent, with certificates on both sides; TLS compares the agent's certificate with the very
enrolment that we know. A connection that is lost is made anew for RECONNECT seconds, and the stream goes on where it
was (``agent.resuming``): no operation is done twice and no output is lost. Only if that fails is the line at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

from sloth_runner.agent.frames import BadFrame
from sloth_runner.agent.resuming import GOODBYE, HEADER, PIECE, Resumable
from sloth_runner.errors import BadConfig, Unreachable
from sloth_runner.plain import TYPE_CHECKING, Any, Final, NamedTuple
from sloth_runner.rpc import keepalive

if TYPE_CHECKING:
    from sloth_runner.transport.line import Channel

PORT: Final = 7443
SERVICE: Final = "/slothrunner.agent.v1.Agent/"
CONNECTING: Final = 10.0
"""Seconds within which an agent has to take the first connection."""
RECONNECT: Final = 20.0
"""Seconds for which a lost connection is made anew; an agent keeps the session a little longer."""
PAUSES: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
LOOK: Final = 1.0
"""Seconds between two looks whether the agent was revoked meanwhile."""
FINAL: Final = (
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "ABORTED",
    "INVALID_ARGUMENT",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
)
"""Answers after which it makes no sense to come again."""


class Access(NamedTuple):
    """How an agent is known and we to it: the name that TLS compares; our key, our certificate, the authority and its
    latest revocation list (PEM) with its number; whether the agent was revoked meanwhile; whether a certificate that
    ends then should be renewed, and what signs a request anew (its bundle, PEM)."""

    host: str
    key: bytes
    certificate: bytes
    authority: bytes
    revocations: bytes
    number: int
    revoked: Callable[[], bool]
    due: Callable[[float], bool]
    renew: Callable[[bytes], bytes]


class Told(NamedTuple):
    """What an agent says when a stream is opened: how much of it has come, the number of the revocation list that it
    knows, and when its certificate ends (seconds since the epoch)."""

    received: int
    revocations: int
    until: float


def parse(url: str) -> str:
    """``grpc://host[:port]`` as host:port. Raises BadConfig."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
    except ValueError as error:
        raise BadConfig(f"{url}: {error}", next=[f"grpc://host:{PORT}"]) from None
    odd = parts.username or parts.password or parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme != "grpc" or not parts.hostname or odd:
        raise BadConfig(f"{url}: an address such as grpc://host:{PORT} is needed, and nothing else in it")
    host = parts.hostname
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Dialer:
    """Makes connections to one agent."""

    def __init__(self, rpc: Any, address: str, access: Access) -> None:
        self._rpc = rpc
        self._address = address
        self._access = access

    def channel(self) -> Any:
        """A connection of grpc.aio's, made when something is asked over it."""
        import grpc.aio

        access = self._access
        credentials = _credentials(self._rpc, access.authority, access.key, access.certificate)
        options = [
            ("grpc.ssl_target_name_override", access.host),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", HEADER.size + PIECE),
            *keepalive(10.0, 5.0),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        return grpc.aio.secure_channel(self._address, credentials, options)

    async def ask(self, method: str, request: bytes, timeout: float = CONNECTING) -> bytes:
        """One of the methods that are not the stream. Raises Unreachable."""
        channel = self.channel()
        try:
            answer: bytes = await channel.unary_unary(SERVICE + method)(request, timeout=timeout)
            return answer
        except self._rpc.RpcError as error:
            raise self.told(error) from error
        finally:
            await channel.close()

    def told(self, error: Any) -> Unreachable:
        """Why an agent could not be reached, and what to do."""
        code, words = error.code().name, error.details() or ""
        place = f"grpc://{self._address}"
        steps = [f"does the agent run there, and does a firewall let us through to {self._address}?"]
        what = "can't be reached"
        if code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            what, steps = "refuses us", ["was it enrolled by another authority? sloth-runner agent ca show"]
        elif code in FINAL:
            what, steps = "does not go on with us", ["run again"]
        elif code == "DEADLINE_EXCEEDED":
            what = "does not answer in time"
        elif any(word in words.lower() for word in ("handshake", "ssl", "certificate", "verif", "peer name")):
            what = "is not who it should be, or does not believe that we are"
            steps = [
                "was it enrolled anew, or by another authority? sloth-runner agent list",
                "are both clocks right?",
            ]
        return Unreachable(
            f"{place}: the agent {what}",
            system=words or code,
            unchanged=["nothing was done there"],
            next=steps,
        )


@lru_cache(maxsize=2)
def _credentials(rpc: Any, authority: bytes, key: bytes, certificate: bytes) -> Any:
    """What all connections show and believe: one context of TLS for all of them, not one for each."""
    return rpc.ssl_channel_credentials(authority, key, certificate)


class GrpcChannel:
    """The stream to an agent, over as many connections as it takes. ``session``: 128 random bits in hex;
    ``patience``: seconds for which a lost connection is made anew."""

    def __init__(
        self, rpc: Any, dialer: Dialer, session: str, revoked: Callable[[], bool], patience: float
    ) -> None:
        self._rpc = rpc
        self._dialer = dialer
        self._session = session
        self._revoked = revoked
        self._patience = patience
        self._stream = Resumable()
        self._out: asyncio.Queue[bytes] = asyncio.Queue()
        self._in: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = asyncio.Event()
        self._ended = False
        self._why = ""
        self._work: asyncio.Task[None] | None = None
        self._connected = False
        self.connections = 0
        self.sent = self.received = self.trips = 0

    async def open(self) -> Told:
        """Make the first connection; what the agent says of itself. Raises Unreachable."""
        first: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._work = asyncio.create_task(self._keep_up(first))
        try:
            async with asyncio.timeout(CONNECTING):
                return await asyncio.shield(first)
        except BaseException as error:
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise Unreachable(
                    f"the agent did not answer within {CONNECTING:g} seconds",
                    unchanged=["nothing was done there"],
                ) from error
            raise

    def send(self, data: bytes) -> None:
        """See Channel."""
        self.sent += len(data)
        for message in self._stream.push(data):
            self._out.put_nowait(message)
        if self._stream.full:
            self._room.clear()

    async def drain(self) -> None:
        """See Channel."""
        while self._stream.full and not self._ended:
            await self._room.wait()
        if self._ended:
            raise ConnectionError(self._why)

    async def receive(self) -> bytes:
        """See Channel."""
        if self._ended and self._in.empty():
            return b""
        piece = await self._in.get()
        self.received += len(piece)
        return piece

    def away(self) -> bool:
        """See Channel."""
        return not self._connected

    def why(self) -> str:
        """See Channel."""
        return self._why

    async def aclose(self, *, idle: bool = False) -> None:
        """See Channel: the agent is told, and given time to end what it does."""
        self._closing.set()
        if self._work is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await asyncio.shield(self._work)
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        self._end("it was closed here")

    async def _keep_up(self, first: asyncio.Future[Told]) -> None:
        """Connect, and connect again, until it is over."""
        loop = asyncio.get_running_loop()
        tries, until = 0, 0.0
        while not self._closing.is_set():
            before = self.connections
            why, final = await self._once(first)
            if self.connections > before:
                tries, until = 0, loop.time() + self._patience
            if final:
                self._end(why)
            elif self._revoked():
                self._end("the agent was revoked")
            elif loop.time() > until:
                self._end(f"{why}; and could not be reached again for {self._patience:g} seconds")
            if self._ended:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSES[min(tries, len(PAUSES) - 1)]):
                    await self._closing.wait()
            tries += 1

    async def _once(self, first: asyncio.Future[Told]) -> tuple[str, bool]:
        """One connection: why it has ended, and whether it makes no sense to come again."""
        channel = self._dialer.channel()
        try:
            await self._carry(channel, first)
            return "the agent has closed the connection", False
        except self._rpc.RpcError as error:
            told = self._dialer.told(error)
            why = f"{told.message}: {told.system}"
            if first.done():
                return why, error.code().name in FINAL
            first.set_exception(told)
            return why, True
        except BadFrame as error:
            return f"what came is not understood: {error}", True
        finally:
            await channel.close()

    async def _carry(self, channel: Any, first: asyncio.Future[Told]) -> None:
        """Carry the stream over one connection until it ends."""
        call = channel.stream_stream(SERVICE + "Work")()
        tasks: list[asyncio.Task[None]] = []
        try:
            opening = {"session": self._session, "received": self._stream.received}
            await call.write(json.dumps(opening).encode())
            answer = await call.read()
            if not isinstance(answer, bytes):
                return  # it was ended in order; a failure is raised
            told = _told(answer)
            self._out = asyncio.Queue()
            for message in self._stream.resume(told.received):
                self._out.put_nowait(message)
            self.connections += 1
            self._connected = True
            if not first.done():
                first.set_result(told)
            tasks = [asyncio.create_task(part(call)) for part in (self._write, self._read, self._watch)]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._connected = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            call.cancel()

    async def _write(self, call: Any) -> None:
        while True:
            message = await self._out.get()
            async with self._writing:
                await call.write(message)

    async def _read(self, call: Any) -> None:
        while True:
            message = await call.read()
            if not isinstance(message, bytes):
                return
            data = self._stream.take(message)
            if not self._stream.full:
                self._room.set()
            if self._stream.owing:
                self._out.put_nowait(self._stream.note())
            if data:
                await self._in.put(data)

    async def _watch(self, call: Any) -> None:
        """Say goodbye when it is time, and hang up when the agent is revoked."""
        while not self._revoked():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._closing.wait()
            if self._closing.is_set():
                await self._writing.acquire()
                await call.write(GOODBYE)
                await call.done_writing()
                await asyncio.sleep(LOOK)
                return

    def _end(self, why: str) -> None:
        if not self._ended:
            self._ended, self._why = True, why
            self._room.set()
            if self._in.empty():
                self._in.put_nowait(b"")


def _told(answer: bytes) -> Told:
    try:
        told = Told(**json.loads(answer))
    except (ValueError, TypeError) as error:
        raise BadFrame(f"the agent does not begin as it should: {error}") from None
    if type(told.received) is not int or type(told.revocations) is not int:
        raise BadFrame("the agent does not begin as it should")
    return told


class GrpcLine:
    """A way to an agent that is a service. ``access`` is asked for at each opening: certificates change."""

    def __init__(
        self,
        url: str,
        access: Callable[[], Access],
        new_id: Callable[[], str],
        rpc: Any,
        patience: float = RECONNECT,
    ) -> None:
        self.address = url
        self._place = parse(url)
        self._access = access
        self._new_id = new_id
        self._rpc = rpc
        self._patience = patience

    async def open(self) -> Channel:
        """Open it. Raises Unreachable, AgentUnknown."""
        access = self._access()
        dialer = Dialer(self._rpc, self._place, access)
        channel = GrpcChannel(self._rpc, dialer, self._new_id(), access.revoked, self._patience)
        told = await channel.open()
        # What fails here is tried at the next opening: a third of the certificate's time is left, and its end is
        # shown by ``agent list``.
        with contextlib.suppress(Unreachable):
            if told.revocations < access.number:
                await dialer.ask("Revoke", access.revocations)
            if access.due(told.until):
                await dialer.ask("Accept", access.renew(await dialer.ask("Request", b"")))
        return channel
