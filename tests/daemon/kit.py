"""Why: agents in tests are real processes, enrolled by a real authority, reached over real TLS on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sloth_runner.daemon.holding import BUNDLE, Keeper
from sloth_runner.rpc import load
from sloth_runner.transport.grpc import SERVICE, Access, GrpcLine
from sloth_runner.transport.remote import Remote
from sloth_runner.trust.authority import Authority
from sloth_runner.trust.folder import Folder

METHODS = ("Status", "Request", "Accept", "Revoke", "Work")
"""All that an agent's service has."""
AT_ONCE = 8
"""Agents that are started at once."""


def new_id() -> str:
    """128 random bits in hex."""
    return os.urandom(16).hex()


class Place(NamedTuple):
    """An authority, and a running agent of it."""

    folder: Path
    authority: Authority
    name: str
    port: int
    pid: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"grpc://127.0.0.1:{self.port}"

    def access(self) -> Access:
        """What our controller needs."""
        row = self.authority.find(self.name)
        own = self.authority.credentials("host1")
        return Access(
            row.identity.host,
            own.key,
            own.certificate,
            own.authority,
            self.authority.revocations(),
            self.authority.number(),
            lambda: self.authority.is_void(row.enrolment),
            self.authority.due,
            lambda request: self.authority.renew(self.name, request, "its request").pem(),
        )

    def remote(self, port: int | None = None, patience: float = 20.0) -> Remote:
        """The way to it, through ``port`` if that is another."""
        return Remote(self.name, self.line(port, patience))

    def line(self, port: int | None = None, patience: float = 20.0) -> GrpcLine:
        """The line to it, through ``port`` if that is another."""
        url = f"grpc://127.0.0.1:{port or self.port}"
        return GrpcLine(url, self.access, new_id, load(os.environ), patience)

    def memory(self) -> int:
        """Bytes of memory that it takes now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) << 10


def enrolled(folder: Path, clock: Callable[[], float] = time.time) -> Authority:
    """An authority that has enrolled the agent in ``folder / "agent"``, called web1."""
    authority = Authority(Folder(folder / "ca"), clock, new_id)
    authority.init("tests")
    keeper = Keeper(Folder(folder / "agent"), clock, new_id)
    _, bundle = authority.enroll(keeper.make_key("web1"), "its request")
    keeper.folder.write(BUNDLE, bundle.pem())
    return authority


@contextmanager
def serving(
    folder: Path, authority: Authority | None = None, ends: int = 0, home: Path | None = None
) -> Iterator[Place]:
    """The agent, as a process of its own, which ends with that status. ``home``: that of the user it runs as."""
    authority = authority or enrolled(folder)
    process = _started(folder / "agent", folder, home)
    try:
        yield Place(folder, authority, "web1", _port(process), process.pid)
        assert ends or process.poll() is None, "the agent has ended"
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == ends
        assert process.stderr is not None
        process.stderr.close()


class Agent(NamedTuple):
    """One of many agents."""

    name: str
    url: str
    pid: int


@contextmanager
def many(folder: Path, count: int) -> Iterator[list[Agent]]:
    """So many agents, enrolled by the authority of the controller whose home is ``folder / "home"``. They may have
    ended before they are told to."""
    authority = Authority(Folder(folder / "home" / "agents"), time.time, new_id)
    authority.init("tests")
    names = [f"web{number:03}" for number in range(count)]
    for name in names:
        keeper = Keeper(Folder(folder / name), time.time, new_id)
        _, bundle = authority.enroll(keeper.make_key(name), "its request")
        keeper.folder.write(BUNDLE, bundle.pem())
    processes: list[subprocess.Popen[str]] = []
    try:
        found: list[Agent] = []
        for start in range(0, count, AT_ONCE):
            wave = names[start : start + AT_ONCE]
            processes += [_started(folder / name, folder) for name in wave]
            ports = [_port(process) for process in processes[start:]]
            pids = [process.pid for process in processes[start:]]
            found += [
                Agent(name, f"grpc://127.0.0.1:{port}", pid)
                for name, port, pid in zip(wave, ports, pids, strict=True)
            ]
        yield found
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)
            assert process.stderr is not None
            process.stderr.close()


def _started(own: Path, folder: Path, home: Path | None = None) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "sloth_runner", "agent", "serve", "--folder", str(own)]
    environ = {**os.environ, "HOME": str(home or folder), "SLOTH_RUNNER_HOME": str(folder / "home")}
    return subprocess.Popen(
        [*argv, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, env=environ, cwd=folder, text=True
    )


def _port(process: subprocess.Popen[str]) -> int:
    """Where it listens, as it says."""
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "listens on" in line, line + process.stderr.read()
    return int(line.rpartition(":")[2])


async def call(port: int, host: str, method: str, key: bytes | None, shown: bytes | None, ca: bytes) -> Any:
    """Call a method as somebody: its answer, or the error of gRPC."""
    import grpc.aio

    credentials = load(os.environ).ssl_channel_credentials(ca, key, shown)
    options = [("grpc.ssl_target_name_override", host), ("grpc.use_local_subchannel_pool", 1)]
    made: Any = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)
    async with made as channel:
        try:
            if method == "Work":
                stream = channel.stream_stream(SERVICE + method)(timeout=60)
                await stream.write(b'{"session": "%s", "received": 0}' % new_id().encode())
                answer = await stream.read()
                stream.cancel()
                return answer
            return await channel.unary_unary(SERVICE + method)(b"", timeout=60)
        except grpc.aio.AioRpcError as error:
            return error


def run(work: Any) -> Any:
    """Run a coroutine."""
    return asyncio.run(work)
