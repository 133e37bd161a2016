"""Why: a store's promises between processes are tested by processes. One round of work each, by name."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from sloth_runner.errors import Conflict
from sloth_runner.model import By
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import store_key
from sloth_runner.state.state import State
from sloth_runner.state.store import ABSENT, Change, Check, Store
from sloth_runner.state.writer import Writer

Report = dict[str, float]


def key(name: str, namespace: str = "local") -> str:
    return store_key(namespace, "k", name)


def count(store: Store, index: int, rounds: int) -> Report:
    """Compare-and-set a counter; every success adds exactly one."""
    done, worst = 0, 0.0
    while done < rounds:
        began = time.monotonic()
        while True:
            entry = store.get(key("counter"))
            value = str((int(entry.value) if entry else 0) + 1).encode()
            try:
                store.commit([Change(key("counter"), value, entry.rev if entry else ABSENT)])
            except Conflict:
                continue
            break
        worst = max(worst, time.monotonic() - began)
        done += 1
    return {"done": done, "worst": worst}


def skew(store: Store, index: int, rounds: int) -> Report:
    """Set the own register if the other's is not set; both set at once would be a write skew."""
    own, other = ("web1", "web2") if index % 2 else ("web2", "web1")
    done = both = 0
    for _ in range(rounds):
        try:
            store.commit([Change(key("on", own), b"1", ABSENT), Check(key("on", other), ABSENT)])
        except Conflict:
            continue
        done += 1
        if store.get(key("on", other)) is not None:
            both += 1
        store.commit([Change(key("on", own), None)])
    return {"done": done, "both": both}


def whole(store: Store, index: int, rounds: int) -> Report:
    """Half of the processes write ten keys in one commit, the others scan: all ten are always equal."""
    torn = 0
    for number in range(rounds):
        if index % 2:
            value = f"{index}-{number}-{random.random()}".encode()
            store.commit([Change(key(f"w{i}"), value) for i in range(10)])
        else:
            found = {entry.value for entry in store.scan(key("w"))}
            torn += len(found) > 1
    return {"torn": torn}


def make_state(store: Store) -> State:
    """A view of the local namespace, with the real clock."""
    writer = Writer(store, time.time, lambda: os.urandom(16).hex(), Retention())
    return State(writer, "local", By("ann", "host1", os.getpid(), None, None))


def revise(store: Store, index: int, rounds: int) -> Report:
    """Write four keys again and again, as fast as it goes; each value is another, so each write is a revision."""
    state = make_state(store)
    for number in range(rounds):
        while True:
            try:
                assert state.set("abcd"[random.randrange(4)], f"{index}-{number}")
            except Conflict:
                continue
            break
    return {"revisions": rounds}


def opened(url: str, folder: str) -> Store:
    """The store; ``sealed+URL`` under the key of the sealing tests."""
    scheme, _, rest = url.rpartition("+")
    store: Store = open_store(rest, Options(Path(folder), 60.0))
    if scheme == "sealed":
        from sloth_runner.state.sealed import Sealed
        from tests.state.kit import key_source

        return Sealed(store, key_source())
    return store


def main() -> None:
    url, folder, work, index, rounds = sys.argv[1:]
    store = opened(url, folder)
    print("ready", flush=True)
    sys.stdin.readline()
    report = {"count": count, "skew": skew, "whole": whole, "revise": revise}[work](
        store, int(index), int(rounds)
    )
    store.close()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
