"""Why: what durable state costs, beside SQLite itself writing the identical rows on the same disk.

    python -m benchmarks.store [FOLDER]

Alternates rounds of raw apsw and of State, so that both see the same disk; prints medians and their ratio.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from sloth_runner.model import By
from sloth_runner.state import edits
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.backends.sqlite_file import SCHEMA
from sloth_runner.state.backends.sqlite_log import CHECKPOINT
from sloth_runner.state.batch import Retention
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Check
from sloth_runner.state.writer import Writer

ROUNDS, WRITES = 15, 200


class Recorder:
    """Keeps the commits that State makes, to write the identical rows raw."""

    def __init__(self, store: SQLiteStore) -> None:
        self.store = store
        self.traits = store.traits
        self.get = store.get
        self.scan = store.scan
        self.close = store.close
        self.commits: list[list[tuple[str, bytes]]] = []

    def commit(self, changes: list[Change | Check]) -> list[int]:
        rows = [(c.key.partition("\x1f")[2], c.value) for c in changes if isinstance(c, Change) and c.value]
        self.commits.append(rows)
        return self.store.commit(changes)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    by = By("ann", "host", os.getpid(), "20260101-000000-abcdef", "task")
    store = SQLiteStore(folder / "state")
    recorder = Recorder(store)
    recorded = make_state(recorder, by)
    state = make_state(store, by)
    raw = open_raw(folder / "raw.db")
    ours, theirs = [], []
    for number in range(ROUNDS):
        recorder.commits.clear()
        for i in range(WRITES):
            recorded.set(f"bench{number}", f"recorded {number} {i}")
        commits = list(recorder.commits)
        theirs.append(timed(write_raw, raw, commits))
        ours.append(timed(write_state, state, number))
    report("state.set against raw apsw, identical rows", ours, theirs, WRITES)
    shared = [timed(write_together, state, 64) for _ in range(50)]
    alone = statistics.median(ours) / WRITES
    print(
        f"64 tasks in one commit: {statistics.median(shared) / 64 * 1e6:.0f} µs each; alone {alone * 1e6:.0f} µs"
    )
    reads = [timed(read_state, state, 1000) for _ in range(11)]
    print(f"state.get: {statistics.median(reads) * 1e3:.1f} µs")


def write_state(state: State, number: int) -> None:
    """As many commits as there are writes."""
    for i in range(WRITES):
        state.set(f"bench{number}", f"timed {number} {i}")


def write_together(state: State, count: int) -> None:
    """What the scheduler does for tasks that write in the same round."""
    state.writer.apply([state.edit(f"k{i}", edits.add(1)) for i in range(count)])


def read_state(state: State, count: int) -> None:
    """The same key again and again."""
    for _ in range(count):
        state.get("bench1")


def make_state(store: object, by: By) -> State:
    """A State as the program makes it."""
    writer = Writer(store, time.time, lambda: os.urandom(16).hex(), Retention())  # type: ignore[arg-type] # a Store
    return State(writer, "local", by)


def open_raw(path: Path) -> apsw.Connection:
    """A database with the same tables, the same durability and the same log."""
    raw = apsw.Connection(str(path))
    raw.pragma("journal_mode", "wal")
    raw.pragma("synchronous", "full")
    raw.wal_autocheckpoint(CHECKPOINT)
    raw.execute(SCHEMA)
    return raw


def write_raw(raw: apsw.Connection, commits: list[list[tuple[str, bytes]]]) -> None:
    """Each commit as one transaction."""
    for rev, rows in enumerate(commits):
        raw.execute("BEGIN IMMEDIATE")
        for key, value in rows:
            raw.execute("INSERT OR REPLACE INTO entry (key, rev, value) VALUES (?, ?, ?)", (key, rev, value))
        raw.execute("COMMIT")


def timed(action: Callable[..., object], *args: object) -> float:
    """Seconds."""
    began = time.perf_counter()
    action(*args)
    return time.perf_counter() - began


def report(what: str, ours: list[float], theirs: list[float], count: int) -> None:
    """Medians in microseconds and their ratio."""
    mine, other = statistics.median(ours) / count, statistics.median(theirs) / count
    print(f"{what}: {mine * 1e6:.0f} µs against {other * 1e6:.0f} µs: {mine / other:.2f} times")


if __name__ == "__main__":
    main()
