"""What a snapshot, a bulk change and a guard of a PostgreSQL namespace promise."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from sloth_runner.errors import Busy, Conflict, KeyWrong, StoreDown, TooLarge
from sloth_runner.state import reseal
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.postgres import MAX_VALUE, PostgresStore
from sloth_runner.state.layout import SEAL
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Change
from tests.services import postgres
from tests.state.bundle_kit import export_bytes, import_bytes
from tests.state.kit import key_source, make_state

Open = Callable[..., PostgresStore]


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.schema() as url:
        yield url


@pytest.fixture
def opened(url: str, tmp_path: Path) -> Iterator[Open]:
    made: list[PostgresStore] = []

    def one(patience: float = 10.0) -> PostgresStore:
        store = open_store(url, Options(tmp_path, patience))
        assert isinstance(store, PostgresStore)
        made.append(store)
        return store

    yield one
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Open) -> PostgresStore:
    return opened()


def key(name: str, namespace: str = "local") -> str:
    return f"{namespace}\x1fk\x1f{name}"


def rows(store: PostgresStore) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.scan("local\x1f")}


def change(store: PostgresStore, puts: dict[str, bytes], gone: tuple[str, ...] = ()) -> None:
    assert store.traits.bulk is not None
    with store.traits.bulk("local") as bulk:
        bulk.put([(key(name), value) for name, value in puts.items()])
        bulk.delete([key(name) for name in gone])


def test_others_wait_for_the_turn(store: PostgresStore, opened: Open) -> None:
    other = opened(0.2)
    make = store.traits.bulk
    assert make is not None
    store.commit([Change(key("c"), b"1")])
    with make("local") as bulk:
        bulk.put([(key("a"), b"1")])
        with pytest.raises(Busy):
            other.commit([Change(key("b"), b"1")])
        other.commit([Change(key("b", "web1"), b"another namespace's are free")])
        assert other.get(key("a")) is None
        bulks = other.traits.bulk
        assert bulks is not None
        with pytest.raises(Busy), bulks("local"):
            pass
    other.commit([Change(key("b"), b"1")])
    assert set(rows(store)) == {key("a"), key("b"), key("c")}


def test_a_commit_that_waits_goes_on_when_the_change_has_ended(store: PostgresStore, opened: Open) -> None:
    other = opened()
    make = store.traits.bulk
    assert make is not None
    waiting = threading.Thread(target=other.commit, args=([Change(key("b"), b"1")],))
    with make("local") as bulk:
        bulk.put([(key("a"), b"1")])
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join()
    assert set(rows(store)) == {key("a"), key("b")}


def test_a_value_that_is_too_long_stops_the_change(store: PostgresStore) -> None:
    with pytest.raises(TooLarge, match="16,777,216"):
        change(store, {"a": b"1", "b": b"x" * (MAX_VALUE + 1)})
    assert rows(store) == {}
    change(store, {"b": b"x" * MAX_VALUE})
    assert len(rows(store)[key("b")]) == MAX_VALUE


def test_a_connection_that_breaks_leaves_everything_as_it_was(store: PostgresStore, url: str) -> None:
    store.commit([Change(key("a"), b"1")])
    make = store.traits.bulk
    assert make is not None
    with pytest.raises(StoreDown), make("local") as bulk:
        bulk.put([(key("b"), b"1")])
        with psycopg.connect(url.partition("?")[0], autocommit=True) as server:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND pid IN (SELECT pid FROM pg_locks WHERE relation = to_regclass(%s)) AND state LIKE 'idle in%%'",
                (f"{url.partition('schema=')[2]}.entry",),
            )
        bulk.put([(key("c"), b"1")])
        bulk.put([(key("d"), b"1")])
    assert set(rows(store)) == {key("a")}


@pytest.mark.parametrize("limit", [None, 999, 65, 64, 0])
def test_long_scans_of_a_snapshot_stream_and_may_be_mixed(store: PostgresStore, limit: int | None) -> None:
    change(store, {f"{number:04}": b"x" * (number % 50) for number in range(1000)})
    snapshot = store.traits.snapshot
    assert snapshot is not None
    with snapshot("local") as view:
        one = view.scan("local\x1f", limit=limit)
        two = view.scan("local\x1f", limit=limit, reverse=True)
        pairs = list(zip(one, two, strict=True))
        assert [a.key[-4:] for a, _ in pairs] == [f"{n:04}" for n in range(1000)[:limit]]
        assert [b.key[-4:] for _, b in pairs] == [f"{n:04}" for n in range(999, -1, -1)][:limit]
        assert all(a.value == b"x" * (int(a.key[-4:]) % 50) for a, _ in pairs)


def test_a_guard_refuses_plaintext_whoever_writes(store: PostgresStore, opened: Open) -> None:
    other = opened()
    other.commit([Change(key("a"), b"plain")])
    guard = store.traits.guard
    assert guard is not None
    guard("local", b"\xffSL")
    with pytest.raises(KeyWrong):
        other.commit([Change(key("b"), b"plain")])
    with pytest.raises(KeyWrong):
        change(other, {"b": b"plain"})
    other.commit([Change(key("b"), b"\xffSL sealed"), Change("local" + SEAL, b"{}"), Change(key("a"), None)])
    other.commit([Change(key("b", "web1"), b"plain")])
    guard("local", b"")
    other.commit([Change(key("c"), b"plain")])


def test_a_sealed_namespace_is_exported_and_imported_as_one(store: PostgresStore, opened: Open) -> None:
    source = make_state()
    for number in range(50):
        source.set(f"k{number}", f"canary {number}")
    sealed = Sealed(store, key_source())
    assert sealed.traits.bulk is not None and sealed.traits.snapshot is not None
    import_bytes(sealed, export_bytes(source, with_history=True))
    state = make_state(Sealed(opened(), key_source()))
    assert state.get("k49") == "canary 49"
    state.set("k50", "canary 50")
    assert b"canary" not in b"".join(entry.value for entry in store.scan())
    with pytest.raises(KeyWrong):
        store.commit([Change(key("z"), b"plain")])
    again = export_bytes(state, with_history=True)
    assert again.count(b'["k",') == 51


def test_a_state_is_encrypted_and_decrypted_in_use(opened: Open) -> None:
    """The guard keeps out who has no key, even if they had it open before; and lets them in again."""
    plain = make_state(opened())
    for number in range(300):
        plain.set(f"k{number % 60}", f"canary {number}")
    sealed = Sealed(opened(), key_source())
    assert not reseal.encrypt(sealed, os.urandom, lambda count: None).waiting
    assert b"canary" not in b"".join(entry.value for entry in opened().scan())
    with pytest.raises(KeyWrong):
        plain.set("k1", "in clear")
    with pytest.raises(KeyWrong):
        plain.writer.store.commit([Change(key("new"), b'{"v": 1}')])
    state = make_state(sealed)
    assert state.get("k59") == "canary 299"
    state.set("k1", "sealed")
    reseal.rekey(sealed, os.urandom, lambda count: None)
    assert state.get("k1") == "sealed"
    reseal.decrypt(sealed, os.urandom, lambda count: None)
    again = make_state(opened())
    assert again.get("k1") == "sealed"
    again.set("k1", "in clear")


def test_two_changes_of_one_namespace_follow_each_other(store: PostgresStore, opened: Open) -> None:
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            change(opened(), {f"{number}-{i}": b"x" for i in range(200)})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(rows(store)) == 800


def test_an_expectation_of_before_a_change_fails(store: PostgresStore) -> None:
    (rev,) = store.commit([Change(key("a"), b"1")])
    change(store, {"a": b"2"})
    with pytest.raises(Conflict):
        store.commit([Change(key("a"), b"3", rev)])
