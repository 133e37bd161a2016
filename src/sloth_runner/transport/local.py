"""Why: this machine. File operations answer at once; what runs programs is loaded with the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from sloth_runner.agent.perform import looks, perform, takes_time
from sloth_runner.agent.writing import sync_folder
from sloth_runner.ops import Batch, Exec, Fetch, OpError, Pause, Paused
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.transport.base import discard

if TYPE_CHECKING:
    from sloth_runner.agent.staging import Staged
    from sloth_runner.agent.writing import Sync
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result, Write
    from sloth_runner.transport.programs import Programs
    from sloth_runner.transport.settling import Settling


class LocalTransport:
    """The way to this machine. Programs get PATH, HOME and LANG of ``environ``, no more.

    ``grace``: seconds between TERM and KILL when a program is stopped. ``linger``: seconds that output is
    still waited for after a program has ended, while something that it started holds it. ``settling`` keeps what is
    to be made durable in folders, before the next program at the latest (None: that is done at once).
    """

    is_local = True

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        grace: float = 5.0,
        linger: float = 0.5,
        settling: Settling | None = None,
    ) -> None:
        self._environ = environ
        self._grace = grace
        self._linger = linger
        self._settling = settling
        self._sync: Sync = sync_folder if settling is None else settling.later
        self._programs: Programs | None = None

    def as_user(self, user: str | None) -> LocalTransport:
        """The same: here only programs can be run as somebody else, and modules that would need more refuse to."""
        return self

    def at_once(self, op: Op) -> Result | None:
        """Every file operation but on a large file. Raises OpError."""
        return None if takes_time(op) else perform(op, self._sync)

    def stage(self, op: Write) -> Staged | None:
        """A new file that waits for its name (``place``); None where that can't be, whatever the reason."""
        from sloth_runner.agent.staging import stage

        try:
            return stage(op)
        except Exception:  # it is raised where that is done as ever
            return None

    def place(self, staged: Staged) -> Result:
        """Give it its name. Raises OpError."""
        return staged.place(self._sync)

    def in_place(self, op: Op) -> Result:
        """A file operation, however long it takes. Raises OpError."""
        return perform(op, self._sync)

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """Any operation. Raises OpError, and TimedOut for a program that took too long and was stopped."""
        if isinstance(op, Exec):
            if self._settling is not None:
                self._settling.settle()
            return await self._runner().execute(op, on_output)
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
        return await _aside(op, self._sync)

    def _runner(self) -> Programs:
        from sloth_runner.transport.programs import Programs

        self._programs = self._programs or Programs(self._environ, self._grace, self._linger)
        return self._programs

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


async def _aside(op: Op, sync: Sync) -> Result:
    """In a thread of its own. Cancelled, one that only looks is left behind: the process need not wait for it to
    end, and it may have terabytes to read."""
    import asyncio

    if not looks(op):
        return await asyncio.to_thread(perform, op, sync)
    import threading

    loop = asyncio.get_running_loop()
    found: asyncio.Future[Result] = loop.create_future()

    def settle(give: Callable[[Any], None], what: object) -> None:
        if not found.done():
            give(what)

    def work() -> None:
        give: Callable[[Any], None] = found.set_result
        what: object
        try:
            what = perform(op, sync)
        except Exception as failure:  # it is raised where it is waited for
            give, what = found.set_exception, failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, give, what)

    threading.Thread(target=work, name="looking", daemon=True).start()
    return await found


async def _pause(op: Pause) -> Paused:
    import asyncio

    await asyncio.sleep(op.seconds)
    return Paused(asyncio.get_running_loop().time())
