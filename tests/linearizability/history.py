"""Why: a history is what all clients of one store saw, by one clock; it is taken and told here.

``Recorder`` notes calls as they are made and as they end. What failed for certain is noted for people and is no
part of what the checker is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from tests.linearizability.checker import Op, Request, check, shortest, story
from tests.linearizability.clients import Client, Workload
from tests.linearizability.perform import Outcome


class Found(NamedTuple):
    """What the checker says of a history: whether it is linearizable, how many operations it had, how many of them
    failed or are unknown, and what is wrong, for people."""

    good: bool
    ops: int
    failed: int
    unknown: int
    text: str = ""


class Recorder:
    """The history of one workload; ``clock`` in seconds. May be used from several threads."""

    def __init__(self, workload: Workload, clock: Callable[[], float]) -> None:
        self.workload = workload
        self.clock = clock
        self.ops: list[Op] = []
        self.failed: list[tuple[Op, str]] = []
        self.lost: list[tuple[Op, int, bool]] = []
        """Calls that lost so many replies on the way, and whether they failed in the end."""
        self.ended = 0
        """Calls that have come to an end, of whatever kind."""
        self._guard = threading.Condition()

    def call(self, client: int, mind: Client, perform: Callable[[Request], Outcome]) -> float:
        """Have a client make its next request; note it. Seconds until it has thought of another."""
        request = mind.next()
        began = self.clock()
        outcome = perform(request)
        ended = inf if outcome.fate == "unknown" else self.clock()
        op = Op(client, began, ended, request, outcome.result)
        with self._guard:
            if outcome.fate == "failed":
                self.failed.append((op, outcome.why))
            elif op.known or not self.workload.model.reads(op):  # an unanswered read says nothing
                self.ops.append(op)
            if outcome.lost:
                self.lost.append((op, outcome.lost, outcome.fate == "failed"))
            self.ended += 1
            self._guard.notify_all()
        return mind.saw(request, outcome)

    def wait(self, calls: int, seconds: float) -> bool:
        """Wait until so many calls have ended, at most that long; whether they have."""
        with self._guard:
            return self._guard.wait_for(lambda: self.ended >= calls, seconds)

    def judge(self, seconds: float = 60.0) -> Found:
        """Ask the checker."""
        model = self.workload.model
        ops = [*self.ops]
        for lost in self.lost:
            ops += model.besides(*lost, self.ops)
        unknown = sum(not op.known for op in ops)
        verdict = check(model, ops, seconds)
        figures = (len(ops), len(self.failed), unknown)
        if verdict.good:
            return Found(True, *figures)
        assert verdict.model is not None
        if verdict.timed_out:
            text = f"{self.workload.name}: the checker gave up after {seconds:g} s"
            return Found(False, *figures, f"{text}\n{story(verdict.model, verdict.ops, self.failed)}")
        least = shortest(verdict.model, verdict.ops)
        text = f"{self.workload.name}: no order of these explains what was seen (of {len(ops)} operations)"
        return Found(False, *figures, f"{text}\n{story(verdict.model, least, self.failed, ops)}")
