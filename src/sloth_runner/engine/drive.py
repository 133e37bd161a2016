"""Why: modules only ask; this is where their operations are performed, and what they changed is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sloth_runner.errors import SlothError, TaskFailed
from sloth_runner.model import Outcome, Sink
from sloth_runner.modules.base import Steps
from sloth_runner.ops import MUTATING, Exec, Op, OpError, Recall, Source, describe

if TYPE_CHECKING:
    from sloth_runner.transport.base import Transport


class Drive:
    """One module call under way. ``at_once`` performs what needs no waiting (None: it needs some); ``recall``
    and ``source`` answer the two operations that no machine performs. ``mutations`` says what was changed."""

    def __init__(
        self,
        steps: Steps,
        at_once: Callable[[Op], object | None],
        recall: Callable[[str], Mapping[str, Any] | None],
        source: Callable[[str], bytes],
    ) -> None:
        self._steps = steps
        self._at_once = at_once
        self._recall = recall
        self._source = source
        self.outcome: Outcome | None = None
        self.mutations: list[str] = []

    def advance(self, answer: object = None, error: OpError | None = None) -> Op | None:
        """Go on with an answer (or an error) until an operation must be waited for: it is returned, or None at
        the end. Raises what the module raises; an operation's error that it did not expect as TaskFailed."""
        while True:
            try:
                op = self._steps.send(answer) if error is None else self._steps.throw(error)
            except StopIteration as end:
                self.outcome = end.value
                return None
            except OpError as failure:
                raise TaskFailed(str(failure), system=failure.reason) from failure
            answer, error = None, None
            try:
                if isinstance(op, Recall):
                    answer = self._recall(op.name)
                    continue
                if isinstance(op, Source):
                    answer = self._source(op.path)
                    continue
                answer = self._at_once(op)
            except OpError as failure:
                error = failure
                continue
            if answer is None:
                return op
            self._count(op)

    async def perform(self, transport: Transport, op: Op, on_output: Sink) -> Op | None:
        """Wait for one operation and go on with its answer; the next one to wait for, or None at the end."""
        try:
            answer = await transport.do(op, on_output)
        except OpError as failure:
            return self.advance(error=failure)
        except SlothError:
            self._count(op)
            self._steps.close()
            raise
        self._count(op)
        return self.advance(answer)

    def _count(self, op: Op) -> None:
        if isinstance(op, MUTATING) or (isinstance(op, Exec) and not op.asks):
            self.mutations.append(describe(op))
