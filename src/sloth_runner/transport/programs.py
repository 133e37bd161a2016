"""Why: a program on this machine runs in a session of its own, under watch, so that all of it can be stopped."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Mapping

from sloth_runner.agent.identity import Spawn, spawn_as
from sloth_runner.agent.perform import perform
from sloth_runner.agent.starting import as_bytes, base_environment, no_option, not_started, ran
from sloth_runner.ops import FOLDER, Exec, Found, OpError, Ran, Stat
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.transport.base import discard
from sloth_runner.transport.process import Watch, send_to_group, stop, within
from sloth_runner.transport.told import timed_out, unstoppable

if TYPE_CHECKING:
    from sloth_runner.model import Sink


class Programs:
    """Runs programs; ``environ``, ``grace`` and ``linger`` as LocalTransport says."""

    def __init__(self, environ: Mapping[str, str], grace: float, linger: float) -> None:
        self._base = base_environment(environ)
        self._grace = grace
        self._linger = linger

    async def execute(self, op: Exec, on_output: Sink) -> Ran:
        """Run a program to its end. Raises OpError, and TimedOut when it took too long and was stopped."""
        argv = list(op.argv) if op.line is None else ["/bin/sh", "-c", no_option(op.line)]
        spawn = spawn_as(op.user, argv, self._base, op.env)
        transport, watch = await self._start(op, spawn, discard if op.quiet else on_output)
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
            with contextlib.suppress(PermissionError):  # closing kills what still runs
                transport.close()  # _stop has said if that can't be done
            await within(watch.lost, self._grace)
        if watch.failure is not None:
            raise watch.failure
        code = transport.get_returncode()
        assert code is not None
        return ran(code, watch.captures[1], watch.captures[2], left_open)

    async def _start(
        self, op: Exec, spawn: Spawn, on_output: Sink
    ) -> tuple[asyncio.SubprocessTransport, Watch]:
        cwd = op.cwd if op.cwd is not None else spawn.env["HOME"]
        found = perform(Stat(cwd, follow=True))
        if not isinstance(found, Found) or found.kind != FOLDER:
            raise OpError("no-folder", cwd, "there is no such folder to start a command in")
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
        try:
            await stop(transport.get_pid(), watch, self._grace, send_to_group)
        except PermissionError as error:
            user, group = spawn.sudo or op.user or "", transport.get_pid()
            raise unstoppable(op.label, user, group, str(error)) from error
