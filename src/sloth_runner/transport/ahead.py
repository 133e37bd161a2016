"""Why: what a task is going to look at is mostly what it looked at last time, and one question takes as long as many.

Questions that are expected are asked for together; each answer is good as often as it was expected, for a short time,
and only as long as nothing has been changed on that machine since it was asked for. Then what is still expected is
asked again, in fewer at once the more often that happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sloth_runner.ops import Batch
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result

FRESH = 10.0
"""Seconds for which an answer is good."""
MOST = 1000
"""Questions in one message at most."""
LEAST = 4


class Ahead:
    """Expected questions to one machine, and their answers. ``beside``: those of another user there, who may have
    begun to change something. ``clock`` only goes forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, beside: Ahead | None = None) -> None:
        self._clock = clock
        self._expected: dict[object, tuple[Op, int]] = {}
        self._answers: dict[object, tuple[float, Result]] = {}
        self._changing: int = 0 if beside is None else beside._changing
        self._window = MOST
        self._used = 0
        self.epoch = 0

    def expect(self, ops: Iterable[Op]) -> None:
        """These are going to be asked, in about this order; each as often as it is among them."""
        self._window = MOST
        more: dict[object, tuple[Op, int]] = {}
        for op in ops:
            key = key_of(op)
            more[key] = (op, more[key][1] + 1 if key in more else 1)
        for key, expected in more.items():
            self._expected.setdefault(key, expected)

    def expects(self, op: Op) -> bool:
        """Whether that question is expected, and not answered."""
        key = key_of(op) if self._expected else None
        return key in self._expected and key not in self._answers

    def due(self, first: Op | None = None) -> list[Op]:
        """What is to be asked together now: ``first``, and expected ones that have no answer."""
        rest = (op for key, (op, _) in self._expected.items() if key not in self._answers and op != first)
        found = [] if first is None else [first]
        return found + [op for _, op in zip(range(self._window - len(found)), rest, strict=False)]

    def keep(self, op: Op, result: Result, epoch: int) -> None:
        """An answer to a question that was asked in ``epoch``."""
        if epoch == self.epoch and not self._changing:
            self._answers[key_of(op)] = (self._clock() + FRESH, result)

    def take(self, op: Op) -> Result | None:
        """The answer, which is gone then, unless it is expected to be asked again; None if there is none. Of a Batch:
        of all its operations."""
        if not self._answers:
            return None
        ops = op.ops if isinstance(op, Batch) else (op,)
        now, keys = self._clock(), list(dict.fromkeys(map(key_of, ops)))
        found = [self._answers.get(key) for key in keys]
        if len(keys) < len(ops) or not all(one is not None and one[0] >= now for one in found):
            return None
        self._used += len(keys)
        results = []
        for key in keys:
            results.append(self._answers[key][1])
            expected, times = self._expected.get(key, (op, 1))
            if times > 1:
                self._expected[key] = (expected, times - 1)
            else:
                self._expected.pop(key, None)
                del self._answers[key]
        return tuple(results) if isinstance(op, Batch) else results[0]

    def forget(self, ops: Iterable[Op]) -> None:
        """These are asked otherwise."""
        for op in ops:
            self._expected.pop(key_of(op), None)

    def begin_change(self) -> None:
        """Something is going to be changed: nothing that is known counts any more."""
        self._changing += 1
        if self._answers:
            self._answers.clear()
            self._window = max(LEAST, min(MOST, 2 * self._used))
        self._used = 0

    def end_change(self) -> None:
        """It has been changed (or not): what was asked for meanwhile does not count either."""
        self._changing -= 1
        self.epoch += 1


def key_of(op: Op) -> object:
    """What tells one question from another: equal fields of another class are another question."""
    try:
        hash(op)
    except TypeError:
        from sloth_runner.agent.wire import dumps

        return dumps(op)
    return (type(op), op)
