"""Why: this machine. File operations answer at once; a program runs in a session of its own, under watch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from sloth_runner.agent.perform import perform, takes_time
from sloth_runner.agent.starting import as_bytes, base_environment, no_option, not_started, ran
from sloth_runner.agent.writing import sync_folder
from sloth_runner.ops import (
    FOLDER,
    Batch,
    Exec,
    Fetch,
    Found,
    OpError,
    Pause,
    Paused,
    Ran,
    Stat,
)  # fmt: skip
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.transport.base import discard
from sloth_runner.transport.told import timed_out, unstoppable

if TYPE_CHECKING:
    import asyncio

    from sloth_runner.agent.identity import Spawn
    from sloth_runner.agent.writing import Sync
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.process import Watch


class LocalTransport:
    """The way to this machine. Programs get PATH, HOME and LANG of ``environ``, no more.

    ``grace``: seconds between TERM and KILL when a program is stopped. ``linger``: seconds that output is
    still waited for after a program has ended, while something that it started holds it. ``sync`` makes durable what
    was done in a folder.
    """

    is_local = True

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        grace: float = 5.0,
        linger: float = 0.5,
        sync: Sync = sync_folder,
    ) -> None:
        self._base = base_environment(environ)
        self._grace = grace
        self._linger = linger
        self._sync = sync

    def at_once(self, op: Op) -> Result | None:
        """Every file operation but on a large file. Raises OpError."""
        return None if takes_time(op) else perform(op, self._sync)

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
        if not takes_time(op):
            return perform(op, self._sync)
        import asyncio

        return await asyncio.to_thread(perform, op, self._sync)

    async def ready(self) -> None:
        """It always is."""

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

        from sloth_runner.agent.identity import spawn_as
        from sloth_runner.transport.process import within

        argv = list(op.argv) if op.line is None else ["/bin/sh", "-c", no_option(op.line)]
        spawn = spawn_as(op.user, argv, self._base, op.env)
        transport, watch = await self._start(op, spawn, on_output)
        try:
            try:
                async with asyncio.timeout(op.timeout):
                    await watch.exited.wait()
            except TimeoutError:
                await self._stop(op, spawn, transport, watch)
                assert op.timeout is not None
                said = (watch.captures[2].content() or watch.captures[1].content())[-2000:]
                raise timed_out(op.label, op.timeout, said) from None
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
        code = transport.get_returncode()
        assert code is not None
        return ran(code, watch.captures[1], watch.captures[2], left_open)

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
        argv = [as_bytes(word) for word in spawn.argv]
        env = {as_bytes(key): as_bytes(value) for key, value in spawn.env.items()}
        given = subprocess.DEVNULL if spawn.script is None else subprocess.PIPE
        try:
            transport, watch = await asyncio.get_running_loop().subprocess_exec(
                lambda: Watch(op.output_limit, on_output),
                *argv,
                stdin=given,
                cwd=as_bytes(cwd),
                env=env,
                start_new_session=True,
                **spawn.how,
            )
        except OSError as error:
            raise not_started(error, spawn, cwd) from error
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
            user, group = spawn.sudo or op.user or "", transport.get_pid()
            raise unstoppable(op.label, user, group, str(error)) from error


async def _pause(op: Pause) -> Paused:
    import asyncio

    await asyncio.sleep(op.seconds)
    return Paused(asyncio.get_running_loop().time())
