"""Why: a hundred bodies wait at once in one thread, and a run that never waits costs no event loop.

``Pump`` resumes every ready body until all of them wait. Calls that can be answered at once are answered in
place; mutations of state are gathered from all bodies and written together; what is asked of a store that is far away
is handed to the desk; only for what really waits (a process, a network, a sleep) is asyncio imported and started, on
the same queues.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence

from sloth_runner.errors import Bug, SlothError, TimedOut
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.asking import Ask

if TYPE_CHECKING:
    import asyncio

    from sloth_runner.engine.store_desk import Item, StoreDesk
    from sloth_runner.model import Body, Call
    from sloth_runner.state.batch import Mutation
    from sloth_runner.transport.loop import Loop

STRETCH = 500
"""Calls that one body gets answered in a row before the others have their turn."""


class Wait(NamedTuple):
    """A reply that takes time: a coroutine whose result (or error) resumes the body. ``gentle`` waits end by
    themselves after an interrupt (a running command); others are cut short (a sleep)."""

    start: Callable[[], Coroutine[Any, Any, object]]
    gentle: bool = False


class Mutate(NamedTuple):
    """A reply that is known once its mutation is durable; ``then`` makes the body's result of it."""

    mutation: Mutation
    then: Callable[[object], object] | None = None


class Fork(NamedTuple):
    """A reply made of the results of several bodies, run side by side."""

    bodies: Sequence[tuple[Body, Any]]


class Deadline(NamedTuple):
    """A reply that gives the body until ``at`` (by the pump's clock; None: for ever)."""

    at: float | None
    error: TimedOut | None = None


class Strand:
    """One body on its way: what it serves (``context``), when it must end, and who gets its result."""

    __slots__ = (
        "body",
        "children",
        "context",
        "deadline",
        "error",
        "on_done",
        "stop",
        "task",
        "timer",
        "wait",
    )

    def __init__(
        self, body: Body, context: Any, on_done: Callable[[object, BaseException | None], None]
    ) -> None:
        self.body = body
        self.context = context
        self.on_done = on_done
        self.deadline: float | None = None
        self.error: TimedOut | None = None
        self.stop: SlothError | None = None
        self.wait: Wait | None = None
        self.task: asyncio.Task[object] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.children: list[Strand] = []


class Pump:
    """Runs strands. ``serve`` answers a call: a value, one of the replies above, an ``Ask``, or a raised SlothError;
    ``desk`` commits gathered mutations and has an Ask answered. ``settle`` ends a round; ``before`` is told whose
    turn it is; ``loop`` is where it waits (None: on one of its own)."""

    def __init__(
        self,
        serve: Callable[[Strand, Call], object],
        desk: StoreDesk,
        settle: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        before: Callable[[Strand], None] | None = None,
        loop: Loop | None = None,
    ) -> None:
        self._waiting_on = loop
        self._serve = serve
        self._desk = desk
        desk.serve(self)
        self._settle = settle
        self._before = before
        self.clock = clock
        self._ready: deque[tuple[Strand, object, BaseException | None]] = deque()
        self._mutations: list[tuple[Strand, Mutate]] = []
        self._starting: list[Strand] = []
        self._posts: deque[Callable[[], None]] = deque()
        self._alive: set[Strand] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self.current: Strand | None = None

    def spawn(
        self, body: Body, context: object, on_done: Callable[[object, BaseException | None], None]
    ) -> Strand:
        """Begin a body; ``on_done`` gets its result or its error once it has ended."""
        strand = Strand(body, context, on_done)
        self._alive.add(strand)
        self._ready.append((strand, None, None))
        return strand

    def post(self, action: Callable[[], None]) -> None:
        """Have ``action`` done by the pump's thread soon; may be called from any thread or signal handler."""
        self._posts.append(action)
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            try:
                loop.call_soon_threadsafe(wake.set)
            except RuntimeError:
                if not loop.is_closed():
                    raise

    def cancel(self, strand: Strand, error: SlothError) -> None:
        """Throw ``error`` into a strand: now if it waits, else at its next call."""
        for child in strand.children:
            self.cancel(child, error)
        if strand in self._alive and strand.stop is None:
            strand.stop = error
            if strand.task is not None:
                strand.task.cancel()

    def interrupt(self, error: SlothError, *, force: bool) -> None:
        """Stop all strands: with ``force`` now, else after the command that each is running has ended."""
        for strand in list(self._alive):
            if strand.stop is None:
                strand.stop = error
            if strand.task is not None and (force or strand.wait is None or not strand.wait.gentle):
                strand.task.cancel()

    def stopping(self) -> BaseException | None:
        """What the running body must end with now, if anything (polled by long computations)."""
        self._run_posts()
        strand = self.current
        if strand is None:
            return None
        if strand.stop is not None:
            error, strand.stop = strand.stop, None
            return error
        if strand.deadline is not None and self.clock() >= strand.deadline:
            strand.deadline = None
            return strand.error
        return None

    def run(self) -> None:
        """Work until every strand has ended; asyncio is started only if something waits."""
        while self._work():
            pass
        if self._alive or self._desk.busy:
            self._run_waits()

    def _run_waits(self) -> None:
        if self._waiting_on is not None:
            self._waiting_on.run(self._drive())
            return
        import asyncio

        asyncio.run(self._drive())

    async def _drive(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._wake = wake = asyncio.Event()
        try:
            while self._alive or self._posts or self._desk.busy:
                more = self._work()
                self._start_waits()
                if more:
                    await asyncio.sleep(0)
                elif self._alive or self._desk.busy:
                    await wake.wait()
                wake.clear()
        finally:
            self._loop = self._wake = None

    def _work(self) -> bool:
        """One round: step what is ready, then write what it wants written. True if more is ready already."""
        self._run_posts()
        for _ in range(len(self._ready)):
            self._step(*self._ready.popleft())
        if self._mutations:
            self._write()
        self._settle()
        return bool(self._ready or self._posts)

    def _run_posts(self) -> None:
        while self._posts:
            self._posts.popleft()()

    def _step(self, strand: Strand, value: object, error: BaseException | None) -> None:
        body, serve = strand.body, self._serve
        self.current = strand
        if self._before is not None:
            self._before(strand)
        try:
            for _ in range(STRETCH):
                if strand.stop is not None or strand.deadline is not None:
                    error = _rather(self.stopping(), error)
                try:
                    call = body.send(value) if error is None else body.throw(error)
                except StopIteration as end:
                    return self._end(strand, end.value, None)
                except Exception as failure:  # whatever a body raises is its result
                    return self._end(strand, None, failure)
                value, error = None, None
                try:
                    reply = serve(strand, call)
                    kind = type(reply)
                    alone = kind is Mutate and len(self._alive) == 1 and not self._mutations
                    if alone:
                        value, error = self._write_alone(reply)
                except Exception as failure:  # of this call alone, whatever it is: others go on
                    error = Bug.of(failure)
                    continue
                if alone:
                    if self._posts:
                        break
                    continue
                if kind in _REPLIES:
                    if not self._hold(strand, reply):
                        continue
                    return None
                value = reply
            self._ready.append((strand, value, error))
        finally:
            self.current = None
        return None

    def _write_alone(self, mutate: Any) -> tuple[object, BaseException | None]:
        """Nobody else is there to share a commit with: write at once."""
        result = self._desk.write_one(mutate.mutation)
        if isinstance(result, SlothError):
            return None, result
        return (result if mutate.then is None else mutate.then(result)), None

    def _hold(self, strand: Strand, reply: object) -> bool:
        """Let a strand wait for its reply; False if it can go on at once."""
        if isinstance(reply, Mutate):
            self._mutations.append((strand, reply))
        elif isinstance(reply, Ask):
            self._desk.send(reply, lambda answer, error: self._resume(strand, answer, error))
        elif isinstance(reply, Wait):
            strand.wait = reply
            self._starting.append(strand)
        elif isinstance(reply, Fork):
            return self._fork(strand, reply)
        elif isinstance(reply, Deadline):
            strand.deadline, strand.error = reply.at, reply.error
            return False
        return True

    def _end(self, strand: Strand, value: object, error: BaseException | None) -> None:
        self._alive.discard(strand)
        strand.on_done(value, error)

    def _fork(self, parent: Strand, fork: Fork) -> bool:
        results: list[object] = [None] * len(fork.bodies)
        errors: list[BaseException] = []
        left = len(fork.bodies)
        if not left:
            self._ready.append((parent, results, None))
            return True

        def done_with(index: int) -> Callable[[object, BaseException | None], None]:
            def on_done(value: object, error: BaseException | None) -> None:
                nonlocal left
                results[index] = value
                if error is not None:
                    errors.append(error)
                left -= 1
                if left == 0:
                    parent.children = []
                    if parent.error in errors:
                        parent.deadline = None
                    first = next((e for e in errors if isinstance(e, SlothError) and e.final), None)
                    self._wake_up(parent, results, first or next(iter(errors), None))

            return on_done

        parent.children = [
            self.spawn(body, context, done_with(i)) for i, (body, context) in enumerate(fork.bodies)
        ]
        for child in parent.children:
            child.deadline, child.error = parent.deadline, parent.error
        return True

    def _resume(self, strand: Strand, answer: object, error: BaseException | None) -> None:
        """A strand that waited for the desk goes on; the answer may be one more reply."""
        if error is None and type(answer) in _REPLIES:
            if self._hold(strand, answer):
                return
            answer = None
        self._ready.append((strand, answer, error))

    def _write(self) -> None:
        queued, self._mutations = self._mutations, []
        self._desk.write(queued, self._deliver)

    def _deliver(self, item: Item, result: object) -> None:
        strand, mutate = item
        if isinstance(result, SlothError):
            self._ready.append((strand, None, result))
        else:
            self._ready.append((strand, mutate.then(result) if mutate.then else result, None))

    @property
    def alone(self) -> bool:
        """Whether at most one body is under way, so that waiting in place delays nobody."""
        return len(self._alive) <= 1

    def _start_waits(self) -> None:
        assert self._loop is not None
        starting, self._starting = self._starting, []
        for strand in starting:
            assert strand.wait is not None
            if strand.stop is not None and not strand.wait.gentle:
                self._wake_up(strand, None, None)
                continue
            strand.task = self._loop.create_task(_call(strand.wait.start))
            strand.task.add_done_callback(self._finisher(strand))
            if strand.deadline is not None:
                delay = max(0.0, strand.deadline - self.clock())
                strand.timer = self._loop.call_later(delay, self._expire, strand)

    def _expire(self, strand: Strand) -> None:
        if strand.task is not None and strand.error is not None:
            strand.deadline = None
            self.cancel(strand, strand.error)

    def _finisher(self, strand: Strand) -> Callable[[asyncio.Task[object]], None]:
        def finished(task: asyncio.Task[object]) -> None:
            strand.task = None
            if strand.timer is not None:
                strand.timer.cancel()
                strand.timer = None
            if task.cancelled():
                self._wake_up(strand, None, None if strand.stop else Bug("a wait was cancelled by nobody"))
            else:
                error = task.exception()
                self._wake_up(strand, None if error else task.result(), error)

        return finished

    def _wake_up(self, strand: Strand, value: object, error: BaseException | None) -> None:
        strand.wait = None
        if strand.stop is not None:
            stop, strand.stop = strand.stop, None
            error = _rather(stop, error)
        self._ready.append((strand, value, error))
        if self._wake is not None:
            self._wake.set()


_REPLIES = frozenset((Mutate, Ask, Wait, Fork, Deadline))


def _rather(stop: BaseException | None, error: BaseException | None) -> BaseException | None:
    """What a body is to meet: ``stop``, if there is one, which tells of an ``error`` that came at the same time."""
    if isinstance(stop, SlothError) and isinstance(error, SlothError):
        stop.system = stop.system or error.message
    return stop or error


async def _call(start: Callable[[], Coroutine[Any, Any, object]]) -> object:
    return await start()
