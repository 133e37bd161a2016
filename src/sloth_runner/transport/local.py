"""Why: this machine. File operations answer at once; a program runs in a session of its own, under watch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sloth_runner.agent.perform import perform
from sloth_runner.errors import TaskFailed, TimedOut
from sloth_runner.ops import (
    FOLDER,
    Batch,
    Exec,
    Facts,
    Fetch,
    Found,
    OpError,
    Pause,
    Paused,
    Ran,
    Reach,
    Read,
    Stat,
    Unpack,
)  # fmt: skip
from sloth_runner.transport.base import discard

if TYPE_CHECKING:
    import asyncio

    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.identity import Spawn
    from sloth_runner.transport.process import Watch

BASE = ("PATH", "HOME", "LANG")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SLOW_FACTS = frozenset(("services", "mounts", "users", "groups"))
"""Sections whose gathering asks something that may be slow to answer: systemd, a file system, a directory."""
LARGE = 32 << 20
"""Files above this many bytes are read in a thread: hashing one takes long enough to keep other tasks waiting."""
LARGE_ARCHIVE = 64 << 10
"""Archives above this many bytes are unpacked in a thread."""


class LocalTransport:
    """The way to this machine. Programs get PATH, HOME and LANG of ``environ``, no more.

    ``grace``: seconds between TERM and KILL when a program is stopped. ``linger``: seconds that output is
    still waited for after a program has ended, while something that it started holds it.
    """

    is_local = True

    def __init__(self, environ: Mapping[str, str], *, grace: float = 5.0, linger: float = 0.5) -> None:
        base = {"PATH": DEFAULT_PATH, **{key: environ[key] for key in BASE if environ.get(key)}}
        if "HOME" not in base:
            base["HOME"] = _home()
        self._base = base
        self._grace = grace
        self._linger = linger

    def at_once(self, op: Op) -> Result | None:
        """Every file operation but on a large file. Raises OpError."""
        return None if _takes_time(op) else perform(op)

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """Any operation. Raises OpError, and TimedOut for a program that took too long and was stopped."""
        if isinstance(op, Exec):
            return await self._execute(op, on_output)
        if isinstance(op, Fetch):
            return await self._fetch(op)
        if isinstance(op, Pause):
            return await _pause(op)
        if isinstance(op, Batch):
            results: list[Result] = []
            for inner in op.ops:
                try:
                    results.append(await self.do(inner, on_output))
                except OpError as error:
                    error.results = (*results, *error.results)
                    raise
            return tuple(results)
        if not _takes_time(op):
            return perform(op)
        import asyncio

        return await asyncio.to_thread(perform, op)

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def _fetch(self, op: Fetch) -> Result:
        """A request in a thread of its own; cancelled, its connection is broken off, and it is waited for."""
        import asyncio

        from sloth_runner.agent.fetching import Fetching

        fetching = Fetching(op)
        running = asyncio.ensure_future(asyncio.to_thread(fetching.perform))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            fetching.stop()
            await asyncio.wait([running], timeout=self._grace)
            raise

    async def _execute(self, op: Exec, on_output: Sink) -> Ran:
        import asyncio

        from sloth_runner.transport.identity import spawn_as
        from sloth_runner.transport.process import within

        argv = list(op.argv) if op.line is None else ["/bin/sh", "-c", _no_option(op.line)]
        spawn = spawn_as(op.user, argv, self._base, op.env)
        transport, watch = await self._start(op, spawn, on_output)
        try:
            try:
                async with asyncio.timeout(op.timeout):
                    await watch.exited.wait()
            except TimeoutError:
                await self._stop(op, spawn, transport, watch)
                raise _timed_out(op, watch) from None
            except BaseException:
                await self._stop(op, spawn, transport, watch)
                raise
            left_open = not await within(watch.closed, self._linger)
        finally:
            with contextlib.suppress(
                PermissionError
            ):  # closing kills what still runs; _stop has said it can't
                transport.close()
            await within(watch.lost, self._grace)
        if watch.failure is not None:
            raise watch.failure
        return _ran(transport.get_returncode(), watch, left_open)

    async def _start(
        self, op: Exec, spawn: Spawn, on_output: Sink
    ) -> tuple[asyncio.SubprocessTransport, Watch]:
        import asyncio
        import subprocess

        from sloth_runner.transport.process import Watch

        cwd = op.cwd if op.cwd is not None else spawn.env["HOME"]
        found = perform(Stat(cwd, follow=True))
        if not isinstance(found, Found) or found.kind != FOLDER:
            raise OpError("missing", cwd, "there is no such folder to start a command in")
        argv = [_bytes(word) for word in spawn.argv]
        env = {_bytes(key): _bytes(value) for key, value in spawn.env.items()}
        given = subprocess.DEVNULL if spawn.script is None else subprocess.PIPE
        try:
            transport, watch = await asyncio.get_running_loop().subprocess_exec(
                lambda: Watch(op.output_limit, on_output),
                *argv,
                stdin=given,
                cwd=_bytes(cwd),
                env=env,
                start_new_session=True,
                **spawn.how,
            )
        except OSError as error:
            raise _not_started(error, spawn, cwd) from error
        if spawn.script is not None:
            pipe = transport.get_pipe_transport(0)
            assert isinstance(pipe, asyncio.WriteTransport)
            pipe.write(spawn.script)
            pipe.close()
        return transport, watch

    async def _stop(
        self, op: Exec, spawn: Spawn, transport: asyncio.SubprocessTransport, watch: Watch
    ) -> None:
        from sloth_runner.transport.process import send_to_group, stop

        try:
            await stop(transport.get_pid(), watch, self._grace, send_to_group)
        except PermissionError as error:
            raise TaskFailed(
                f"{op.label} has to be stopped, but runs as {spawn.sudo or op.user}, whose processes"
                " we may not signal: it may still be running",
                system=str(error),
                next=[f"look for it: ps -s {transport.get_pid()} -f"],
            ) from error


def _no_option(line: str) -> str:
    """A line as the shell takes it: one that begins with a sign would pass for an option."""
    return " " + line if line.startswith(("-", "+")) else line


async def _pause(op: Pause) -> Paused:
    import asyncio

    await asyncio.sleep(op.seconds)
    return Paused(asyncio.get_running_loop().time())


def _takes_time(op: Op) -> bool:
    kind = type(op)
    if kind is Exec or kind is Fetch or kind is Reach or kind is Pause:
        return True
    if kind is Facts:
        return op.section in SLOW_FACTS  # type: ignore[union-attr] # kind says so
    if kind is Batch:
        return any(map(_takes_time, op.ops))  # type: ignore[union-attr] # kind says so
    if kind is Unpack:
        return op.content is None or len(op.content) > LARGE_ARCHIVE  # type: ignore[union-attr] # kind says so
    if (kind is Stat and op.digest) or (kind is Read and op.limit > LARGE):  # type: ignore[union-attr] # kind says so
        try:
            return os.stat(op.path).st_size > LARGE  # type: ignore[union-attr] # noqa: PTH116 - pathlib costs tenfold
        except (OSError, ValueError):
            return False  # it comes up again, where it is raised
    return False


def _ran(code: int | None, watch: Watch, left_open: bool) -> Ran:
    import signal

    assert code is not None
    name = None
    if code < 0:
        known = {int(number): number.name for number in signal.Signals}
        name = known.get(-code, f"signal {-code}")
        code = 128 - code
    out, err = watch.captures[1], watch.captures[2]
    return Ran(code, name, out.content(), err.content(), (out.cut, err.cut), left_open)


def _timed_out(op: Exec, watch: Watch) -> TimedOut:
    from sloth_runner.durations import human

    assert op.timeout is not None
    said = (watch.captures[2].content() or watch.captures[1].content())[-2000:]
    last = said.decode("utf-8", "replace").strip().splitlines()[-3:]
    return TimedOut(
        f"{op.label} took longer than its timeout of {human(op.timeout)} and was stopped",
        system="\n".join(last) or None,
        next=["give it longer: timeout = …", "what it had done by then stays done"],
    )


def _not_started(error: OSError, spawn: Spawn, cwd: str) -> OpError:
    program = spawn.argv[0]
    if isinstance(error, FileNotFoundError):
        if spawn.sudo is not None:
            return OpError("not-found", "sudo", f"is needed to run as {spawn.sudo}, and is not installed")
        where = (
            "there is no such program" if "/" in program else f"is in no folder of PATH ({spawn.env['PATH']})"
        )
        return OpError("not-found", program, where)
    if isinstance(error, PermissionError):
        return OpError("denied", program, f"can't be started (in {cwd}): permission denied")
    return OpError("system", program, f"can't be started: {error.strerror or error}")


def _home() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def _bytes(text: str) -> bytes:
    """Text as the bytes it stands for. Raises OpError for what no program can be given."""
    from sloth_runner.agent.names import raw

    if "\0" in text:
        raise OpError("bad-path", text.replace("\0", "␀"), "holds a NUL byte, which nothing can be given")
    return raw(text)
