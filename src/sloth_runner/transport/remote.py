"""Why: another machine, by whatever line; operations travel as frames and are performed by the agent at its end.

One line is kept open for as long as the run lasts. When it is lost, what only looks is asked again over a new one; of
what may have changed something and was not answered nobody knows whether it was done, and that is said.
"""

from __future__ import annotations

import asyncio
import posixpath

from sloth_runner.errors import Bug, Unreachable
from sloth_runner.ops import (
    Batch,
    Exec,
    Identity,
    OpError,
    Pause,
    Paused,
    Stat,
    WhoAmI,
    mutates,
)
from sloth_runner.plain import TYPE_CHECKING, NamedTuple, cast
from sloth_runner.transport.ahead import Ahead
from sloth_runner.transport.base import discard
from sloth_runner.transport.talking import Cut, Late, Wire
from sloth_runner.transport.told import unanswered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.line import Line


class Traffic(NamedTuple):
    """What went over a line: operations asked for, round trips (times that an answer was waited for, the opening
    included), bytes each way before the line's own cipher, and how often it was opened."""

    requests: int = 0
    trips: int = 0
    sent: int = 0
    received: int = 0
    lines: int = 0

    def more(self, sent: int, received: int) -> Traffic:
        """The same with these bytes added."""
        return self._replace(sent=self.sent + sent, received=self.received + received)

    def document(self) -> dict[str, int]:
        """The same as JSON documents show it."""
        return {
            "requests": self.requests,
            "round_trips": self.trips,
            "bytes_sent": self.sent,
            "bytes_received": self.received,
            "connections": self.lines,
        }


class Remote:
    """The way to one machine by a line. ``agent`` is its name in messages; ``password`` is for sudo there.
    ``user``: as whom operations are performed (None: as the one who logs in); ``same`` is the way of the login
    then."""

    is_local = False

    def __init__(
        self,
        agent: str,
        line: Line,
        *,
        password: str | None = None,
        user: str | None = None,
        same: Remote | None = None,
    ) -> None:
        self.agent = agent
        self.ahead: Ahead = Ahead(beside=None if same is None else same.ahead)
        self._user = user
        self._me: Identity | None = None
        self._following: tuple[Op, ...] = ()
        self._followed: list[tuple[Op, Result]] = []
        self._others: dict[str, Remote] = {}
        self._aheads: list[Ahead] = same._aheads if same is not None else []
        self._aheads.append(self.ahead)
        self._core: Core = same._core if same is not None else Core(agent, line, password)

    @property
    def traffic(self) -> Traffic:
        """What went over the lines to it so far, whoever acted there."""
        return self._core.traffic

    def as_user(self, user: str | None) -> Remote:
        """The way to the same machine, to act there as a user; sudo is asked for it."""
        if user is None:
            return self
        found = self._others.get(user)
        if found is None:
            core = self._core
            found = self._others[user] = Remote(self.agent, core.line, user=user, same=self)
        return found

    def at_once(self, op: Op) -> Result | None:
        """What was asked for ahead, if nothing can have changed it since; else None."""
        if isinstance(op, Batch) and not op.ops:
            return ()
        return self._me if type(op) is WhoAmI else self.ahead.take(op)

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """Any operation. Raises OpError, TimedOut, Unreachable; Indeterminate when it may have been done."""
        if isinstance(op, Pause):
            await asyncio.sleep(op.seconds)
            return Paused(asyncio.get_running_loop().time())
        if not mutates(op):
            return await self._look(op, on_output)
        for ahead in self._aheads:
            ahead.begin_change()
        try:
            return await self._change(op, on_output)
        finally:
            for ahead in self._aheads:
                ahead.end_change()
            self._keep_followed()

    async def _change(self, op: Op, on_output: Sink) -> Result:
        """Change something, and ask at once what will be asked for then."""
        follow = self._following
        if not follow or isinstance(op, Batch):
            return await self._ask(op, on_output)
        try:
            results = await self._ask(Batch((op, *follow)), on_output)
        except OpError as error:
            if not error.results:
                raise
            results = error.results  # the change was made; what could not be looked at is asked again
        first, *answers = cast("tuple[Result, ...]", results)
        self._followed = list(zip(follow, answers, strict=False))
        return first

    def follow(self, ops: Iterable[Op]) -> None:
        """What will be asked for once the next change has been made; it travels with that."""
        self._following = tuple([op for op in ops if not mutates(op)])

    def _keep_followed(self) -> None:
        followed, self._followed = self._followed, []
        for op, result in followed:
            self.ahead.keep(op, result, self.ahead.epoch)

    async def ready(self) -> None:
        """Have the line open. Raises Unreachable."""
        await self._core.open()

    async def look_ahead(self, ops: Iterable[Op]) -> list[tuple[Op, Result]]:
        """Ask for what will be asked for soon, all at once; what came of those that succeeded. Each answer is good
        for one question. Operations that fail are left to be asked again by whoever wants to know. Raises
        Unreachable."""
        self.ahead.expect(op for op in ops if not mutates(op))
        done: list[tuple[Op, Result]] = []
        while due := self.ahead.due():
            done += await self._fetch(due)
        return done

    async def _look(self, op: Op, on_output: Sink) -> Result:
        """The answer that is known; else ask, together with what else is expected to be asked soon."""
        known = self.ahead.take(op)
        if known is not None:
            return known
        if self.ahead.expects(op):
            await self._fetch(self.ahead.due(op))
            known = self.ahead.take(op)
        elif type(op) is Stat and not op.follow and op.known is None:
            await self._fetch([op, *_above(op.path)])
            known = self.ahead.take(op)
        return known if known is not None else await self._ask(op, on_output)

    async def _fetch(self, ops: list[Op]) -> list[tuple[Op, Result]]:
        epoch = self.ahead.epoch
        done = await self._each(ops)
        for answered, result in done:
            self.ahead.keep(answered, result, epoch)
        self.ahead.forget([op for op in ops if self.ahead.expects(op)])
        return done

    async def aclose(self) -> None:
        """Hang up."""
        await self._core.aclose()

    async def _each(self, ops: list[Op]) -> list[tuple[Op, Result]]:
        """The operations that succeed, with their results; in as few round trips as failures allow."""
        done: list[tuple[Op, Result]] = []
        while ops:
            try:
                results = await self._ask(Batch(tuple(ops)), discard)
                done += zip(ops, cast("tuple[Result, ...]", results), strict=True)
                return done
            except OpError as error:
                done += zip(ops, error.results, strict=False)
                ops = ops[len(error.results) + 1 :]
        return done

    async def _ask(self, op: Op, on_output: Sink) -> Result:
        user = op.user if isinstance(op, Exec) and op.user is not None else self._user
        result = await self._core.ask(op, on_output, user)
        if isinstance(result, Identity):
            self._me = result
        return result


def _above(path: str) -> list[Op]:
    """Whether the folders above a path are there is asked next, if nothing is at the path."""
    folder = posixpath.dirname(path)
    both = dict.fromkeys((folder, posixpath.dirname(folder)))
    return [Stat(one, follow=True, names=False) for one in both if one not in ("", "/")]


class Core:
    """The one line to a machine, opened when it is needed, and anew when it was lost."""

    def __init__(self, agent: str, line: Line, password: str | None) -> None:
        self.agent = agent
        self.line = line
        self._password = password
        self._traffic = Traffic()
        self._wire: Wire | None = None
        self._turn: asyncio.Lock | None = None
        self._closed = False

    @property
    def traffic(self) -> Traffic:
        """What went over the lines so far."""
        open_ = self._wire
        return self._traffic if open_ is None else self._traffic.more(*open_.bytes)

    def note(self, requests: int = 0, trips: int = 0, lines: int = 0) -> None:
        """Count these."""
        now = self._traffic
        self._traffic = now._replace(
            requests=now.requests + requests, trips=now.trips + trips, lines=now.lines + lines
        )

    async def ask(self, op: Op, on_output: Sink, user: str | None) -> Result:
        """Have an operation performed; what only looks is asked again once over a new line."""
        for last in (False, True):
            line = await self.open()
            try:
                return await line.ask(op, on_output, user)
            except (Cut, Late) as error:
                if mutates(op):
                    why = str(error) if isinstance(error, Late) else line.why
                    raise unanswered(self.line.address, self.agent, why) from error
                if last or isinstance(error, Late):
                    raise self._lost(line, error) from error
            except OpError as error:
                if error.kind != "gone":
                    raise
                if mutates(op):
                    raise unanswered(self.line.address, self.agent, error.reason) from error
                if last:
                    raise
        raise Bug("a question was asked twice and neither answered nor given up")

    async def open(self) -> Wire:
        """The line. Raises Unreachable."""
        if self._closed:
            raise Bug("the way to a machine was used after it had been closed")
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            if self._wire is not None and self._wire.ended:
                await self._hang_up(self._wire)
            if self._wire is None:
                channel = await self.line.open()
                self._wire = await Wire.begin(channel, self.line.address, self._password, self)
            return self._wire

    async def aclose(self) -> None:
        """Hang up."""
        self._closed = True
        if self._wire is not None:
            await self._hang_up(self._wire)

    async def _hang_up(self, line: Wire) -> None:
        await line.aclose()
        self._traffic = self._traffic.more(*line.bytes)
        self._wire = None

    def _lost(self, line: Wire, error: Exception) -> Unreachable:
        late = isinstance(error, Late)
        return Unreachable(
            f"{self.line.address}: the connection was lost" + ("" if late else ", twice"),
            target=self.agent,
            system=(str(error) if late else line.why) or None,
            unchanged=["what was asked last would only have looked"],
        )
