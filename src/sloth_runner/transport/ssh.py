"""Why: a machine that has an SSH server and Python needs nothing else, neither a daemon nor an installation.

One connection and one agent for each machine, its frames on the standard input and output of one command. Host keys
are checked against known_hosts, always: a key that is not in there is told, never accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sloth_runner.errors import FILES_LACK, MORE_FILES, BadConfig, Unreachable, lacks_files
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.transport.line import Channel, greet
from sloth_runner.transport.ssh_hosts import HostKeys, told_host_key
from sloth_runner.transport.ssh_keys import unusable
from sloth_runner.transport.ssh_proxy import Proxy, start
from sloth_runner.transport.ssh_settings import Target, load_target
from sloth_runner.transport.told import last_lines

if TYPE_CHECKING:
    import asyncssh

CONNECTING = 10.0
"""Seconds within which a server has to accept the connection."""
LOGIN = 20.0
"""Seconds within which keys are exchanged and the user is known."""
ENDING = 10.0
"""Seconds that an agent that was at work may take to end."""
TELLING = 2.0
"""Seconds between the end of an agent's output and word of how it ended."""
WINDOW = 4 << 20
PIECE = 256 << 10
LAST_WORDS = 4096


class Way(NamedTuple):
    """What the URL of an agent says, and its table: where to, as whom, with which Python and secrets."""

    host: str
    port: int | None = None
    user: str | None = None
    python: str | None = None
    password: str | None = None
    passphrase: str | None = None


def parse(url: str) -> Way:
    """``ssh://[user@]host[:port]``. Raises BadConfig."""
    user = url.rpartition("@")[0].removeprefix("ssh://")
    if ":" in user:
        raise BadConfig(
            "the URL of an agent holds a password, which would be shown in many places",
            next=[
                'leave it out, and name the variable that holds it: password_env = "NAME"',
                "better: use a key",
            ],
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadConfig(f"{url}: {error}", next=["ssh://user@host:22"]) from None
    if (
        parts.scheme != "ssh"
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise BadConfig(f"{url}: an address such as ssh://user@host:22 is needed, and nothing after it")
    user = unquote(parts.username or "")
    if parts.hostname.startswith("-") or user.startswith("-"):
        raise BadConfig(f"{url}: neither user nor host begins with a dash")
    if _UNFIT.search(user) or user.endswith("\\") or _UNFIT_HOST.search(parts.hostname):
        raise BadConfig(f"{url!r}: neither user nor host has characters that mean something to a shell")
    return Way(parts.hostname, port, user or None)


_UNFIT = re.compile(r"""['`"$;&<>|(){}\x00-\x20\x7f]""")
"""A ProxyCommand may hold them, and a shell reads it (as ssh(1), which refuses them for the same reason)."""
_UNFIT_HOST = re.compile(rf"{_UNFIT.pattern}|[\\,*?!~#]")


class Jumps:
    """Connections to jump hosts, one for each, whoever needs them. ``home`` is that of the user we work for;
    ``environ`` names the key agent's socket."""

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self.home = home
        self.environ = environ
        self._made: dict[tuple[str, int | None, str | None], asyncio.Task[asyncssh.SSHClientConnection]] = {}

    async def through(self, target: Target) -> asyncssh.SSHClientConnection | None:
        """The connection to the last of the jump hosts of a target; None: it has none."""
        jump = None
        for host, port, user in target.jumps:
            key = (host, port, user)
            task = self._made.get(key)
            if task is None or (
                task.done() and (task.cancelled() or task.exception() or task.result().is_closed())
            ):
                task = self._made[key] = asyncio.ensure_future(self._jump(Way(host, port, user), jump))
            jump = await asyncio.shield(task)
        return jump

    async def _jump(
        self, way: Way, jump: asyncssh.SSHClientConnection | None
    ) -> asyncssh.SSHClientConnection:
        return await connect(load_target(way.host, way.port, way.user, self.home, self.environ), way, jump)

    async def aclose(self) -> None:
        """Hang up."""
        made, self._made = list(self._made.values()), {}
        for task in reversed(made):
            with contextlib.suppress(Exception):
                await _hang_up(await task)


async def connect(
    target: Target, way: Way, jump: asyncssh.SSHClientConnection | None
) -> asyncssh.SSHClientConnection:
    """A connection, logged in. Raises Unreachable."""
    import asyncssh

    keys = HostKeys(target)
    proxy: Proxy | None = None

    async def log_in(own: Any) -> asyncssh.SSHClientConnection:
        nonlocal proxy
        proxy = await start(target.proxy) if target.proxy is not None and jump is None else None
        try:
            made = await asyncssh.connect(
                target.name,  # what the configuration knows it by; HostName is found there again
                target.port,
                username=target.user,
                config=target.config,
                known_hosts=keys.known,
                tunnel=jump,
                proxy_command=None,
                sock=None if proxy is None else proxy.sock,
                client_factory=_client(target, keys),
                agent_path=target.agent,
                client_keys=own,
                ignore_encrypted=way.passphrase is None,
                password=way.password,
                passphrase=way.passphrase,
                client_version="sloth-runner",
                compression_algs=["none"],
                connect_timeout=target.timeout or CONNECTING,
                login_timeout=target.timeout or LOGIN,
                keepalive_interval=15,
                keepalive_count_max=3,
                x509_trusted_certs=None,
            )
        except BaseException as error:
            if proxy is not None:
                await proxy.aclose(fell=isinstance(error, asyncssh.ConnectionLost | ConnectionError))
            raise
        made.set_extra_info(proxy=proxy)
        return made

    try:
        try:
            return await log_in(list(target.keys) or ())
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, PermissionError):
            bad = unusable(target.keys, way.passphrase)
            if not bad:
                raise
            good = [key for key in target.keys if key not in bad]
            return await log_in(good or iter(()))  # an empty list would mean: those of the home folder
    except (OSError, TimeoutError, asyncssh.Error, ValueError) as error:
        raise _told(target, error, keys, way.passphrase, proxy) from error


def _client(target: Target, keys: HostKeys) -> type[asyncssh.SSHClient]:
    """What asyncssh asks while it logs in. A host key that is not known is noted, and never trusted."""
    import asyncssh

    class Client(asyncssh.SSHClient):
        connection: Any = None

        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            self.connection = conn

        def begin_auth(self, username: str) -> None:
            if target.keys or target.agent:
                _keys_first(self.connection)

        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
            keys.offered = key
            return False

    return Client


def _keys_first(connection: Any) -> None:
    """Offer keys at once. Before, "none" is tried, which no server takes, but tells what it would take: a round trip.
    asyncssh has no word for this; where it is made otherwise than we know it, it does as ever."""
    if getattr(connection, "_auth_methods", None) == [b"none"]:
        connection._auth_methods = [b"publickey", b"none"]


def _told(
    target: Target, error: Exception, keys: HostKeys, passphrase: str | None, proxy: Proxy | None = None
) -> Unreachable:
    """Why a machine can't be reached, and what to do."""
    import asyncssh

    address, by_hand = target.address, f"try it by hand: {target.command} true"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return told_host_key(target, keys, error)
    if isinstance(error, asyncssh.PermissionDenied):
        unused = [f"{file} was not used: {why}" for file, why in unusable(target.keys, passphrase).items()]
        return Unreachable(
            f"{address}: the server does not let {target.user} in: no key or password was accepted",
            system=error.reason,
            unchanged=["nothing was done there"],
            next=[*unused, by_hand, f"install a key: ssh-copy-id {target.words}", *target.remarks],
        )
    if isinstance(error, TimeoutError):
        what, next_ = "does not answer in time", ["is it up, and does a firewall let us through?", by_hand]
    elif isinstance(error, ConnectionRefusedError):
        what, next_ = (
            "refuses the connection",
            [f"does an SSH server listen on port {target.port} there?", by_hand],
        )
    elif isinstance(error, socket.gaierror):
        name = "the name" if target.host == target.name else f"the name {target.host}"
        what, next_ = f"{name} is not known", ["check its spelling in sloth.toml or ~/.ssh/config"]
    elif lacks_files(error):
        what = f"can't be reached: {FILES_LACK}"
        next_ = [MORE_FILES, "or run on fewer machines: --limit"]
    else:
        what, next_ = "can't be reached", [by_hand, *target.remarks]
    words = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or None
    if proxy is not None:
        words = "; ".join(proxy.why()) or words
    return Unreachable(f"{address}: {what}", system=words, unchanged=["nothing was done there"], next=next_)


async def _hang_up(connection: asyncssh.SSHClientConnection, *, abruptly: bool = False) -> None:
    """Close a connection, and wait for its end, and for that of its ProxyCommand."""
    if abruptly:
        connection.abort()
    else:
        connection.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDING):
            await connection.wait_closed()
    proxy: Proxy | None = connection.get_extra_info("proxy")
    if proxy is not None:
        await proxy.aclose()


class SSHChannel:
    """The standard input and output of an agent at the other end."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[bytes]
    ) -> None:
        self.sent = self.received = self.trips = 0
        self._connection = connection
        self._process = process
        self._rest = b""
        self._said = b""
        self._listening = asyncio.create_task(self._listen())

    def unread(self, data: bytes) -> None:
        """These bytes come first."""
        self._rest = data

    def send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever waits for an answer hears of it
            self._process.stdin.write(data)
            self.sent += len(data)

    async def drain(self) -> None:
        await self._process.stdin.drain()

    async def receive(self) -> bytes:
        import asyncssh

        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        try:
            piece = await self._process.stdout.read(PIECE)
            self.received += len(piece)
            if not piece:
                await self._end()
            return piece
        except (asyncssh.Error, OSError) as error:
            self._said += f"\n{getattr(error, 'reason', None) or error}".encode()
            proxy: Proxy | None = self._connection.get_extra_info("proxy")
            if proxy is not None:
                await proxy.fall()
            return b""

    async def _end(self) -> None:
        """Output ends before it is told how the process did."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELLING):
                await self._process.wait_closed()

    def why(self) -> str:
        """The last that came on the agent's standard error."""
        code, signal = self._process.exit_status, self._process.exit_signal
        ended = [] if code is None else [f"it ended with status {code}"]
        if signal is not None:
            ended = [f"it was ended by SIG{signal[0]}"]
        proxy: Proxy | None = self._connection.get_extra_info("proxy")
        why = [] if proxy is None or not proxy.ended else proxy.why()
        return "; ".join([*ended, *last_lines(self._said), *why])

    def away(self) -> bool:
        return False  # it ends with its connection

    async def aclose(self, *, idle: bool = False) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.write_eof()
        if not idle:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ENDING):
                    await self._process.wait_closed()
        self._listening.cancel()
        await _hang_up(self._connection)
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening

    async def _listen(self) -> None:
        import asyncssh

        with contextlib.suppress(asyncssh.Error, OSError):
            while piece := await self._process.stderr.read(LAST_WORDS):
                self._said = (self._said + piece)[-LAST_WORDS:]


class SSHLine:
    """Starts an agent at the other end of an SSH connection."""

    def __init__(self, way: Way, jumps: Jumps) -> None:
        self._way = way
        self._jumps = jumps

    @property
    def address(self) -> str:
        """For people."""
        way = self._way
        user = "" if way.user is None else f"{way.user}@"
        host = f"[{way.host}]" if ":" in way.host else way.host
        return f"ssh://{user}{host}" + ("" if way.port is None else f":{way.port}")

    async def open(self) -> Channel:
        """Connect, log in, start the agent (and bring it there, the first time). Raises Unreachable."""
        from sloth_runner.agent.pack import command, packed

        way, jumps = self._way, self._jumps
        target = load_target(way.host, way.port, way.user, jumps.home, jumps.environ)
        connection = await connect(target, way, await jumps.through(target))
        try:
            import asyncssh

            agent = packed()
            try:
                process = await connection.create_process(
                    command(agent.name, way.python), encoding=None, window=WINDOW, max_pktsize=32768
                )
            except (asyncssh.Error, OSError) as error:
                raise _told(target, error, HostKeys(target), None) from error
            channel = SSHChannel(connection, process)
            try:
                async with asyncio.timeout(LOGIN):
                    channel.unread(await greet(channel, agent, self.address))
            except TimeoutError as error:
                raise Unreachable(
                    f"{self.address}: the agent did not start within {LOGIN:g} seconds",
                    system=channel.why() or None,
                    unchanged=["nothing was done there"],
                    next=[f"does a command run there at once? {target.command} true"],
                ) from error
        except BaseException:
            await _hang_up(connection, abruptly=True)
            raise
        return channel


def line(url: str, jumps: Jumps, **table: Any) -> SSHLine:
    """The line that an agent's URL and table describe. Raises BadConfig."""
    return SSHLine(parse(url)._replace(**table), jumps)
