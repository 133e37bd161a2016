"""Why: 64 contenders in eight processes are given wrong clocks, stopped and woken, and judged by what the store has
in the end.

Every write of the key is in its history, in the store's own order. Two holders overlapped if a write under an older
token stands behind one under a newer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.layout import HISTORY, revisions_of
from sloth_runner.state.record import decode_record
from sloth_runner.state.store import walk
from sloth_runner.state.value import decode
from tests.exclusion import clocks
from tests.exclusion.contender import SPACE, Contest, Orders

PROCESSES, THREADS = 8, 8
PATIENCE = 120.0
"""Seconds without any news that mean that something is stuck."""


class Place(NamedTuple):
    """A store; ``ttl`` of its locks, and ``lag``: how long an ended lease may still be there, in seconds; ``wrong``:
    by how many minutes clocks are wrong, by the number of their process."""

    url: str
    folder: str
    ttl: float
    lag: float
    wrong: Mapping[int, int]


class Outcome(NamedTuple):
    """``taken``: acquisitions; ``by_wrong``: those of each process with a wrong clock; ``writes``: in the history;
    ``stopped``: processes past their lease; ``lost``: holders that were told so; ``overlaps``: writes under a newer
    token, and one under an older behind it; ``missing``: acknowledged writes that are not in the history, or twice;
    ``troubles`` by kind; ``seconds``."""

    taken: int
    by_wrong: dict[int, int]
    writes: int
    stopped: int
    lost: int
    overlaps: list[tuple[str, str]]
    missing: list[str]
    troubles: dict[str, int]
    seconds: float


class _Process:
    """One process of contenders. ``hears`` gets its news."""

    def __init__(self, orders: Orders, wrong: int, hears: Callable[[_Process, dict[str, Any]], None]) -> None:
        argv = [sys.executable, "-m", "tests.exclusion.contender", json.dumps(orders)]
        environ = dict(os.environ)
        self.number = orders.number
        if wrong:
            argv = clocks.wrong(argv, wrong)
            environ |= clocks.ENVIRON
        self.popen = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            start_new_session=True,
        )
        self._hears = hears
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def tell(self, line: str) -> None:
        """A line of its standard input."""
        stdin = self._end(self.popen.stdin)
        stdin.write(line + "\n")
        stdin.flush()

    def wake(self) -> None:
        """Let it go on."""
        os.killpg(self.popen.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, now, and what it began: faketime waits beside the program that it starts."""
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        clocks.tidy(self.popen.pid)
        self._thread.join()
        for one in (self.popen.stdin, self.popen.stdout):
            self._end(one).close()

    def _end(self, pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe

    def _listen(self) -> None:
        for line in self._end(self.popen.stdout):
            self._hears(self, json.loads(line))
        self._hears(self, {"event": "died"})


class Arena:
    """The contenders for locks at one place, for one contest after the other."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._news = threading.Condition()
        self._forget()
        self._clocks: dict[_Process, float] = {}
        self._processes = [
            _Process(
                Orders(place.url, place.folder, number, THREADS, place.ttl),
                place.wrong.get(number, 0),
                self._hear,
            )
            for number in range(PROCESSES)
        ]
        self._wait(lambda: len(self._clocks) == PROCESSES)

    def wrong_clocks(self) -> Mapping[int, int]:
        """By how many minutes clocks are wrong, by the number of their process: as they say."""
        minutes = {process.number: round(self._clocks[process] / 60) for process in self._processes}
        return {number: found for number, found in minutes.items() if found}

    def run(self, contest: Contest, acquisitions: int, stops: int, turns: Collection[int] = ()) -> Outcome:
        """One contest, until there were so many of each, and each process of ``turns`` had the lock: whoever has
        just had it asks more often than those who wait, so that may take longer than all the rest."""
        self._forget()
        began = time.monotonic()
        for process in self._processes:
            process.tell(json.dumps(contest))

        def enough() -> bool:
            return len(self._taken) >= acquisitions and all(self._by_wrong[number] for number in turns)

        while not enough() or self._stopped < stops:
            self._wait(lambda: bool(self._asleep) or enough())
            self._wake()
        for process in self._processes:
            process.tell("over")
        while self._over < PROCESSES:
            self._wait(lambda: bool(self._asleep) or self._over == PROCESSES)
            self._wake()
        return self._judge(contest, time.monotonic() - began)

    def close(self) -> None:
        """End all contenders."""
        for process in self._processes:
            process.close()

    def _forget(self) -> None:
        self._taken: list[int] = []
        self._by_wrong = dict.fromkeys(self._place.wrong, 0)
        self._wrote: list[str] = []
        self._newest = 0
        self._stopped = 0
        self._lost = 0
        self._over = 0
        self._troubles: Counter[str] = Counter()
        self._errors: list[str] = []
        self._asleep: list[tuple[_Process, int]] = []

    def _hear(self, process: _Process, news: dict[str, Any]) -> None:
        """What a contender tells."""
        with self._news:
            event, token = news["event"], news.get("token", 0)
            if event == "ready":
                self._clocks[process] = news["time"] - time.time()
            elif event == "taken":
                self._taken.append(token)
                if process.number in self._by_wrong:
                    self._by_wrong[process.number] += 1
            elif event == "wrote":
                self._wrote.append(f"{token}.{news['number']}")
                self._newest = max(self._newest, token)
            elif event == "lost":
                self._lost += 1
            elif event == "stops":
                self._asleep.append((process, token))
            elif event == "over":
                self._over += 1
            elif event == "died":
                self._errors.append(f"process {process.number} has ended")
            elif event == "trouble":
                self._troubles[news["what"]] += 1
            else:
                self._errors.append(news["what"])
            self._news.notify_all()

    def _wait(self, until: Callable[[], bool]) -> None:
        with self._news:
            while not until() and not self._errors:
                if not self._news.wait(PATIENCE):
                    raise TimeoutError(f"nobody gets on; troubles: {dict(self._troubles)}")
            if self._errors:
                raise AssertionError(self._errors[0])

    def _wake(self) -> None:
        """Let those who stopped go on, once their lease has ended and another has written under the lock. (When all
        others are asleep, too, or have ended, nobody does, and it does not count.)"""
        with self._news:
            sleepers, self._asleep = self._asleep, []
        limit = time.monotonic() + self._place.ttl + self._place.lag + 5.0
        for process, token in sleepers:
            with self._news:
                over = self._news.wait_for(partial(self._is_over, token), max(0.0, limit - time.monotonic()))
            process.wake()
            self._stopped += over

    def _is_over(self, token: int) -> bool:
        """Whether there has been a write under a newer token."""
        return self._newest > token

    def _judge(self, contest: Contest, seconds: float) -> Outcome:
        written = list(history(self._place, contest.name))
        overlaps = []
        newest = (0, "")
        for value in written:
            token = int(value.partition(".")[0])
            if token < newest[0]:
                overlaps.append((newest[1], value))
            newest = max(newest, (token, value))
        counts = Counter(written)
        missing = [value for value in self._wrote if counts[value] != 1]
        figures = (len(self._taken), self._by_wrong, len(written), self._stopped, self._lost)
        return Outcome(*figures, overlaps, missing, dict(self._troubles), seconds)


def history(place: Place, key: str) -> Iterator[str]:
    """All values that the key ever had, in the store's order."""
    store = open_store(place.url, Options(Path(place.folder), 30.0, 30.0))
    for entry in walk(store, revisions_of(SPACE, HISTORY, key)):
        text = decode_record(entry.value).text
        assert text is not None
        value = decode(text)
        assert isinstance(value, str)
        yield value
    store.close()
