"""Why: something that turns the keys of a state over until it is killed; or that uses the state meanwhile."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from sloth_runner.model import By
from sloth_runner.state import locks, reseal
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.state import State
from sloth_runner.state.writer import Writer
from tests.state.kit import key_source

BY = By("t", "h", 1)


def open_store(folder: str) -> Sealed:
    return Sealed(SQLiteStore(Path(folder), patience=60.0), key_source())


def open_state(folder: str) -> State:
    """A State as the program makes it: real clock, real ids; few revisions are kept."""
    rule = Retention(keep=5, days=0, most=10)
    return State(Writer(open_store(folder), time.time, lambda: os.urandom(16).hex(), rule), "local", BY)


def rekey(folder: str) -> None:
    """Turn over for ever; says what each turn came to."""
    store = open_store(folder)
    while True:
        done = reseal.rekey(store, os.urandom, lambda count: None)
        os.write(1, b"done %d %d\n" % (done.changed, len(done.waiting)))


def use(folder: str) -> None:
    """Count under a lock that is held for long and renewed, until standard input ends; then say the sum."""
    import select

    state = open_state(folder)
    store = state.writer.store
    lock = locks.acquire(store, "local", "held", Owner("use", "use", BY), 60, time.time())
    assert isinstance(lock, Held)
    under = state.under((lock.fence,))
    total = 0
    os.write(1, b"ready\n")
    while not select.select([0], [], [], 0)[0]:
        total = int(under.increment("counter"))
        assert state.get("counter") == total
        if total % 20 == 0:
            locks.renew(store, lock, time.time())
        if total % 7 == 0:
            under.set("long", "z" * 70_000 + str(total))
        time.sleep(0.002)
    assert locks.release(store, lock, time.time())
    os.write(1, b"%d\n" % total)


if __name__ == "__main__":
    {"rekey": rekey, "use": use}[sys.argv[1]](sys.argv[2])
