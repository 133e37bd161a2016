"""Why: a real store is used by eight clients at once while its server, its network or its clients are hurt.

Histories about leases, in which clients mostly wait, go on beside the others for as long as they take; the others
come two by two. A client is a thread with a handle of its own, or stands for a process that has it.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.linearizability.clients import KINDS, Client, Profile, Workload, workload
from tests.linearizability.far import Far, Near, Place
from tests.linearizability.history import Recorder

CLIENTS = 8
EACH = 6
"""Requests of one client that count: those that failed are made again, as others."""
LONGEST = 30.0
"""Seconds that a history may take; its clients then stop where they are."""
PAUSE = 0.1
"""Seconds until a client that was refused asks again."""
TOGETHER = 2
"""Histories that go on at once, and meet the same fault: each client makes a request of one, then of the other."""
LEASES = 8
"""One in so many histories is about leases."""


class Around(NamedTuple):
    """What a fault may use: chance; the clients that are processes; and ``during``, which waits until so many calls
    of the history have ended since, but not longer than some seconds."""

    random: random.Random
    far: Sequence[Far]
    during: Callable[[int, float], object]


Fault = Callable[[Around], None]
"""Hurts something, and heals it."""


class Site(NamedTuple):
    """A store to be tried: how clients open it, what it is like, and what may happen to it, with weights; ``far``:
    how many of the clients are processes."""

    place: Place
    profile: Profile
    faults: Mapping[str, tuple[int, Fault]]
    far: int = 0


class Report(NamedTuple):
    """How many histories there were, operations in them, those that failed and are unknown; faults by name, with how
    often they were made and how long the histories took that met them; the seconds that all took and that the checker
    took; ``wrong``: histories that are not linearizable, for people."""

    histories: int
    ops: int
    failed: int
    unknown: int
    faults: Mapping[str, str]
    seconds: float
    checking: float
    wrong: Sequence[str]


class _Job:
    """One client's part of a history."""

    def __init__(self, number: int, recorder: Recorder, mind: Client, done: Callable[[], None]) -> None:
        self.number = number
        self.recorder = recorder
        self.mind = mind
        self.done = done
        self.left = EACH
        self.until = time.monotonic() + LONGEST


class _Worker(threading.Thread):
    """Does the jobs of one client, each when it is due."""

    def __init__(self, client: Near | Far) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.error: BaseException | None = None
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._due: list[tuple[float, int, _Job]] = []
        self._order = itertools.count()

    def run(self) -> None:
        try:
            while (job := self._next()) is not None:
                self._step(job)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.client.close()

    def _next(self) -> _Job | None:
        while True:
            wait = None if not self._due else max(0.0, self._due[0][0] - time.monotonic())
            try:
                job = self.jobs.get(timeout=wait) if wait is None or wait > 0 else self.jobs.get_nowait()
            except queue.Empty:
                return heapq.heappop(self._due)[2]
            if job is None:
                return None
            self._later(job, 0.0)

    def _later(self, job: _Job, seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), job))

    def _step(self, job: _Job) -> None:
        failed = len(job.recorder.failed)
        thinks = job.recorder.call(job.number, job.mind, self.client.perform)
        if len(job.recorder.failed) > failed:
            thinks += PAUSE
        else:
            job.left -= 1
        if job.left and time.monotonic() < job.until:
            self._later(job, thinks)
        else:
            job.done()


class _History:
    """A history on its way."""

    def __init__(self, part: Workload, workers: Sequence[_Worker]) -> None:
        self.recorder = Recorder(part, time.monotonic)
        self._left = len(workers)
        self._guard = threading.Condition()
        for number, worker in enumerate(workers):
            worker.jobs.put(_Job(number, self.recorder, part.client(number), self._one_done))

    def join(self) -> None:
        """Wait until all clients are done."""
        with self._guard:
            if not self._guard.wait_for(lambda: self._left == 0, 4 * LONGEST):
                raise TimeoutError("a client is stuck")

    def _one_done(self) -> None:
        with self._guard:
            self._left -= 1
            self._guard.notify_all()


class Rig:
    """The clients of one site. ``name`` makes this run's keys its own."""

    def __init__(self, site: Site, seed: int, name: str = "h") -> None:
        self._site = site
        self._name = name
        self._random = random.Random(seed)
        self._workers = [
            _Worker(Far(site.place) if number < site.far else Near(site.place)) for number in range(CLIENTS)
        ]
        for worker in self._workers:
            worker.start()

    def run(self, count: int) -> Report:
        """So many histories, with faults."""
        began = time.monotonic()
        slow = [self._begin("lease", n) for n in range(count // LEASES)]
        quick = [kind for kind in KINDS if kind != "lease"]
        happened: dict[str, list[float]] = {}
        done: list[_History] = []
        for first in range(len(slow), count, TOGETHER):
            numbers = range(first, min(first + TOGETHER, count))
            some = [self._begin(quick[number % len(quick)], number) for number in numbers]
            fault, since = self._choose(), time.monotonic()
            self._hurt(some[0], fault)
            for one in some:
                one.join()
            happened.setdefault(fault, []).append(time.monotonic() - since)
            done += some
        for one in slow:
            one.join()
        seconds = time.monotonic() - began
        return self._report(slow + done, happened, seconds)

    def close(self) -> None:
        """End all clients; raises what one of them met and should not have."""
        for worker in self._workers:
            worker.jobs.put(None)
        for worker in self._workers:
            worker.join()
        errors = [worker.error for worker in self._workers if worker.error is not None]
        if errors:
            raise errors[0]

    def _begin(self, kind: str, number: int) -> _History:
        part = workload(kind, f"{self._name}{number}", self._random, self._site.profile)
        return _History(part, self._workers)

    def _choose(self) -> str:
        faults = self._site.faults
        return self._random.choices(list(faults), [weight for weight, _ in faults.values()])[0]

    def _hurt(self, one: _History, fault: str) -> None:
        recorder = one.recorder
        recorder.wait(self._random.randrange(1, CLIENTS * EACH // 2), LONGEST)

        def during(calls: int, seconds: float) -> bool:
            return recorder.wait(recorder.ended + calls, seconds)

        far = [worker.client for worker in self._workers if isinstance(worker.client, Far)]
        self._site.faults[fault][1](Around(self._random, far, during))

    def _report(
        self, done: Sequence[_History], happened: Mapping[str, list[float]], seconds: float
    ) -> Report:
        began = time.monotonic()
        found = [one.recorder.judge() for one in done]
        return Report(
            len(found),
            sum(one.ops for one in found),
            sum(one.failed for one in found),
            sum(one.unknown for one in found),
            {name: f"{len(each)} in {sum(each):.1f} s" for name, each in happened.items()},
            seconds,
            time.monotonic() - began,
            [one.text for one in found if not one.good],
        )
