"""Why: verification, checkpoints and questions over a namespace must stay quick, and small in memory, as it grows.

``python -m benchmarks.history [KEYS]``: fills a SQLite store with KEYS keys of 100 bytes (default 100,000), a tenth
of them with ten revisions, and prints what each question costs, and the most memory that was used.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sloth_runner.model import By
from sloth_runner.state import history, rollback, tags
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.edits import put
from sloth_runner.state.state import State
from sloth_runner.state.verify import verify
from sloth_runner.state.writer import Writer


def main() -> None:
    """Fill, ask, print."""
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStore(Path(folder))
        writer = Writer(store, time.time, lambda: os.urandom(16).hex(), Retention())
        by = By("bench", "host", os.getpid())
        state = State(writer, "local", by)
        _timed("fill", keys, lambda: _fill(state, keys))
        filled = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        then = time.time()
        revisions = keys + keys // 10 * 9
        _timed("verify (revisions)", revisions, lambda: verify(store, "local"))
        _timed("tag", keys, lambda: tags.make(store, "local", "t", by, time.time()))
        _timed("verify with a tag", revisions, lambda: verify(store, "local"))
        _timed("history --limit 100", keys, lambda: history.latest(store, "local", "", history.Filter(), 100))
        _timed("plan of a rollback", keys, lambda: rollback.plan(store, "local", rollback.Target(then), then))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{'memory':22} {most / 1024:8.0f} MiB at most, {filled / 1024:.0f} MiB of them while filling")
        store.close()


def _fill(state: State, keys: int) -> None:
    value = "x" * 90
    for round_ in range(10):
        names = [f"key:{number:09d}" for number in range(0, keys, 1 if round_ == 0 else 10)]
        for start in range(0, len(names), 1000):
            part = names[start : start + 1000]
            state.writer.apply([state.edit(name, put(f"{value}{round_}")) for name in part])


def _timed(what: str, count: int, do: Callable[[], object]) -> None:
    began = time.perf_counter()
    do()
    took = time.perf_counter() - began
    print(f"{what:22} {took:8.2f} s {count / took:12,.0f}/s")


if __name__ == "__main__":
    main()
