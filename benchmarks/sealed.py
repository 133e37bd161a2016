"""Why: what encryption costs, beside the same state in plaintext on the same disk.

    python -m benchmarks.sealed [FOLDER]

Alternates rounds, so that both see the same disk; prints medians. Then the whole of a migration: records per second.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.store import timed
from sloth_runner.model import By
from sloth_runner.secret import Secret
from sloth_runner.state import edits, reseal
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.keysources import from_key, from_passphrase
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.state import State
from sloth_runner.state.store import Store
from sloth_runner.state.writer import Writer

ROUNDS, MIGRATED = 15, 20_000
SOURCE = from_key(lambda: Secret(bytes(range(128, 160))), "a key")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    plain = make_state(SQLiteStore(folder / "plain"))
    sealed = make_state(Sealed(SQLiteStore(folder / "sealed"), SOURCE))
    works: dict[str, tuple[Callable[[State, int], None], int]] = {
        "state.get": (read, 2000),
        "state.set, a commit each": (write, 100),
        "state.set, 500 in a commit": (write_together, 500),
        "walk of 500 keys": (walk, 500),
    }
    for name, (work, count) in works.items():
        found = [(timed(work, plain, count), timed(work, sealed, count)) for _ in range(ROUNDS)]
        one, other = (statistics.median(column) / count * 1e6 for column in zip(*found, strict=True))
        print(f"{name}: plain {one:.1f} µs, sealed {other:.1f} µs ({other / one:.2f} times)")
    migrate(folder / "migrated")
    words = from_passphrase(lambda: Secret(b"correct horse"), os.urandom)
    parameters = words.begin("")
    print(f"unlocking with a passphrase: {timed(words.key, parameters, '') * 1e3:.0f} ms")


def make_state(store: Store) -> State:
    """A State as the program makes it."""
    writer = Writer(store, time.time, lambda: os.urandom(16).hex(), Retention())
    return State(writer, "local", By("ann", "host", os.getpid(), "20260101-000000-abcdef", "task"))


def read(state: State, count: int) -> None:
    """The same key again and again."""
    state.set("read", "x" * 100)
    for _ in range(count):
        state.get("read")


def write(state: State, count: int) -> None:
    """As many commits as writes."""
    for number in range(count):
        state.set(f"w{number % 20}", f"{time.perf_counter()} {number}")


def write_together(state: State, count: int) -> None:
    """One commit."""
    now = f"{time.perf_counter()}" + "x" * 80
    state.writer.apply([state.edit(f"t{number}", edits.put(now)) for number in range(count)])


def walk(state: State, count: int) -> None:
    """All of these keys with their values."""
    assert len(state.items("t")) == count


def migrate(folder: Path) -> None:
    """Seal, turn over, open."""
    store = SQLiteStore(folder)
    state = make_state(store)
    for start in range(0, MIGRATED, 1000):
        state.writer.apply([state.edit(f"k{n}", edits.put("x" * 100)) for n in range(start, start + 1000)])
    for name, work in (("encrypt", reseal.encrypt), ("rekey", reseal.rekey), ("decrypt", reseal.decrypt)):
        began = time.perf_counter()
        done = work(Sealed(store, SOURCE), os.urandom, lambda count: None)
        seconds = time.perf_counter() - began
        print(f"{name}: {done.changed:,} records in {seconds:.2f} s, {done.changed / seconds:,.0f} a second")
    store.close()


if __name__ == "__main__":
    main()
