"""What a PostgreSQL store's doorbell and probe promise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest

from sloth_runner.errors import StoreDown
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends import postgres_watch as watching
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.postgres import PostgresStore
from sloth_runner.state.backends.postgres_probe import lease
from sloth_runner.state.store import ANY, Change, Check, Doorbell, Entry, Proof
from tests.services import postgres
from tests.services.proxy import Proxy
from tests.state.kit import Clock

Open = Callable[..., PostgresStore]
Admin = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.schema() as url:
        yield url


@pytest.fixture
def opened(url: str, tmp_path: Path) -> Iterator[Open]:
    made: list[PostgresStore] = []

    def one(at: str = url, timeout: float = 10.0) -> PostgresStore:
        store = open_store(at, Options(tmp_path, 10.0, timeout))
        assert isinstance(store, PostgresStore)
        made.append(store)
        return store

    yield one
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Open) -> PostgresStore:
    return opened()


@pytest.fixture
def admin(url: str) -> Iterator[Admin]:
    with psycopg.connect(url.partition("?")[0].replace("sloth@", "postgres@"), autocommit=True) as server:
        yield server


def key(name: str, namespace: str = "local") -> str:
    return f"{namespace}\x1fk\x1f{name}"


def watch(store: PostgresStore, prefix: str) -> AbstractContextManager[Doorbell]:
    assert store.traits.watch is not None
    return store.traits.watch(prefix)


def test_it_tells_what_was_put_and_deleted_by_anybody(store: PostgresStore, opened: Open) -> None:
    other = opened()
    with watch(store, key("")) as bell:
        assert bell(0) == ()
        for number in range(20):
            handle = (store, other)[number % 2]
            handle.commit([Change(key("a"), b"%d" % number), Change(key("b"), b"1"), Check(key("c"), 0)])
            assert bell(0) == (key("a"), key("b")), "at once, without waiting"
        other.commit([Change(key("a"), None)])
        other.commit([Change(key("x", "web1"), b"1")])
        other.commit([Check(key("a"), 0)])
        assert bell(0) == (key("a"),)
        assert bell(0) == ()


def test_it_wakes_who_waits(store: PostgresStore, opened: Open) -> None:
    other = opened()
    with watch(store, "") as bell:
        timer = threading.Timer(0.2, lambda: other.commit([Change(key("x", "web1"), b"1")]))
        timer.start()
        assert bell(30) == (key("x", "web1"),)
        timer.join()
        assert bell(0.05) == ()


def test_it_tells_nothing_of_what_failed(store: PostgresStore) -> None:
    with watch(store, "") as bell:
        with pytest.raises(Exception, match="changed meanwhile"):
            store.commit([Change(key("a"), b"1", 77)])
        assert bell(0) == ()


def test_many_keys_and_long_ones_ring_for_what_cant_be_said(store: PostgresStore) -> None:
    with watch(store, "local\x1f") as bell:
        store.commit([Change(key(str(number)), b"1") for number in range(101)])
        assert bell(0) is None
        store.commit([Change(key("x" * 8000), b"1")])
        assert bell(0) is None
        assert store.traits.bulk is not None
        with store.traits.bulk("local") as bulk:
            bulk.put([(key("b"), b"1")])
        assert bell(0) is None
        with store.traits.bulk("web1") as bulk:
            bulk.put([(key("b", "web1"), b"1")])
        assert bell(0) == ()


def test_while_nobody_watches_nobody_is_told(store: PostgresStore, admin: Admin, url: str) -> None:
    name = url.partition("schema=")[2]
    with watch(store, "local\x1f"):
        assert admin.execute(f"SELECT scope FROM {name}.rule").fetchall() == [("local",)]
    assert admin.execute(f"SELECT scope FROM {name}.rule").fetchall() == []
    admin.execute(f'LISTEN "{store._names.channel}"')
    store.commit([Change(key("a"), b"1")])
    assert list(admin.notifies(timeout=0.1)) == []


def test_several_watch(store: PostgresStore, opened: Open) -> None:
    with watch(store, key("")) as one, watch(opened(), "") as two, watch(opened(), "web1\x1f") as three:
        store.commit([Change(key("a"), b"1")])
        assert (one(0), two(0), three(0)) == ((key("a"),), (key("a"),), ())
        store.commit([Change(key("a", "web1"), b"1")])
        assert (one(0), two(0), three(0)) == ((), (key("a", "web1"),), (key("a", "web1"),))


def test_a_commit_under_way_is_not_missed_by_who_begins_to_watch(opened: Open) -> None:
    """It is waited for: either it ended before, or it rings, if only a moment after it can be seen."""
    writers = [opened() for _ in range(3)]
    writers[0].commit([Change(key("a"), b"0")])
    reader, looker = opened(), opened()
    rang = 0
    for number in range(30):
        over = threading.Event()

        def write(store: PostgresStore, over: threading.Event) -> None:
            while not over.is_set():
                store.commit([Change(key("a"), b"1")])

        threads = [threading.Thread(target=write, args=(one, over)) for one in writers[: 1 + number % 3]]
        for thread in threads:
            thread.start()
        with watch(reader, key("")) as bell:
            before = looker.get(key("a"))
            over.set()  # each writer's commit under way is its last
            for thread in threads:
                thread.join()
            if looker.get(key("a")) != before:
                rang += 1
                assert bell(30) == (key("a"),)
    assert rang > 5


def test_what_was_seen_rings(opened: Open) -> None:
    """If only a moment later."""
    writer, reader, looker = opened(), opened(), opened()
    with watch(reader, key("")) as bell:
        for number in range(50):
            thread = threading.Thread(target=writer.commit, args=([Change(key("a"), b"%d" % number)],))
            before = looker.get(key("a"))
            thread.start()
            while looker.get(key("a")) == before:
                pass
            assert bell(30) == (key("a"),)
            thread.join()
            assert bell(0) == (), "once"


def test_a_connection_that_broke_rings_for_what_cant_be_said(
    store: PostgresStore, url: str, opened: Open
) -> None:
    port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
    proxy = Proxy(port)
    try:
        far = opened(url.replace(f":{port}/", f":{proxy.port}/") + "&sslmode=disable")
        with watch(far, key("")) as bell:
            proxy.cut()
            store.commit([Change(key("a"), b"1")])
            assert bell(0) is None
            store.commit([Change(key("a"), b"2")])
            assert bell(0) == (key("a"),)
            proxy.refuse()
            with pytest.raises(StoreDown):
                bell(0)
            store.commit([Change(key("a"), b"3")])
            proxy.mend()
            assert bell(0) is None
            store.commit([Change(key("a"), b"4")])
            assert bell(30) == (key("a"),)
    finally:
        proxy.close()


def test_a_rule_that_ended_unseen_rings_for_what_cant_be_said(
    store: PostgresStore, admin: Admin, url: str
) -> None:
    """The watcher slept for longer than its rule lasts."""
    name = url.partition("schema=")[2]
    with watch(store, key("")) as bell:
        admin.execute(f"UPDATE {name}.rule SET until = clock_timestamp() - interval '1 s'")
        store.commit([Change(key("a"), b"1")])
        assert isinstance(bell, watching.Bell)
        bell._renewed -= watching.RENEW  # as if half a minute had passed
        assert bell(0) is None
        store.commit([Change(key("a"), b"2")])
        assert bell(0) == (key("a"),)
        bell._renewed -= watching.RENEW
        assert bell(0) == ()
        store.commit([Change(key("a"), b"2")])
        assert bell(0) == (key("a"),)


def test_a_session_that_no_longer_listens_rings_for_what_cant_be_said(store: PostgresStore) -> None:
    """What happens behind a pooler that gives each transaction another session."""
    with watch(store, key("")) as bell:
        assert isinstance(bell, watching.Bell) and bell._link is not None
        bell._link.script("UNLISTEN *", 5.0)
        store.commit([Change(key("a"), b"1")])
        assert bell(0) is None
        store.commit([Change(key("a"), b"1")])
        assert bell(0) == (key("a"),)


def test_rules_that_were_left_behind_are_tidied_up(store: PostgresStore, admin: Admin, url: str) -> None:
    name = url.partition("schema=")[2]
    store.commit([Change(key("a"), b"1")])
    admin.execute(f"INSERT INTO {name}.rule VALUES ('watch', 'local', 'old', '', now() - interval '2 days')")
    with watch(store, ""):
        assert admin.execute(f"SELECT scope FROM {name}.rule").fetchall() == [("",)]


def test_a_lease_that_is_renewed_may_ring_and_one_that_ends_need_not(store: PostgresStore) -> None:
    with watch(store, key("")) as bell:
        store.commit([Change(key("l"), b"1", ANY, 0.1)])
        assert bell(0) == (key("l"),)
        assert bell(0.2) == ()


@pytest.mark.parametrize("takes", [0.01, 0.15, 0.5])
def test_a_probe_of_leases_over_a_slow_line(takes: float) -> None:
    """One that ends while its first reading is on its way is no fault."""
    clock = Clock()

    class Far(MemoryStore):
        def get(self, key: str) -> Entry | None:
            clock.now += takes
            return super().get(key)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    assert lease(Far(clock), key("p"), clock, sleep).good

    class Hasty(Far):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            return super().commit(
                [c._replace(lease=0.001) if c.lease else c for c in changes if isinstance(c, Change)]
            )

    found = lease(Hasty(clock), key("p"), clock, sleep)
    assert not found.good and "was gone after" in found.message
    assert not lease(Far(lambda: 0.0), key("p"), clock, sleep).good, "it never ends"


def proofs(store: PostgresStore) -> dict[str, Proof]:
    assert store.traits.probe is not None
    return {proof.name: proof for proof in store.traits.probe()}


def test_a_probe_of_a_server_as_it_should_be(store: PostgresStore) -> None:
    found = proofs(store)
    assert all(proof.good for proof in found.values())
    assert found["one winner"].message == "of 4 connections that put at once, 1 succeeded"
    assert "clock is 0.0" in found["clock"].message
    assert list(store.scan("_store")) == [], "its records are gone"


def test_a_probe_finds_a_server_that_does_not_keep_what_it_acknowledged(tmp_path: Path) -> None:
    server = postgres.make(tmp_path / "pg", "fsync = off\n")
    server.start()
    try:
        store = open_store(f"{server.url}?options=-c%20synchronous_commit%3Doff", Options(tmp_path, 10.0))
        assert isinstance(store, PostgresStore)
        found = proofs(store)
        assert {name for name, proof in found.items() if not proof.good} == {"durability"}
        assert "fsync off" in found["durability"].message
        store.close()
    finally:
        server.stop()


def test_a_probe_notices_commits_that_do_not_exclude(store: PostgresStore, admin: Admin, url: str) -> None:
    """A function commit that somebody has broken: it believes every expectation."""
    store.commit([Change(key("a"), b"1")])
    name = url.partition("schema=")[2]
    ((text,),) = admin.execute(
        "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'commit' AND pronamespace = %s::regnamespace",
        (name,),
    ).fetchall()
    broken = (
        str(text)
        .replace("failed := true;", "failed := false;")
        .replace("revs[i] := -1;", "revs[i] := now_at;")
    )
    admin.execute(broken.encode())
    found = proofs(store)
    assert not found["create once"].good
    assert not found["one winner"].good
