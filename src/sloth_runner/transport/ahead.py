"""Why: what a task is going to look at is mostly what it looked at last time, and one question takes as long as many.

Answers that were asked for ahead are kept here until they are asked for, once each, for a short time, and only as
long as nothing was changed on that machine since they were asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sloth_runner.ops import Batch

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result

FRESH = 10.0
"""Seconds for which an answer is good."""


class Ahead:
    """Answers for one machine. ``clock`` only goes forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[object, tuple[float, Result]] = {}
        self._changing = 0
        self.epoch = 0

    def keep(self, op: Op, result: Result, epoch: int) -> None:
        """An answer to a question that was asked in ``epoch``."""
        if epoch == self.epoch and not self._changing:
            self._answers[_key(op)] = (self._clock() + FRESH, result)

    def take(self, op: Op) -> Result | None:
        """The answer, which is gone then; None if there is none. Of a Batch: of all its operations."""
        if not self._answers:
            return None
        ops = op.ops if isinstance(op, Batch) else (op,)
        now, keys = self._clock(), [_key(one) for one in ops]
        found = [self._answers.get(key) for key in keys]
        if not all(one is not None and one[0] >= now for one in found):
            return None
        results = tuple([self._answers.pop(key)[1] for key in dict.fromkeys(keys)])
        if len(results) != len(keys):
            return None  # one question twice: rare, and not worth more
        return results if isinstance(op, Batch) else results[0]

    def begin_change(self) -> None:
        """Something is going to be changed: nothing that is known counts any more."""
        self._changing += 1
        self.epoch += 1
        self._answers.clear()

    def end_change(self) -> None:
        """It has been changed (or not): what was asked for meanwhile does not count either."""
        self._changing -= 1
        self.epoch += 1


def _key(op: Op) -> object:
    """What tells one question from another: equal fields of another class are another question."""
    try:
        hash(op)
    except TypeError:
        from sloth_runner.agent.wire import dumps

        return dumps(op)
    return (type(op), op)
