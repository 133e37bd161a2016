"""Why: something that writes as fast as it can and says after each write what is acknowledged, until it is killed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from sloth_runner.model import By
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.state import State
from sloth_runner.state.writer import Writer


def open_state(folder: str, retention: Retention | None = None) -> State:
    """A State as the program makes it: real clock, real ids."""
    store = SQLiteStore(Path(folder), patience=60.0)
    writer = Writer(
        store, time.time, lambda: os.urandom(16).hex(), retention or Retention(keep=10, days=0, most=30)
    )
    return State(writer, "local", By("t", "h", os.getpid(), f"run{os.getpid()}", None))


def main() -> None:
    folder, name = sys.argv[1:]
    state = open_state(folder)
    out = sys.stdout.fileno()
    number = int(state.get(name, 0))
    while True:
        number += 1
        state.set(name, number)
        os.write(out, b"set %d\n" % number)
        total = state.increment("shared")
        os.write(out, b"sum %d\n" % total)
        if number % 5 == 0:
            state.set(f"{name}:long", "x" * 100_000 + str(number))
            os.write(out, b"long %d\n" % number)
        if number % 7 == 0:
            state.delete(f"{name}:long")
            os.write(out, b"gone %d\n" % number)


if __name__ == "__main__":
    main()
