"""What the web UI costs on a large state: ``python -m benchmarks.web [KEYS]`` (a million, if not given).

Real server process, real requests over loopback; the store is SQLite in a folder of its own. Prints how long the
server takes until it can be asked and until its index stands, the first page, a search while one types (the slowest
and the middle one of many texts, found early, late and not at all), a page of the tree, the timeline, how soon a
change of another process is seen, and the server's memory.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.program.kit import Home
from tests.web.kit import Ui

from sloth_runner.model import By
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import HEAD, HISTORY, store_key
from sloth_runner.state.record import Record, encode_record

DAY = 86400.0
WORDS = (
    ("web", "db", "cache", "queue", "app"),
    ("eu", "us", "ap"),
    ("version", "status", "checksum", "port", "owner"),
    ("ready", "pending", "failed"),
)
TEXTS = (
    "nothinglikeit",
    "0999",
    "failed",
    "version/09",
    "v3b9",
    "eu-11",
    "zz",
    "web:us-007/owner",
    "pend",
    "e",
    "-re",
)
PART = 5000


def fill(folder: Path, keys: int, now: float) -> None:
    """Write a state of so many keys, each with one revision, as an import would: sorted, as one change."""
    heads, past = [], []
    for key, record in _records(keys, now):
        data = encode_record(record)
        heads.append((store_key("local", HEAD, key), data))
        past.append((store_key("local", HISTORY, key, 1), data))
    store = SQLiteStore(folder)
    assert store.traits.bulk is not None
    with store.traits.bulk("local") as bulk:
        for rows in (sorted(heads), sorted(past)):
            for start in range(0, len(rows), PART):
                bulk.put(rows[start : start + PART])
    store.close()


def _records(keys: int, now: float) -> Iterator[tuple[str, Record]]:
    chance = random.Random(1)
    by = By("ann", "host1", 1, "20261124-041602-831ab1", "deploy")
    for number in range(keys):
        kind, place, what, state = (chance.choice(words) for words in WORDS)
        key = f"{kind}:{place}-{number % 997:03d}/{what}/{number:07d}"
        text = f'"v{chance.randrange(10**9):x}-{state}"'
        size, written = len(text) - 2, now - chance.random() * 30 * DAY
        id_ = f"{chance.getrandbits(128):032x}"
        yield (
            key,
            Record(1, id_, "set", text, size, written, now - 31 * DAY, by, first_time=written, kept=size),
        )


def _timed(work: Callable[[], object], times: int = 5) -> tuple[float, float]:
    """The middle and the slowest of some times, in milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), max(took)


def _memory(pid: int) -> float:
    """MiB that are the process's own or shared, and the most that they ever were."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(keys: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        fill(home.state_folder, keys, time.time())
        began = time.perf_counter()
        ui = Ui(home).enter()
        print(f"keys                      {keys:>10,}")
        print(f"asked after start         {time.perf_counter() - began:>10.2f} s")
        print(
            "first page while reading  {:>10.1f} ms, slowest {:.1f}".format(*_timed(lambda: _page(ui, "/")))
        )
        while "are being read" in ui.get("/state").text:
            time.sleep(0.2)
        print(f"index stands after        {time.perf_counter() - began:>10.2f} s")
        for name, path in (("first page", "/"), ("tree", "/state"), ("timeline", "/timeline")):
            print("{:<26}{:>10.1f} ms, slowest {:.1f}".format(name, *_timed(partial(_page, ui, path))))
        searches = [_timed(partial(_search, ui, text), 3)[1] for text in TEXTS]
        print(
            f"search                    {statistics.median(searches):>10.1f} ms, slowest {max(searches):.1f}"
        )
        print(f"change of another seen    {_seen_after(ui):>10.0f} ms")
        print(f"memory, at most           {_memory(ui.pid):>10.0f} MiB")
        ui.close()


def _page(ui: Ui, path: str) -> None:
    assert ui.get(path).status == 200


def _search(ui: Ui, text: str) -> None:
    assert ui.get("/state", q=text).status == 200


def _seen_after(ui: Ui) -> float:
    """Milliseconds from another process's commit until the search finds its key."""
    app = ui.home.app()
    app.state().set("zz:new:key", "here")
    began = time.perf_counter()
    while "zz%3Anew%3Akey" not in ui.get("/state", q="zz:new:key").text:
        time.sleep(0.02)
    app.close()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
