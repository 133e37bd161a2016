"""Why: what this store relies on is tried, not believed: that commits exclude, that it is the primary, that its clock
goes, that what is acknowledged is on its disk.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from sloth_runner.errors import Conflict, SlothError
from sloth_runner.state.layout import META, STORE, store_key
from sloth_runner.state.store import ABSENT, PRESENT, Change, Check, Proof

if TYPE_CHECKING:
    from sloth_runner.state.backends.postgres import PostgresStore

AHEAD: Final = 60.0
"""Seconds that the server's clock may differ from ours."""
RACERS: Final = 4
LEASE: Final = 0.2

Ask = Callable[[str], tuple[str, ...]]


def probe(store: PostgresStore, another: Callable[[], PostgresStore], ask: Ask) -> Iterator[Proof]:
    """What was tried, and what came of it. ``another`` opens one more handle; ``ask`` gives one row of a query."""
    key = store_key(STORE, META, f"probe-{os.urandom(8).hex()}")
    try:
        yield _create(store, key)
        yield _race(store, another, key)
        yield _lease(store, key)
    finally:
        try:
            store.commit([Change(key, None)])
        except SlothError:
            pass  # what was wrong is told already
    yield _clock(ask)
    yield _durable(ask)
    yield _room(ask)


def _create(store: PostgresStore, key: str) -> Proof:
    name = "a second create fails"
    store.commit([Change(key, b"1", ABSENT)])
    for change in (Change(key, b"2", ABSENT), Check(key, ABSENT)):
        try:
            store.commit([change])
        except Conflict:
            continue
        return Proof(name, False, "a record was created twice")
    return Proof(name, True, "a record that is there can't be created")


def _race(store: PostgresStore, another: Callable[[], PostgresStore], key: str) -> Proof:
    """Some connections at once put what only one of them may."""
    entry = store.get(key)
    assert entry is not None
    won: list[int] = []
    odd: list[SlothError] = []

    def run(number: int) -> None:
        handle = another()
        try:
            handle.get(key)
            start.wait()
            handle.commit([Change(key, b"%d" % number, entry.rev)])
            won.append(number)
        except Conflict:
            pass
        except SlothError as error:
            odd.append(error)
        finally:
            handle.close()

    start = threading.Barrier(RACERS, timeout=30)
    racers = [threading.Thread(target=run, args=(number,)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    name = "compare-and-set excludes"
    if odd:
        return Proof(name, False, f"could not be tried: {odd[0].message}")
    found = store.get(key)
    good = len(won) == 1 and found is not None and found.value == b"%d" % won[0]
    return Proof(name, good, f"of {RACERS} connections that put at once, {len(won)} succeeded")


def _lease(store: PostgresStore, key: str) -> Proof:
    store.commit([Change(key, b"", PRESENT, LEASE)])
    there = store.get(key) is not None
    time.sleep(1.5 * LEASE)
    gone = store.get(key) is None
    text = "a lease ends, and not before its time" if there and gone else "a lease did not end in time"
    return Proof("leases", there and gone, text)


def _clock(ask: Ask) -> Proof:
    before = time.time()
    (text,) = ask("SELECT extract(epoch FROM clock_timestamp())")
    after = time.time()
    offset = float(text) - (before + after) / 2
    words = (
        f"the server's clock is {abs(offset):.3f} s {'ahead of' if offset > 0 else 'behind'} this machine's"
    )
    return Proof("clock", abs(offset) <= AHEAD, f"{words} (± {(after - before) / 2:.3f} s)")


def _durable(ask: Ask) -> Proof:
    names = ("fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names")
    fsync, pages, commit, standbys = ask("SELECT " + ", ".join(f"current_setting('{n}')" for n in names))
    off = [name for name, value in (("fsync", fsync), ("full_page_writes", pages)) if value != "on"]
    if off:
        return Proof(
            "durability", False, f"{' and '.join(off)} off: a power cut can lose or damage the state"
        )
    words = "fsync and full_page_writes are on; a commit is on the primary's disk when it is acknowledged"
    if standbys:
        words += f", and on standbys ({standbys})"
    if commit not in ("on", "remote_apply"):
        words += f" (the session's synchronous_commit is {commit}; commits raise it to on)"
    return Proof("durability", True, words)


def _room(ask: Ask) -> Proof:
    most, used = ask(
        "SELECT current_setting('max_connections'), "
        "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
    )
    return Proof("connections", int(used) < int(most), f"{used} of {most} connections are in use")
