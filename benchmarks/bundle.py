"""Why: what it costs to carry a million keys out of a SQLite state and into another.

    python -m benchmarks.bundle [KEYS] [FOLDER]

Fills a state with keys of 100 bytes, then in rounds exports it and imports the bundle into an empty state: in
plaintext, the bundle alone sealed to an age recipient, and the state sealed, too; each step in a process of its own,
from opening the store to closing it. All steps take turns, so that they see the same machine. Prints medians, the
worst peak of memory, and, beside them, what it costs SQLite alone to write the identical rows. Keys per second of
processor time say more than those of the clock where others use the machine.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import apsw

from sloth_runner.model import By
from sloth_runner.moments import iso
from sloth_runner.secret import Secret
from sloth_runner.state import age, bundle_files, bundle_import
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.bundle_export import export
from sloth_runner.state.bundle_gather import Order
from sloth_runner.state.keysources import from_key
from sloth_runner.state.layout import HEAD, HISTORY, store_key
from sloth_runner.state.record import Record, encode_record
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Store

ROUNDS = 3
STEPS = ("raw", "export", "import", "export-age", "import-age", "export-sealed", "import-sealed")
BY = By("ann", "host", 12345, "20260101-000000-abcdef", "task")
SECRET = bytes(range(32))


def main() -> None:
    if len(sys.argv) > 3:
        print(*_step(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
        return
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(tempfile.mkdtemp(dir=sys.argv[2] if len(sys.argv) > 2 else None))
    try:
        for step in ("fill", "fill-sealed"):
            _round(step, keys, folder)
        rounds = [[_round(step, keys, folder) for step in STEPS] for _ in range(ROUNDS)]
        for step, found in zip(STEPS, zip(*rounds, strict=True), strict=True):
            seconds, cpu = (statistics.median(one[i] for one in found) for i in (0, 1))
            peak = max(one[2] for one in found)
            print(
                f"{step:14} {keys / seconds:>9,.0f} keys/s  {seconds:6.2f} s  cpu {cpu:6.2f} s "
                f"({keys / cpu:>9,.0f} keys/s)  peak {peak:5.0f} MiB"
            )
        size = (folder / "bundle").stat().st_size
        print(
            f"{keys:,} keys, {size / 1e6:.0f} MB; medians of {ROUNDS}; raw: the same rows by one executemany; load "
            f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
        )
    finally:
        shutil.rmtree(folder)


def _round(step: str, keys: int, folder: Path) -> tuple[float, ...]:
    """Seconds, processor seconds of all threads, and MiB of one step, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bundle", step, str(keys), str(folder)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(map(float, out.split()))


def _step(step: str, keys: int, folder: Path) -> tuple[float, ...]:
    shutil.rmtree(folder / "target", ignore_errors=True)
    work, _, sealed = step.partition("-")
    bundle = folder / ("bundle.age" if sealed else "bundle")
    source = folder / ("source-sealed" if sealed == "sealed" else "source")
    began, busy = time.perf_counter(), time.process_time()
    if work == "fill":
        _fill(_open(source, sealed), keys)
    elif work == "raw":
        _raw(source, folder / "target")
    elif work == "export":
        _export(_open(source, sealed), bundle)
    else:
        count = _import(_open(folder / "target", sealed), bundle)
        assert count == keys
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    return seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _open(folder: Path, sealed: str) -> Store:
    store = SQLiteStore(folder)
    return (
        Sealed(store, from_key(lambda: Secret(bytes(range(128, 160))), "a key"))
        if sealed == "sealed"
        else store
    )


def _export(store: Store, path: Path) -> None:
    order = Order(["local"], iso(time.time()), "ann", "host", "benchmark")
    keys = age.Keys(keys=(_public(),)) if path.suffix else None
    with bundle_files.written(path) as file:
        write, finish = bundle_files.sealer_for(file.write, keys)
        export(
            store,
            order,
            write,
            folder=path.parent,
            new_id=_id,
            progress=lambda n: None,
            consent=lambda n, c: None,
        )
        finish()
    store.close()


def _import(store: Store, path: Path) -> int:
    choice = bundle_import.Choice(BY, time.time(), _id)
    with path.open("rb") as raw:
        source = bundle_files.File(raw, lambda passphrase: age.Keys(keys=(SECRET,)))
        sections = bundle_import.survey(source)
        outcomes = bundle_import.plan(store, source, sections, choice, exact=False)
        bundle_import.check(outcomes, choice)
        done = bundle_import.apply(store, source, sections, choice, progress=lambda n: None)
    store.close()
    return done[0].figures.new


def _fill(store: Store, keys: int) -> None:
    make = store.traits.bulk
    assert make is not None
    with make("local") as bulk:
        for start in range(0, keys, 1000):
            names = [f"key:{number:09d}" for number in range(start, min(keys, start + 1000))]
            records = [_record(name) for name in names]
            heads = [(store_key("local", HEAD, name), r) for name, r in zip(names, records, strict=True)]
            bulk.put([(store_key("local", HISTORY, n, 1), r) for n, r in zip(names, records, strict=True)])
            bulk.put(heads)
    store.close()


def _record(name: str) -> bytes:
    now = time.time()
    value = f'"{name:x>100}"'
    return encode_record(Record(1, _id(), "set", value, 100, now, now, BY, first_time=now))


def _raw(source: Path, target: Path) -> None:
    """The rows of the source, in key order, in one durable transaction of SQLite alone."""
    target.mkdir()
    rows = apsw.Connection(str(source / "local.db"))
    file = apsw.Connection(str(target / "raw.db"))
    file.pragma("journal_mode", "wal")
    file.pragma("synchronous", "full")
    file.execute("CREATE TABLE entry (key TEXT PRIMARY KEY, rev INTEGER, value BLOB)")
    file.execute("BEGIN IMMEDIATE")
    file.executemany("INSERT INTO entry VALUES (?, ?, ?)", rows.execute("SELECT key, rev, value FROM entry"))  # type: ignore[arg-type, unused-ignore] # rows are bindings
    file.execute("COMMIT")
    file.close()
    rows.close()


def _public() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(SECRET).public_key().public_bytes_raw()


def _id() -> str:
    return os.urandom(16).hex()


if __name__ == "__main__":
    main()
