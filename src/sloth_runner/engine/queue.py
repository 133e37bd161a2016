"""Why: a task runs on many machines at once, in batches if it says so, and stops when too many of them fail."""

from __future__ import annotations

from collections import deque

from sloth_runner.engine.rolling import batches, most_failures
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.engine.plan import Instance
    from sloth_runner.errors import SlothError
    from sloth_runner.model import TaskDef


class Ended(NamedTuple):
    """How an instance ended: its status, why, its error and what its function returned."""

    status: str
    reason: str | None = None
    error: SlothError | None = None
    result: object = None
    blocks: bool = False
    """Whether what depends on it can't run."""


class Queue:
    """The instances of one task: those ``waiting`` (with their place in the plan), how many are ``running``."""

    def __init__(self, task: TaskDef) -> None:
        self.instances: list[Instance] = []
        self.waiting: deque[tuple[int, Instance]] = deque()
        self.running = 0
        self._task = task
        self._batch: dict[str, int] = {}
        self._left: list[int] = []
        self._failed = 0
        self._most: int | None = None

    def add(self, index: int, instance: Instance) -> None:
        """One more, before anything starts."""
        self.instances.append(instance)
        self.waiting.append((index, instance))

    def roll(self, *, keep_going: bool) -> None:
        """All are there: make batches."""
        task, count = self._task, len(self.instances)
        numbers = batches(count, task.serial)
        self._batch = {one.id: number for one, number in zip(self.instances, numbers, strict=True)}
        self._left = [numbers.count(number) for number in range(max(numbers, default=-1) + 1)]
        self._most = most_failures(count, task.max_failures, task.serial, keep_going=keep_going)

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return not any(self._left)

    def verdict(self, instance: Instance) -> Ended | str:
        """start, wait for earlier batches, or how it has ended: too many have failed."""
        if self._most is not None and self._failed > self._most:
            failed = f"{self._failed} of {len(self.instances)} machines failed"
            return Ended("skipped", f"not started: {failed} (max_failures = {self._most})", blocks=True)
        return "wait" if any(self._left[: self._batch[instance.id]]) else "start"

    def end(self, instance: Instance, *, failed: bool) -> bool:
        """One has ended; whether it was the last."""
        self._left[self._batch[instance.id]] -= 1
        self._failed += failed
        return self.over
