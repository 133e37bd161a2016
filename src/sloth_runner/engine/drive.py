"""Why: a module only asks; here its operations are performed, and what they changed is kept for whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sloth_runner.errors import SlothError, TaskFailed
from sloth_runner.ops import Batch, Exec, OpError, Recall, Source, mutation

if TYPE_CHECKING:
    from sloth_runner.model import Outcome, Sink
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Op, Result, Step
    from sloth_runner.transport.base import Transport


class Drive:
    """One module call on its way.

    ``at_once`` performs what needs no waiting (None: it needs some); ``recall`` and ``source`` answer the two
    operations that no machine performs. ``outcome`` is set at the end; ``mutations`` says in words what has
    been changed so far, also when it failed or was stopped.
    """

    def __init__(
        self,
        steps: Steps,
        at_once: Callable[[Op], Result | None],
        recall: Callable[[str], Mapping[str, Any] | None],
        source: Callable[[str], bytes],
    ) -> None:
        self._steps = steps
        self._at_once = at_once
        self._recall = recall
        self._source = source
        self._pending: Op | None = None
        self.outcome: Outcome | None = None
        self.mutations: list[str] = []

    def advance(self, result: object = None) -> Op | None:
        """Go on (with the result of the operation that was waited for) up to the next one that needs waiting;
        None at the end. Raises what the module raises; an OpError that it let pass becomes TaskFailed."""
        if self._pending is not None:
            self._changed(self._pending, result)
        return self._go(result, None)

    def throw(self, error: OpError | SlothError) -> Op | None:
        """Go on after the operation that was waited for failed, as ``advance`` does."""
        if self._pending is not None:
            self._failed(self._pending, error)
        return self._go(None, error)

    async def perform(self, transport: Transport, op: Op, on_output: Sink) -> Op | None:
        """Wait for ``op`` and go on. Cancelled, the module is closed: it does nothing more."""
        try:
            result = await transport.do(op, on_output)
        except (OpError, SlothError) as error:
            return self.throw(error)
        except BaseException:
            self._failed(op, None)
            self._steps.close()
            raise
        return self.advance(result)

    def _go(self, result: object, error: Exception | None) -> Op | None:
        self._pending = None
        while True:
            try:
                op = self._steps.send(result) if error is None else self._steps.throw(error)
            except StopIteration as end:
                self.outcome = end.value
                return None
            except OpError as failure:
                raise self._unexpected(failure) from failure
            result, error = None, None
            try:
                result = self._answer(op)
            except (OpError, SlothError) as failure:
                self._failed(op, failure)
                error = failure
                continue
            if isinstance(op, Recall | Source):
                continue
            if result is None:
                self._pending = op
                return op
            self._changed(op, result)

    def _answer(self, op: Step) -> object:
        if isinstance(op, Recall):
            return self._recall(op.name)
        if isinstance(op, Source):
            return self._source(op.path)
        return self._at_once(op)

    def _changed(self, op: Step, result: object) -> None:
        self.mutations.extend(mutation(op, result))

    def _failed(self, op: Step, error: BaseException | None) -> None:
        """What a failed operation may have changed: a program that was stopped, a removal half done."""
        if isinstance(error, OpError):
            if isinstance(op, Batch):
                self._changed(op, error.results)
            if error.partial:
                self.mutations.append(f"changed a part of {getattr(op, 'path', error.path)}")
        elif isinstance(op, Exec):
            self._changed(op, None)

    def _unexpected(self, error: OpError) -> TaskFailed:
        words = {
            "denied": ["run sloth-runner as a user who may do this, or give the path to one who may"],
            "no-user": ["make the user first, or check its spelling"],
            "no-group": ["make the group first, or check its spelling"],
            "mount": ["unmount it first"],
        }
        unchanged = [] if error.partial else [error.path]
        return TaskFailed(
            str(error), system=error.reason, unchanged=unchanged, next=words.get(error.kind, [])
        )
