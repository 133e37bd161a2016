"""Why: what a run keeps account of (ledgers, its own records) is written while it goes on, and in order.

A line writes one batch after another; what is added while one is on its way goes together with the next. So a hundred
tasks that are about to change something wait for one or two commits, not each for its own; and whoever must know that
something is durable waits for the batch that holds it.
"""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.engine.store_desk import firm
from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.asking import Ask
from sloth_runner.state.ledger_batch import write

if TYPE_CHECKING:
    import asyncio

    from sloth_runner.engine.store_desk import StoreDesk
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.state.store import Store


class Job(NamedTuple):
    """A batch: ``work`` commits it, in any thread; then ``wrote`` hears what that returned, or ``failed`` that it was
    not (or only in part) written, in the pump's thread."""

    work: Callable[[Store], Any]
    wrote: Callable[[Any], None]
    failed: Callable[[], None]


class Line:
    """``take`` gives what is due, as a job; None: nothing is. ``on_error`` hears of each batch that failed."""

    def __init__(
        self, desk: StoreDesk, take: Callable[[], Job | None], on_error: Callable[[SlothError], None]
    ) -> None:
        self._desk = desk
        self._take = take
        self._on_error = on_error
        self._under_way = False
        self._waiting: list[Callable[[SlothError | None], None]] = []

    def push(self) -> None:
        """Have what is due written, unless a batch is on its way: then after it."""
        if self._under_way:
            return
        job = self._take()
        waiting, self._waiting = self._waiting, []
        if job is None:
            _tell(waiting, None)
        elif self._desk.in_place:
            try:
                result = self._desk.ask(Ask(job.work))
            except SlothError as error:
                self._failed(job, error, waiting)
            else:
                job.wrote(result)
                _tell(waiting, None)
        else:
            self._under_way = True
            self._desk.send(Ask(job.work), lambda result, error: self._written(job, waiting, result, error))

    def at_once(self) -> bool:
        """Make durable what is due, if that can be done in place; raises what keeps it."""
        if self._under_way or not self._desk.in_place:
            return False
        errors: list[SlothError | None] = []
        self._waiting.append(errors.append)
        self.push()
        if errors and errors[0] is not None:
            raise errors[0]
        return True

    async def durable(self) -> None:
        """Returns when all that is due now is durable. Raises what keeps it."""
        import asyncio

        if self.at_once():
            return
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def told(error: SlothError | None) -> None:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._waiting.append(told)
        self.push()
        await firm(future)

    def _written(
        self,
        job: Job,
        waiting: list[Callable[[SlothError | None], None]],
        result: Any,
        error: BaseException | None,
    ) -> None:
        self._under_way = False
        if error is None:
            job.wrote(result)
            _tell(waiting, None)
            self.push()
        elif isinstance(error, SlothError):
            waiting += self._waiting
            self._waiting = []
            self._failed(job, error, waiting)
        else:
            raise error

    def _failed(
        self, job: Job, error: SlothError, waiting: list[Callable[[SlothError | None], None]]
    ) -> None:
        job.failed()
        self._on_error(error)
        _tell(waiting, error)


def ledger_line(desk: StoreDesk, ledger: Ledger, on_error: Callable[[SlothError], None]) -> Line:
    """The line of a machine's ledger."""

    def take() -> Job | None:
        batch = ledger.take()
        if batch is None:
            return None
        return Job(
            lambda store: write(store, ledger.namespace, batch), ledger.wrote, lambda: ledger.failed(batch)
        )

    return Line(desk, take, on_error)


class Durable(NamedTuple):
    """A step: go on when all that is due on a line is durable."""

    line: Line


def _tell(waiting: list[Callable[[SlothError | None], None]], error: SlothError | None) -> None:
    for told in waiting:
        told(error)
