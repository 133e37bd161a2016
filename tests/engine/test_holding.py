"""A namespace that is being written for long stops no renewal elsewhere, and nobody keeps a lock in silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from sloth_runner.engine.holding import Holding, Renewer
from sloth_runner.errors import LockLost, SlothError
from sloth_runner.state import locks
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import store_key
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Change, Check, Store
from tests.state.kit import BY, key_source

TTL = 3.0


def opened(folder: Path, sealed: bool, patience: float = 30.0) -> Store:
    store = SQLiteStore(folder, patience=patience)
    return Sealed(store, key_source()) if sealed else store


def hold(store: Store, namespace: str, name: str) -> Holding:
    lock = locks.acquire(store, namespace, name, Owner("t", "t", BY), TTL, time.time())
    assert isinstance(lock, Held)
    return Holding(lock, keep=False, until=time.monotonic() + TTL)


@pytest.mark.parametrize("sealed", [False, True])
def test_an_import_delays_no_renewal_in_other_namespaces_and_a_loss_is_told(
    tmp_path: Path, sealed: bool
) -> None:
    store = opened(tmp_path, sealed)
    blocked = [hold(store, "local", f"blocked{number}") for number in range(4)]
    free = hold(store, "_shared", "stack:x")
    lost: list[tuple[str, SlothError]] = []
    told = threading.Event()

    def on_lost(holding: Holding, error: SlothError) -> None:
        lost.append((holding.lock.name, error))
        if len(lost) == len(blocked):
            told.set()

    for holding in (*blocked, free):
        holding.on_lost = lambda error, holding=holding: on_lost(holding, error)
    renewer = Renewer(lambda seconds: opened(tmp_path, sealed, 0.05), time.time)
    make = store.traits.bulk
    assert make is not None
    with make("local") as bulk:
        bulk.put([(store_key("local", "k", "a"), b"1")])
        for holding in (*blocked, free):
            renewer.add(holding)
        assert told.wait(60), "the holders hear of it while the import goes on"
        alive = locks.info(opened(tmp_path, sealed), "_shared", "stack:x")
        assert alive is not None and alive.token == free.lock.token
    assert {name for name, _ in lost} == {holding.lock.name for holding in blocked}
    assert all(isinstance(error, LockLost) for _, error in lost)
    renewer.remove(free)
    renewer.close()
    assert renewer.failure is None
    for holding in blocked:
        with pytest.raises(LockLost):
            locks.renew(store, holding.lock, time.time())
    store.close()


def test_a_renewal_that_waited_out_its_lease_is_a_loss(tmp_path: Path) -> None:
    """It counts what the time is after the wait, not before it."""
    tries: list[int] = []

    class Counting(SQLiteStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            tries.append(len(changes))
            return super().commit(changes)

    store = opened(tmp_path, False)
    holding = hold(store, "local", "a")
    told = threading.Event()
    errors: list[SlothError] = []

    def on_lost(error: SlothError) -> None:
        errors.append(error)
        told.set()

    holding.on_lost = on_lost
    start = time.monotonic()
    holding.until = start + 1800.0
    looks = iter([start, start + 1.0, start + 1.0])  # when it is added, due and begun; then the wait is over
    renewer = Renewer(
        lambda seconds: Counting(tmp_path, patience=0.05), time.time, lambda: next(looks, start + 3600.0)
    )
    make = store.traits.bulk
    assert make is not None
    with make("local"):
        renewer.add(holding)
        assert told.wait(60)
    assert "could not be renewed" in errors[0].message and len(tries) == 1
    renewer.close()
    store.close()
