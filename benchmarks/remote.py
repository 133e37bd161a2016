"""Why: what state costs in a store that is a server, beside the raw client writing the identical rows there.

    python -m benchmarks.remote [NAME…] [--rounds N] [--sealed]

Each store has a server of its own (with all that makes it durable), and a raw client: what a careful engineer would
write by hand for the same rows and the same safety. Rounds of both alternate, so that both see the same machine;
and all of it stays on one processor: where the scheduler lets a client and its server take turns on one, or wakes
another up each time, makes a factor of three, and differs from connection to connection.
A store is one module, ``benchmarks/remote_NAME.py``, with ``SERVER`` (settings of its server in tests.services, as
keywords of ``make``) and ``connect(url)``, which gives a Raw.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from tests.services import make

from sloth_runner.model import By
from sloth_runner.state import locks
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.batch import Retention
from sloth_runner.state.locks import Owner
from sloth_runner.state.patience import Patience
from sloth_runner.state.patient import Patient
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Check, Rev, Store
from sloth_runner.state.writer import Writer

STORES: Final = ("consul", "etcd", "postgres", "s3")
SEALED: Final = {
    "postgres": "?schema=sealed",
    "postgresql": "?schema=sealed",
    "etcd": "/sealed",
    "consul": "-sealed",
    "s3": "/sealed",
}
"""What makes a part of the store of its own."""
GOALS: Final = {"get": 1.3, "set": 2.0}
OPS: Final = 100
"""Operations in a round."""
TASKS: Final = 100


class Write(NamedTuple):
    """The rows of one ``state.set`` under a lock: its new head and revision, and what is asserted."""

    head: str
    revision: str
    value: bytes
    fence: str
    lease: str


class Raw(Protocol):
    """The raw client. ``prepare`` puts records that reads and checks will find, whatever was there."""

    def prepare(self, rows: Sequence[tuple[str, bytes]]) -> None: ...
    def get(self, key: str) -> bytes | None: ...
    def write(self, write: Write) -> None:
        """Put the head (if it is as this client left it) and the revision (if it is new), while fence and lease are
        as they were; all or nothing, durably."""
        ...

    def close(self) -> None: ...


class Recorder:
    """Keeps the commits that State makes, to write the identical rows raw."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.traits = inner.traits
        self.get = inner.get
        self.scan = inner.scan
        self.close = inner.close
        self.commits: list[Sequence[Change | Check]] = []

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        self.commits.append(changes)
        return self.inner.commit(changes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(STORES))
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--sealed", action="store_true", help="also with encryption")
    asked = parser.parse_args()
    missed = []
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the servers inherit it
    for name in asked.names:
        module = import_module(f"benchmarks.remote_{name}")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            server = make(name, Path(folder) / name, **module.SERVER)
            server.start()
            try:
                missed += measure(name, server.url, module.connect, asked.rounds, Path(folder))
                if asked.sealed:
                    measure(f"{name}, sealed", server.url, module.connect, asked.rounds, Path(folder))
            finally:
                server.stop()
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


def measure(name: str, url: str, connect: Callable[[str], Raw], rounds: int, folder: Path) -> list[str]:
    """Print figures; the names of goals that were missed."""
    sealed = name.endswith("sealed")
    store = opened(url, folder, sealed=sealed)
    recorder = Recorder(store)
    state, recorded = locked(store), locked(recorder)
    raw = connect(url)
    state.set("bench", "x" * 200)
    value = store.get("local\x1fk\x1fbench")
    assert value is not None
    raw.prepare([("local\x1fk\x1fbench", value.value)])
    writes = record(recorder, recorded, raw)
    figures: dict[str, list[tuple[float, float]]] = {"get": [], "set": []}
    for number in range(rounds + 1):
        theirs = each(lambda i: raw.get("local\x1fk\x1fbench"))
        figures["get"].append((theirs, each(lambda i: state.get("bench"))))
        theirs = each(written(raw, writes(number)))
        figures["set"].append((theirs, each(partial(set_one, state, f"set{number % 3}"))))
    missed = [what for what, pairs in figures.items() if not report(name, what, pairs[1:]) and not sealed]
    raw.close()
    store.close()
    together(name, lambda: opened(url, folder, sealed=sealed), store.traits.concurrency)
    return [f"{name} {what}" for what in missed]


def opened(url: str, folder: Path, *, sealed: bool = False) -> Store:
    """The store as the program opens it."""
    place, mark, asked = url.partition("?")
    own = SEALED[url.partition(":")[0]] if sealed else ""
    store: Store = open_store(f"{place}{own}{mark}{asked}", Options(folder, 30.0))
    store = Patient(store, Patience(10.0, 30.0))
    if not sealed:
        return store
    from tests.state.kit import key_source

    from sloth_runner.state.sealed import Sealed

    return Sealed(store, key_source())


def locked(store: Store) -> State:
    """A State under a lock that it holds."""
    by = By("ann", "host", os.getpid(), "20260101-000000-abcdef", "task")
    held = locks.acquire(
        store, "_shared", f"stack:{os.urandom(4).hex()}", Owner("me", "me", by), 3600.0, time.time()
    )
    assert isinstance(held, locks.Held)
    writer = Writer(store, time.time, lambda: os.urandom(16).hex(), Retention())
    return State(writer, "local", by, fences=(held.fence,))


def record(recorder: Recorder, state: State, raw: Raw) -> Callable[[int], list[Write]]:
    """Has State write, and gives what it wrote, as rows."""

    def batch(number: int) -> list[Write]:
        recorder.commits.clear()
        for i in range(OPS):
            state.set(f"recorded{number % 3}", f"{number}-{i:>200}")
        out = []
        for changes in recorder.commits:
            head, revision = (change for change in changes if isinstance(change, Change))
            fence, lease = (change for change in changes if isinstance(change, Check))
            assert head.value is not None
            out.append(Write(head.key, revision.key, head.value, fence.key, lease.key))
        if number == 0:
            raw.prepare([(out[0].fence, b"fence"), (out[0].lease, b"lease")])
        return out

    return batch


def written(raw: Raw, writes: list[Write]) -> Callable[[int], object]:
    """Write one of them raw."""
    return lambda i: raw.write(writes[i])


def set_one(state: State, key: str, number: int) -> None:
    """Set a value of 200 bytes."""
    state.set(key, f"{number:>200}")


def each(action: Callable[[int], object]) -> float:
    """Seconds of one operation: the median of a round."""
    took = []
    for number in range(OPS):
        began = time.perf_counter()
        action(number)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def report(name: str, what: str, pairs: list[tuple[float, float]]) -> bool:
    """Print the medians and their ratio; whether the goal was met."""
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for other, mine in pairs)
    print(
        f"{name}: {what} {ours * 1e6:.0f} µs, raw client {theirs * 1e6:.0f} µs: {ratio:.2f} times "
        f"(goal: at most {GOALS[what]})"
    )
    return ratio <= GOALS[what]


def together(name: str, again: Callable[[], Store], handles: int) -> None:
    """100 tasks, each of which sets a key of its own: over one handle, and over as many as the store says."""
    for count in (1, handles):
        stores = [again() for _ in range(count)]
        for store in stores:
            store.get("local\x1fk\x1fnothing")
        left = list(range(TASKS))
        began = time.perf_counter()
        threads = [threading.Thread(target=perform, args=(store, left)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        print(f"{name}: {TASKS} tasks over {count} connections: {took * 1e3:.0f} ms")
        for store in stores:
            store.close()


def perform(store: Store, left: list[int]) -> None:
    """Take tasks until there are none."""
    by = By("ann", "host", os.getpid(), "20260101-000000-abcdef", "task")
    writer = Writer(store, time.time, lambda: os.urandom(16).hex(), Retention())
    state = State(writer, "local", by)
    while True:
        try:
            number = left.pop()
        except IndexError:
            return
        state.set(f"task{number}", "done")


if __name__ == "__main__":
    main()
