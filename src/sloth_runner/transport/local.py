"""Why: this machine. Files at once; programs in their own session, so that all of them can be ended.

A program's standard input is empty and its environment explicit. Output is read in pieces with a cap: a line
may be of any length, and a grandchild that keeps the pipe open holds nobody up once the program has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sloth_runner.agent.perform import perform
from sloth_runner.errors import TimedOut
from sloth_runner.model import Sink
from sloth_runner.ops import Exec, Op, OpError, Ran
from sloth_runner.transport.base import discard

if TYPE_CHECKING:
    import asyncio

PIECE = 1 << 16


class LocalTransport:
    """``env`` is what every program gets (PATH, HOME, LANG); ``grace`` seconds lie between TERM and KILL, and
    between a program's end and our leaving its output to whoever still holds it."""

    is_local = True

    def __init__(self, env: Mapping[str, str], *, grace: float = 3.0) -> None:
        self._env = dict(env)
        self._grace = grace

    def at_once(self, op: Op) -> object | None:
        """See Transport: everything but programs. Operations without an answer give True."""
        if isinstance(op, Exec):
            return None
        answer = perform(op)
        return True if answer is None else answer

    async def do(self, op: Op, on_output: Sink = discard) -> object:
        """See Transport."""
        if not isinstance(op, Exec):
            return self.at_once(op)
        import asyncio

        process = await self._start(op)
        outputs = [_Output(op.limit), _Output(op.limit)]
        readers = [
            asyncio.create_task(_drain(stream, output, name, on_output))
            for stream, output, name in zip(
                (process.stdout, process.stderr), outputs, ("stdout", "stderr"), strict=True
            )
        ]
        try:
            async with asyncio.timeout(op.timeout):
                await process.wait()
        except TimeoutError:
            await self._end(process)
            raise TimedOut(f"the command took longer than {op.timeout:g} s and was ended") from None
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            await self._leave(process, readers)
        code = process.returncode or 0
        name = signal.Signals(-code).name if code < 0 else None
        return Ran(
            128 - code if code < 0 else code,
            outputs[0].text(),
            outputs[1].text(),
            name,
            outputs[0].missing + outputs[1].missing > 0,
        )

    async def aclose(self) -> None:
        """See Transport."""

    async def _start(self, op: Exec) -> asyncio.subprocess.Process:
        import asyncio

        if op.cwd is not None and not Path(op.cwd).is_dir():
            raise OpError(op.cwd, "there is no such folder to start in")
        argv = ["/bin/sh", "-c", op.argv[0]] if op.shell else list(op.argv)
        env = {**self._env, **op.env}
        how: dict[str, Any] = {}
        if op.user is not None:
            argv, env, how = _as_user(op.user, argv, env)
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=null,
                stdout=pipe,
                stderr=pipe,
                cwd=op.cwd,
                env=env,
                start_new_session=True,
                **how,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise OpError(argv[0], error.strerror or str(error)) from error
        except ValueError as error:  # a NUL in an argument
            raise OpError(argv[0], str(error)) from error

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """TERM to the whole session, a while to leave, KILL."""
        import asyncio

        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace):
                    await process.wait()
            if process.returncode is not None and number == signal.SIGTERM:
                continue  # its children may still be there

    async def _leave(self, process: asyncio.subprocess.Process, readers: list[asyncio.Task[None]]) -> None:
        import asyncio

        _, late = await asyncio.wait(readers, timeout=min(self._grace, 0.5))
        for reader in late:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        transport = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()


class _Output:
    """The head and the tail of a stream, together at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.missing = 0

    def add(self, piece: bytes) -> None:
        room = self._half - len(self._head)
        self._head += piece[:room] if room > 0 else b""
        self._tail += piece[max(room, 0) :]
        over = len(self._tail) - self._half
        if over > PIECE:
            del self._tail[:over]
            self.missing += over

    def text(self) -> bytes:
        over = max(0, len(self._tail) - self._half)
        missing = self.missing + over
        if not missing:
            return bytes(self._head + self._tail)
        return bytes(self._head) + b"\n... %d bytes left out ...\n" % missing + bytes(self._tail[over:])


async def _drain(stream: Any, output: _Output, name: str, on_output: Sink) -> None:
    while piece := await stream.read(PIECE):
        output.add(piece)
        on_output(name, piece)


def _as_user(
    user: str, argv: list[str], env: dict[str, str]
) -> tuple[list[str], dict[str, str], dict[str, Any]]:
    """How to run as another user: as root by taking their identity, else through sudo without a question."""
    import pwd

    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise OpError(user, "there is no such user") from None
    if found.pw_uid == os.geteuid():
        return argv, env, {}
    if os.geteuid() == 0:
        groups = os.getgrouplist(user, found.pw_gid)
        identity = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": groups}
        return argv, {**env, "HOME": found.pw_dir, "USER": user, "LOGNAME": user}, identity
    assigned = [f"{key}={value}" for key, value in env.items() if key != "HOME"]
    return ["sudo", "-n", "-H", "-u", user, "--", "env", *assigned, *argv], env, {}
