"""Why: those who contend for a lock are processes of several threads, as runs on several machines would be.

Each thread takes the lock, writes twice under it, and lets go, again and again until the contest is over. What it
does is told on standard output, one JSON object a line; standard input says when which contest begins and ends. Now
and then a thread stops its own process between the two writes, as a machine does that is suspended, and goes on when
somebody wakes it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from sloth_runner.errors import Conflict, Indeterminate, LockLost, StoreDown
from sloth_runner.model import By
from sloth_runner.state import locks
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.batch import KEEP_ALL
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.patience import Patience
from sloth_runner.state.patient import Patient
from sloth_runner.state.state import State
from sloth_runner.state.store import Store
from sloth_runner.state.writer import Writer

SPACE = "local"


class Orders(NamedTuple):
    """What a process is told: the store, its number, how many threads, and the ``ttl`` of locks in seconds."""

    url: str
    folder: str
    number: int
    threads: int
    ttl: float


class Contest(NamedTuple):
    """``name`` of the lock and of the key that is written under it, ``TOKEN.NUMBER``; whether writes check that the
    lock is held; which part of all times a thread stops its process."""

    name: str
    fenced: bool
    stops: float


class Contender:
    """One thread's part."""

    def __init__(
        self, orders: Orders, contest: Contest, name: str, over: threading.Event, says: Speaker
    ) -> None:
        self._orders = orders
        self._contest = contest
        self._name = name
        self._over = over
        self._says = says
        self._random = random.Random(name)
        self._by = By(name, f"host{orders.number}", os.getpid())

    def run(self) -> None:
        """Until it is over. What should not happen is told, too."""
        try:
            self._contend()
        except BaseException as error:
            self._says("error", what=repr(error))
            raise

    def _sleep(self, seconds: float) -> None:
        """``time.sleep`` is refused by the kernel where libfaketime shifts one clock and not the other."""
        self._over.wait(seconds)

    def _contend(self) -> None:
        inner = open_store(self._orders.url, Options(Path(self._orders.folder), 30.0, 10.0))
        store: Store = (
            inner if inner.traits.embedded else Patient(inner, Patience(10.0, 30.0, sleep=self._sleep))
        )
        state = State(Writer(store, time.time, lambda: os.urandom(16).hex(), KEEP_ALL), SPACE, self._by)
        count = 0
        try:
            while not self._over.is_set():
                count += 1
                held = self._take(store, count)
                if held is not None:
                    self._inside(state, held)
        finally:
            store.close()

    def _take(self, store: Store, count: int) -> Held | None:
        """Wait for the lock as runs do: by asking, at growing random intervals."""
        owner = Owner(self._name, f"{self._name}.{count}", self._by)
        pause = 0.005
        while not self._over.is_set():
            try:
                got = locks.acquire(store, SPACE, self._contest.name, owner, self._orders.ttl, time.time())
            except (Conflict, Indeterminate, StoreDown) as error:
                self._says("trouble", what=f"{type(error).__name__}: {error}")
            else:
                if isinstance(got, Held):
                    return got
            self._over.wait(pause * self._random.uniform(0.5, 1.5))
            pause = min(pause * 1.5, 0.25)
        return None

    def _inside(self, state: State, held: Held) -> None:
        self._says("taken", token=held.token)
        store = state.writer.store
        try:
            self._write(state, held, 1)
            if self._random.random() < self._contest.stops:
                self._says("stops", token=held.token)
                # To this very thread: sent to the process, another one may take it, and this one write meanwhile.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            if self._contest.fenced and self._random.random() < 0.1:  # who renews is told that it is too late
                held = locks.renew(store, held, time.time())
            self._write(state, held, 2)
            if not locks.release(store, held, time.time()):
                self._says("lost", token=held.token)
        except LockLost:
            self._says("lost", token=held.token)
        except (Conflict, Indeterminate, StoreDown) as error:
            self._says("trouble", what=f"{type(error).__name__}: {error}")

    def _write(self, state: State, held: Held, number: int) -> None:
        under = state.under((held.fence,)) if self._contest.fenced else state
        under.set(self._contest.name, f"{held.token}.{number}")
        self._says("wrote", token=held.token, number=number)


class Speaker:
    """Lines on standard output, whole ones."""

    def __init__(self) -> None:
        self._guard = threading.Lock()

    def __call__(self, event: str, **more: object) -> None:
        line = json.dumps({"event": event, **more})
        with self._guard:
            print(line, flush=True)


def main() -> None:
    orders, says = Orders(*json.loads(sys.argv[1])), Speaker()
    says("ready", time=time.time())
    for line in sys.stdin:
        contest, over = Contest(*json.loads(line)), threading.Event()
        names = [f"c{orders.number}.{n}" for n in range(orders.threads)]
        threads = [
            threading.Thread(target=Contender(orders, contest, name, over, says).run) for name in names
        ]
        for thread in threads:
            thread.start()
        sys.stdin.readline()
        over.set()
        for thread in threads:
            thread.join()
        says("over")


if __name__ == "__main__":
    main()
