"""Why: what this store relies on is tried on the server before it is trusted, beside what is tried of every store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from sloth_runner.errors import Forbidden
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.layout import META, SHARED, STORE, is_agent_name, store_key
from sloth_runner.state.proofs import common, refused, tried
from sloth_runner.state.store import ABSENT, PRESENT, Change, Check, Proof

if TYPE_CHECKING:
    from sloth_runner.state.backends.consul import ConsulStore
    from sloth_runner.state.backends.consul_http import Http

LEAST: Final = (1, 7)
"""The first release whose sessions can do without the health of a node (``NodeChecks``)."""
NEAR: Final = 5.0
"""Seconds that two clocks may be apart without a word."""


def proofs(
    store: ConsulStore, http: Http, another: Callable[[], ConsulStore], clock: Callable[[], float] = time.time
) -> list[Proof]:
    """All of them; ``another`` opens one more handle. Raises StoreDown, Indeterminate."""
    key = store_key(STORE, META, f"probe-{os.urandom(8).hex()}")
    found = [_version(http), _access(http), _consistent(http), _clock(http, clock)]
    found += common(store, key, another)
    found += tried((("leases", lambda: _leases(store, http, key)), ("prefix", lambda: _prefix(store))))
    return found


def _version(http: Http) -> Proof:
    try:
        text = str(http.read("agent/self?").body["Config"]["Version"])
    except Forbidden:
        return Proof("version", True, "Consul does not say its version: the token may not read the agent")
    words = text.partition("+")[0].partition("-")[0].split(".")
    try:
        number = tuple(int(word) for word in words[:2])
    except ValueError:
        return Proof("version", False, f"the server's version {text!r} can't be read")
    if number < LEAST:
        return Proof("version", False, f"Consul {text}; 1.7 or later is needed")
    return Proof("version", True, f"Consul {text}")


def _access(http: Http) -> Proof:
    address = http.address
    words = "over TLS" if address.tls else "not encrypted on the way"
    if address.certificate is not None and address.tls:
        words += ", with a client certificate"
    words += ", with a token" if address.token is not None else ", without a token"
    if address.tls or address.local:
        return Proof("access", True, words)
    return Proof("access", False, f"{words}: who listens in reads and changes everything", vital=False)


def _consistent(http: Http) -> Proof:
    """The agent says of each read whether a leader confirmed it, and how old it may be."""
    headers = http.read(f"kv/{http.address.prefix}?keys&separator=/&consistent").headers
    leader, age = headers.get("x-consul-knownleader"), headers.get("x-consul-lastcontact")
    if (leader, age) != ("true", "0"):
        return Proof(
            "consistent reads", False, f"a consistent read is {age} ms old (a leader is known: {leader})"
        )
    return Proof("consistent reads", True, "reads are confirmed by the leader")


def _clock(http: Http, clock: Callable[[], float]) -> Proof:
    """How far the server's clock and ours are apart. (Leases run by the server's alone, and don't mind.)"""
    before = clock()
    said = http.read("status/leader?").headers.get("date")
    after = clock()
    if said is None:
        return Proof("clock", False, "it does not say what time it is there", vital=False)
    there = parsedate_to_datetime(said).timestamp()  # whole seconds, cut off
    offset = max(there - after, 0.0) or min(there + 1 - before, 0.0)
    if abs(offset) > NEAR:
        way = "ahead of" if offset > 0 else "behind"
        text = f"the server's clock is {abs(offset):,.0f} s {way} this machine's: times in the history will not agree"
        return Proof("clock", False, text, vital=False)
    return Proof("clock", True, "the server's clock and this machine's agree")


def _leases(store: ConsulStore, http: Http, key: str) -> Proof:
    """A leased entry goes with its session, and may be taken at once by another."""
    name = f"{key}-lease"
    try:
        store.commit([Change(name, b"one", ABSENT, 10)])
        session = store.session_of(name)
        if session is None:
            return Proof("leases", False, "a leased entry hangs on no session")
        row = http.read(f"session/info/{session}?consistent").body[0]
        terms = (row["Behavior"], row["LockDelay"], row.get("NodeChecks") or row.get("Checks") or [])
        if terms != ("delete", 0, []):
            return Proof("leases", False, f"a session was made on other terms than asked for: {terms}")
        http.read(f"session/destroy/{session}?", put=b"")
        if not refused(store, Check(name, PRESENT)) or refused(store, Change(name, b"two", ABSENT, 10)):
            return Proof(
                "leases", False, "an entry did not go with its session, or can't be taken again at once"
            )
    finally:
        store.commit([Change(name, None)])
    return Proof("leases", True, "an entry goes with its session, and may be taken again at once")


def _prefix(store: ConsulStore) -> Proof:
    """What lies below the prefix is a state's: two prefixes, one below the other, would mix."""
    for name in store.namespaces():
        if name not in (SHARED, STORE) and not is_agent_name(name):
            text = f"below {store.address.prefix} there is something else: {name!r}"
            return Proof("prefix", False, f"{text}; give the state a prefix of its own")
    return Proof("prefix", True, f"{store.address.prefix} holds nothing else")
