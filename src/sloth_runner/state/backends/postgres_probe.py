"""Why: what this store relies on is tried, not believed: that commits exclude, that it is the primary, that its clock
goes, that what is acknowledged is on its disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.layout import META, STORE, store_key
from sloth_runner.state.proofs import common
from sloth_runner.state.store import ABSENT, Change, Proof

if TYPE_CHECKING:
    from sloth_runner.state.backends.postgres import PostgresStore
    from sloth_runner.state.store import Store

AHEAD: Final = 60.0
"""Seconds that the server's clock may differ from ours."""
LEAST: Final = 120_000
"""The first version that will do, as PostgreSQL numbers them."""
LEASE: Final = 0.2
"""Seconds of the first lease that is tried; longer ones follow where answers take longer."""
TRIES: Final = 5

Ask = Callable[[str], tuple[str, ...]]


def probe(store: PostgresStore, another: Callable[[], PostgresStore], ask: Ask) -> Iterator[Proof]:
    """What was tried, and what came of it. ``another`` opens one more handle; ``ask`` gives one row of a query."""
    key = store_key(STORE, META, f"probe-{os.urandom(8).hex()}")
    yield _version(ask)
    yield _access(ask)
    yield from common(store, key, another)
    yield lease(store, key)
    yield _clock(ask)
    yield _durable(ask)
    yield _room(ask)


def _version(ask: Ask) -> Proof:
    text, number = ask("SELECT current_setting('server_version'), current_setting('server_version_num')")
    good = int(number) >= LEAST
    return Proof("version", good, f"PostgreSQL {text}" + ("" if good else "; 12 or later is needed"))


def _access(ask: Ask) -> Proof:
    """How we came in. Without an address it is by a socket of this machine."""
    user, address, version = ask(
        "SELECT session_user, coalesce(host(inet_server_addr()), ''), coalesce((SELECT version FROM pg_stat_ssl "
        "WHERE pid = pg_backend_pid() AND ssl), '')"
    )
    words = (
        f"over {version}"
        if version
        else "not encrypted on the way"
        if address
        else "by a socket of this machine"
    )
    near = address in ("", "::1") or address.startswith("127.")
    return Proof("access", bool(version) or near, f"{words}, as the role {user}", vital=False)


def lease(
    store: Store,
    key: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Proof:
    """Whether a lease lasts and ends. Over a slow line, or on a machine that stood still, one may have ended rightly
    before it could be looked at: that says nothing, and a longer one is tried."""
    length = LEASE
    for _ in range(TRIES):
        began = clock()
        store.commit([Change(key, b"", ABSENT, length)])
        there = store.get(key) is not None
        passed = clock() - began
        if there or passed < length:
            break
        length = 3 * passed
    sleep(1.5 * length)
    gone = store.get(key) is None
    store.commit([Change(key, None)])
    text = "a lease ends, and not before its time"
    if not there:
        text = f"a lease of {length:.1f} s was gone after {passed:.1f} s"
    elif not gone:
        text = "a lease did not end in time"
    return Proof("leases", there and gone, text)


def _clock(ask: Ask) -> Proof:
    before = time.time()
    (text,) = ask("SELECT extract(epoch FROM clock_timestamp())")
    after = time.time()
    offset = float(text) - (before + after) / 2
    words = (
        f"the server's clock is {abs(offset):.3f} s {'ahead of' if offset > 0 else 'behind'} this machine's"
    )
    text = f"{words} (± {(after - before) / 2:.3f} s)"
    return Proof("clock", abs(offset) <= AHEAD, text, vital=False)


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
