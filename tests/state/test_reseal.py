"""Why: sealing, opening and turning keys over happen under the feet of others, and may stop at any step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import Conflict, Corrupt, Foreign, KeyWrong, LockHeld, LockLost, UsageError
from sloth_runner.state import locks, reseal
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import KEYRING, prefix_of, store_key
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.record import decode_record, digest
from sloth_runner.state.reseal import Done
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.sealing import MARK
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Check, Entry, Rev, Store
from tests.state.kit import BY, Clock, key_source, make_state

Work = Callable[[Sealed], Done]


class Killed(Exception):
    """The process is gone."""


class Between:
    """A store over a store: ``act`` is called with the number of each commit, before and after it."""

    def __init__(self, inner: Store, act: Callable[[int, str], None]) -> None:
        self._inner = inner
        self._act = act
        self.traits = inner.traits
        self.commits = 0

    def get(self, key: str) -> Entry | None:
        return self._inner.get(key)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        return self._inner.scan(prefix, after=after, limit=limit, reverse=reverse)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        self.commits += 1
        number = self.commits
        self._act(number, "before")
        revs = self._inner.commit(changes)
        self._act(number, "after")
        return revs

    def close(self) -> None:
        self._inner.close()


class Case(NamedTuple):
    """A migration, and whether the state is sealed before and after it."""

    work: Work
    before: bool
    after: bool


def quiet(count: int) -> None:
    """Nobody watches."""


CASES = {
    "encrypt": Case(lambda store: reseal.encrypt(store, os.urandom, quiet), False, True),
    "decrypt": Case(lambda store: reseal.decrypt(store, os.urandom, quiet), True, False),
    "rekey": Case(lambda store: reseal.rekey(store, os.urandom, quiet), True, True),
}


def fill(store: Store) -> dict[str, Any]:
    """Values of several kinds in several namespaces; what is to be read."""
    state = make_state(store)
    model: dict[str, Any] = {"a": "x", "b": 2, "long": "y" * 70_000, "cluster:c": True}
    for key, value in model.items():
        state.set(key, "earlier")
        state.set(key, value)
    state.set("gone", 1)
    state.delete("gone")
    state.agent("web1").set("w", "value")
    lock = locks.acquire(store, "local", "once", Owner("t", "t", BY), 60, 0.0)
    assert isinstance(lock, Held)
    locks.release(store, lock, 1.0)
    store.commit(
        [Change(store_key("_shared", "n", "run1"), b"{}"), Change(store_key("_shared", "s", "x"), b"{}")]
    )
    return model


def check(store: Store, model: dict[str, Any]) -> None:
    """Everything is readable, and the chains hold."""
    state = make_state(store)
    assert {key: state.get(key) for key in model} == model
    assert dict(state.items()) == model
    assert state.agent("web1").get("w") == "value"
    for namespace in ("local", "_shared", "web1"):
        for head in list(store.scan(prefix_of(namespace, "k"))):
            name = head.key.rpartition("\x1f")[2]
            before = ""
            for entry in store.scan(store_key(namespace, "h", name) + "\x1f"):
                record = decode_record(entry.value)
                assert record.previous == before
                before = digest(record)
            assert before == digest(decode_record(head.value))


def opened(inner: Store) -> Sealed:
    return Sealed(inner, key_source())


def pure(inner: Store, case: Case) -> None:
    """Nothing is left of the old way."""
    found = reseal.status(inner)
    assert (found.left, found.busy, found.waiting) == (0, False, ())
    assert len(found.counts) == (1 if case.after else 0)
    assert (found.plain == 0) is case.after


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", CASES)
def test_killed_at_every_commit_and_resumed(name: str, moment: str) -> None:
    case = CASES[name]
    at = 0
    while True:
        at += 1
        inner = MemoryStore()
        model = fill(opened(inner) if case.before else inner)
        old = set(reseal.status(inner).counts)

        def kill(number: int, when: str, at: int = at) -> None:
            if (number, when) == (at, moment):
                raise Killed

        between = Between(inner, kill)
        try:
            case.work(opened(between))
        except Killed:
            if reseal.status(inner).mode != "open":
                check(opened(inner), model)
            case.work(opened(inner))
        else:
            assert at > 5
            break
        check(opened(inner) if case.after else inner, model)
        pure(inner, case)
        assert not old & set(reseal.status(inner).counts)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_others_go_on_meanwhile(name: str, data: st.DataObject) -> None:
    """Handles that were opened before, during, or just now write and read between any two steps."""
    case = CASES[name]
    inner = MemoryStore()
    model = fill(opened(inner) if case.before else inner)
    handles: list[State] = []
    if case.before:
        handles = [make_state(opened(inner)) for _ in range(2)]
        for state in handles:
            state.get("a")
            state.set("a", model["a"])
    keys = ("a", "b", "cluster:c", "new")

    def act(number: int, when: str) -> None:
        if when == "before" and number == 1 and not case.before:
            return
        for _ in range(data.draw(st.integers(0, 3))):
            which = data.draw(st.integers(0, len(handles)))
            if which == len(handles):
                handles.append(make_state(opened(inner)))
            state, key = handles[which], data.draw(st.sampled_from(keys))
            if data.draw(st.booleans()):
                assert state.get(key) == model.get(key)
                assert dict(state.items()) == model
            elif data.draw(st.booleans()):
                model[key] = data.draw(st.integers(0, 9))
                state.set(key, model[key])
            else:
                state.delete(key)
                model.pop(key, None)

    case.work(opened(Between(inner, act)))
    for state in handles:
        assert dict(state.items()) == model
        state.set("last", 1)
        model["last"] = 1
    check(opened(inner) if case.after else inner, model)
    pure(inner, case)


def held(store: Store, name: str = "deploy", ttl: float = 60) -> Held:
    lock = locks.acquire(store, "local", name, Owner("t", "t", BY), ttl, 0.0)
    assert isinstance(lock, Held)
    return lock


def test_a_held_lock_outlives_a_rekey_and_its_lease_lasts_no_longer() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    state = make_state(opened(inner), clock)
    lock = held(state.writer.store)
    under = state.under((lock.fence,))
    under.set("a", 1)
    clock.now += 30
    done = CASES["rekey"].work(opened(inner))
    assert done.waiting == ("deploy",)
    status = reseal.status(inner)
    assert (status.left, status.busy, status.waiting) == (1, True, ("deploy",))
    under.set("a", 2)
    clock.now += 29
    under.set("a", 3)
    clock.now += 2
    with pytest.raises(LockLost):
        under.set("a", 4)
    assert locks.info(state.writer.store, "local", "deploy") is None
    assert CASES["rekey"].work(opened(inner)).waiting == ()
    pure(inner, CASES["rekey"])
    assert state.get("a") == 3


def test_a_renewed_lease_is_under_the_new_key() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    state = make_state(opened(inner), clock)
    state.set("a", 0)
    lock = held(state.writer.store)
    assert CASES["rekey"].work(opened(inner)).waiting == ("deploy",)
    locks.renew(state.writer.store, lock, 30.0)
    assert CASES["rekey"].work(opened(inner)).waiting == ()
    pure(inner, CASES["rekey"])
    state.under((lock.fence,)).set("a", 1)
    assert locks.release(state.writer.store, lock, 31.0)


def test_whoever_lost_a_lock_before_a_rekey_has_lost_it() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    state = make_state(opened(inner), clock)
    old = held(state.writer.store)
    clock.now += 61
    new = held(state.writer.store, ttl=600)
    CASES["rekey"].work(opened(inner))
    with pytest.raises(LockLost):
        state.under((old.fence,)).set("a", 1)
    with pytest.raises(LockLost):
        locks.renew(state.writer.store, old, 0.0)
    state.under((new.fence,)).set("a", 2)


def test_a_real_change_after_resealing_is_still_a_conflict() -> None:
    inner = MemoryStore()
    store = opened(inner)
    where = store_key("local", "k", "a")
    (rev,) = store.commit([Change(where, b"1")])
    for _ in range(2):
        CASES["rekey"].work(opened(inner))
    (second,) = store.commit([Change(where, b"2", rev), Check(store_key("local", "k", "b"), 0)])[:1]
    CASES["rekey"].work(opened(inner))
    for stale in (rev, second - 1, second + 100):
        with pytest.raises(Conflict) as caught:
            store.commit([Change(where, b"3", stale)])
        assert caught.value.keys == {where}
    store.commit([Change(where, b"3", second)])


def test_decrypting_waits_for_locks() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    state = make_state(opened(inner), clock)
    lock = held(state.writer.store)
    assert CASES["decrypt"].work(opened(inner)).waiting == ("deploy",)
    under = state.under((lock.fence,))
    under.set("a", "plain by now")
    assert locks.release(state.writer.store, lock, 1.0)
    assert CASES["decrypt"].work(opened(inner)).waiting == ()
    pure(inner, CASES["decrypt"])
    assert make_state(inner).get("a") == "plain by now"
    state.set("a", "and still")
    assert make_state(inner).get("a") == "and still"


def test_encrypting_does_not_cut_off_those_who_hold_locks() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    state = make_state(inner, clock)
    state.set("a", 1)
    held(inner)
    before = list(inner.scan())
    with pytest.raises(LockHeld, match="held by programs that have no key: deploy"):
        CASES["encrypt"].work(opened(inner))
    assert list(inner.scan()) == before


def test_a_migration_can_be_turned_round() -> None:
    inner = MemoryStore()
    model = fill(inner)

    def kill(number: int, when: str) -> None:
        if number == 4:
            raise Killed

    with pytest.raises(Killed):
        CASES["encrypt"].work(opened(Between(inner, kill)))
    with pytest.raises(UsageError, match="a migration was begun and not finished"):
        CASES["rekey"].work(opened(inner))
    CASES["decrypt"].work(opened(inner))
    check(inner, model)
    CASES["encrypt"].work(opened(inner))
    check(opened(inner), model)
    with pytest.raises(Killed):
        CASES["decrypt"].work(opened(Between(inner, kill)))
    CASES["encrypt"].work(opened(inner))
    check(opened(inner), model)
    pure(inner, CASES["encrypt"])


def test_a_decrypted_state_may_be_sealed_with_another_key() -> None:
    inner = MemoryStore()
    model = fill(opened(inner))
    CASES["decrypt"].work(opened(inner))
    for number in (1, 2):
        with pytest.raises((Foreign, KeyWrong)):
            Sealed(inner, key_source(number)).ready()
    other = Sealed(inner, key_source(2))
    reseal.encrypt(other, os.urandom, quiet)
    check(Sealed(inner, key_source(2)), model)
    with pytest.raises(KeyWrong):
        opened(inner).ready()


def test_encrypt_takes_strays_in_and_rekey_names_them() -> None:
    inner = MemoryStore()
    state = make_state(opened(inner))
    state.set("a", 1)
    make_state(inner).set("stray", 2)
    with pytest.raises(Corrupt, match="'stray' in local is in plaintext"):
        CASES["rekey"].work(opened(inner))
    CASES["encrypt"].work(opened(inner))
    assert state.items() == [("a", 1), ("stray", 2)]
    CASES["rekey"].work(opened(inner))
    pure(inner, CASES["rekey"])


def test_two_at_once_finish_together() -> None:
    inner = MemoryStore()
    model = fill(opened(inner))

    def other(number: int, when: str) -> None:
        if (number, when) == (5, "before"):
            CASES["rekey"].work(opened(inner))

    try:
        CASES["rekey"].work(opened(Between(inner, other)))
    except Conflict as conflict:
        assert conflict.next == ["run the same command again: it goes on where that one is"]
    check(opened(inner), model)
    pure(inner, CASES["rekey"])


def test_another_key_source_unlocks_from_then_on() -> None:
    inner = MemoryStore()
    model = fill(opened(inner))
    running = make_state(opened(inner))
    running.get("a")
    before = reseal.status(inner)
    reseal.rewrap(opened(inner), key_source(2), os.urandom)
    check(Sealed(inner, key_source(2)), model)
    with pytest.raises(KeyWrong):
        opened(inner).ready()
    running.set("a", "still there")
    assert reseal.status(inner)._replace(source=before.source).counts.keys() == before.counts.keys()


def sqlite(folder: Path) -> SQLiteStore:
    return SQLiteStore(folder, patience=60.0)


def test_a_database_takes_no_plaintext_while_it_is_sealed(tmp_path: Path) -> None:
    """A program that runs without the key since before is refused by the file itself, and told why."""
    folder = tmp_path / "state"
    running = make_state(sqlite(folder))
    running.set("a", 1)
    inner = sqlite(folder)
    reseal.encrypt(opened(inner), os.urandom, quiet)
    with pytest.raises(KeyWrong, match="was sealed while this program used it"):
        running.set("new", "canary")
    with pytest.raises(KeyWrong, match="was sealed while this program used it"):
        running.get("a")
    reseal.decrypt(opened(inner), os.urandom, quiet)
    running.set("new", "welcome again")
    assert running.items() == [("a", 1), ("new", "welcome again")]


def test_views_show_that_rows_are_sealed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    inner = sqlite(folder)
    state = make_state(opened(inner))
    state.set("a", "canary")
    state.set("a", "canary 2")
    inner.close()
    file = apsw.Connection(str(folder / "local.db"))
    assert list(file.execute("SELECT key, value, user FROM state_keys")) == [("a", "(sealed)", None)]
    rows = list(file.execute("SELECT key, revision, value FROM state_history ORDER BY revision"))
    assert rows == [("a", 1, "(sealed)"), ("a", 2, "(sealed)")]
    file.close()


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_trace_of_plaintext_or_of_an_old_key_stays_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    store = sqlite(folder)
    state = make_state(store)
    for number in range(200):
        state.set(f"k{number}", f"canary-{number}" * 20)
    for number in range(0, 200, 2):
        state.delete(f"k{number}")
    reader = sqlite(folder)
    assert make_state(reader).get("k1")
    assert b"canary" in everything(folder)
    reseal.encrypt(opened(store), os.urandom, quiet)
    assert b"canary" not in everything(folder)
    (first,) = reseal.status(store).counts
    old = store.get(KEYRING)
    reseal.rekey(opened(store), os.urandom, quiet)
    keyring = store.get(KEYRING)
    assert old is not None and keyring is not None
    assert old.value[-100:] not in everything(folder)
    assert bytes.fromhex(first) not in everything(folder)
    assert first.encode() not in everything(folder)
    assert everything(folder).count(MARK) > 300
    reseal.rewrap(opened(store), key_source(2), os.urandom)
    assert keyring.value[-100:] not in everything(folder)
    store.close()
    reader.close()
