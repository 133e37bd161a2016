"""What the Consul store does beyond the laws of all stores, on real servers of this file's own."""

from __future__ import annotations

import json
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import BadConfig, Conflict, Indeterminate, StoreDown, TooLarge
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.consul import ConsulStore
from sloth_runner.state.backends.consul_keys import fits, fitting, read, written
from sloth_runner.state.backends.consul_rows import rows
from sloth_runner.state.backends.consul_url import Address, parse
from sloth_runner.state.layout import store_key
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check, Store, walk
from tests.loopback import Reply, Request
from tests.services import shared_url
from tests.services.base import Server
from tests.services.consul import ask, make, port_of
from tests.services.meddler import Forward, Meddler
from tests.services.proxy import Proxy

Open = Callable[..., Any]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def key(name: str, namespace: str = "local") -> str:
    return store_key(namespace, "k", name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared_url("consul")  # where that is missing, so is the program
    server = make(tmp_path_factory.mktemp("consul"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def opened(server: Server) -> Iterator[Open]:
    """Opens handles on a prefix of this test's own, on the server or at a port."""
    prefix = uuid.uuid4().hex
    made: list[Store] = []

    def opened(port: int | None = None, timeout: float = 10.0) -> Store:
        url = f"consul://127.0.0.1:{port or port_of(server)}/{prefix}"
        made.append(open_store(url, Options(Path("/"), 1.0, timeout=timeout)))
        return made[-1]

    yield opened
    for store in made:
        store.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(port_of(server))
    yield proxy
    proxy.close()


def fill(store: Store, names: list[str], value: bytes) -> None:
    for start in range(0, len(names), 10):
        store.commit([Change(key(name), value, ABSENT) for name in names[start : start + 10]])


@given(TEXT, TEXT)
def test_keys_are_written_in_order_and_part_by_part(one: str, two: str) -> None:
    assert read(written(one)) == one
    assert written(one + two) == written(one) + written(two)
    assert (one < two) == (written(one) < written(two))


@given(TEXT)
def test_the_start_that_fits_into_a_url_fits(text: str) -> None:
    path = "state/" + written(text)
    start = fitting(path)
    assert path.startswith(start)
    assert fits(start)
    assert start == path or not fits(path)


@given(
    st.lists(st.dictionaries(TEXT, TEXT, max_size=3), max_size=5), st.lists(st.integers(1, 9), max_size=40)
)
def test_an_array_is_the_same_however_it_arrives(rows_: list[dict[str, str]], sizes: list[int]) -> None:
    data = json.dumps(rows_, ensure_ascii=False).encode()
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    pieces.append(data)
    whole = [piece for piece in pieces if piece]
    assert list(rows(iter(whole))) == rows_
    if rows_:
        with pytest.raises(ValueError, match=r"."):
            list(rows(iter([*whole[:-1], whole[-1][:-1]])))


ODD = [
    "a//b",
    "a/./b",
    "a/../b",
    "/a",
    "a/",
    "..",
    ".",
    "é",
    "\ue000",
    "a b",
    'a"b',
    "a!b",
    "?#&%20",
    "a\u200bb",
]


def test_keys_that_no_url_can_hold(opened: Open) -> None:
    store = opened()
    store.commit([Change(key(name), name.encode(), ABSENT) for name in ODD])
    for name in ODD:
        entry = store.get(key(name))
        assert entry is not None
        assert entry.value == name.encode()
        assert [e.key for e in store.scan(key(name))] == sorted(key(o) for o in ODD if o.startswith(name))
        assert [e.key for e in store.scan(key(name), limit=1)] == [
            min(key(o) for o in ODD if o.startswith(name))
        ]
        assert store.get(key(name + "/")) is None or name + "/" in ODD
    assert [e.key for e in store.scan()] == sorted(key(name) for name in ODD)
    assert [e.key for e in store.scan(limit=9, reverse=True)] == sorted((key(n) for n in ODD), reverse=True)[
        :9
    ]


def test_a_long_scan_is_of_one_moment(opened: Open) -> None:
    store = opened()
    names = [f"{n:03}" for n in range(200)]
    fill(store, names, bytes(range(256)) * 64)  # more than one piece, more than one chunk
    scan = store.scan()
    reverse = store.scan(reverse=True)
    seen = [next(scan).key]
    for name in names:
        store.commit([Change(key(name), b"new", PRESENT)])
    seen += [entry.key for entry in scan if entry.value != b"new"]
    assert seen == [key(name) for name in names]
    assert [entry.key for entry in reverse if entry.value != b"new"] == seen[::-1]
    assert len([e for e in store.scan(limit=150) if e.value == b"new"]) == 150


def test_a_scan_may_be_left(opened: Open) -> None:
    store = opened()
    fill(store, [f"{n:03}" for n in range(100)], bytes(30_000))
    for _ in range(3):
        scan = store.scan()
        assert next(scan).key == key("000")
    assert next(store.scan(after=key("050"))).key == key("051")
    scan = store.scan()
    store.close()
    with pytest.raises(StoreDown):
        list(scan)


def test_a_commit_has_a_size(opened: Open) -> None:
    store = opened()
    half = bytes(190_000)
    store.commit([Change(key("a"), half), Change(key("b"), half)])
    with pytest.raises(TooLarge, match=r"524,288"):
        store.commit([Change(key("c"), half), Change(key("d"), half), Change(key("e"), bytes(20_000))])
    assert store.get(key("c")) is None
    store.commit([Change(key(f"l{n}"), b"", ANY, 10) for n in range(21)])
    with pytest.raises(TooLarge, match=r"64"):
        store.commit([Change(key(f"l{n}"), b"", PRESENT, 20) for n in range(22)])


def test_walking_through_much_is_one_request(opened: Open, server: Server) -> None:
    asked: list[str] = []

    def meddle(request: Request, forward: Forward) -> Reply:
        asked.append(request.path)
        return forward(request)

    meddler = Meddler(port_of(server), meddle)
    try:
        store = opened(meddler.port)
        names = [f"{n:03}" for n in range(300)]
        fill(store, names, b"x")
        asked.clear()
        assert [e.key for e in walk(store, key(""), page=50)] == [key(name) for name in names]
        assert [e.key for e in walk(store, key(""), after=key("297"), page=50)] == [key("298"), key("299")]
        assert len(asked) == 2
        assert [e.key for e in walk(store, key("29"), page=3, reverse=True)] == [
            key(n) for n in names[:289:-1]
        ]
        found = walk(store, "")
        assert next(found).key == key("000")
        found.close()  # type: ignore[attr-defined] # it is a generator
        assert store.get(key("000")) is not None
    finally:
        meddler.close()


def sessions(server: Server, store: Any) -> list[dict[str, Any]]:
    name = f"sloth-runner {store.address.prefix}"
    return [row for row in ask(server, "GET", "session/list?consistent") if row["Name"] == name]


class TestLeases:
    def test_what_consul_is_asked_for(self, opened: Open, server: Server) -> None:
        store = opened()
        store.commit([Change(key("a"), b"", ABSENT, 3), Change(key("b"), b"", ABSENT, 12.5)])
        rows = sessions(server, store)
        assert sorted(row["TTL"] for row in rows) == ["10.000s", "12.500s"]
        assert {(row["Behavior"], row["LockDelay"], *row["NodeChecks"]) for row in rows} == {("delete", 0)}
        with pytest.raises(TooLarge, match="86,400"):
            store.commit([Change(key("c"), b"", ABSENT, 86401)])

    def test_renewals_take_turns_with_two_sessions(self, opened: Open, server: Server) -> None:
        store = opened()
        (rev,) = store.commit([Change(key("a"), b"1", ABSENT, 10)])
        for number in range(6):
            (rev,) = store.commit([Change(key("a"), b"%d" % number, PRESENT if number % 2 else rev, 10)])
        assert len(sessions(server, store)) == 2
        with pytest.raises(Conflict):
            store.commit([Change(key("a"), b"4", rev - 1, 10)])

    def test_a_renewal_that_fails_lengthens_nothing(self, opened: Open, server: Server) -> None:
        renewed: list[str] = []

        def meddle(request: Request, forward: Forward) -> Reply:
            if "/session/renew/" in request.path:
                renewed.append(request.path.rpartition("/")[2].partition("?")[0])
            return forward(request)

        meddler = Meddler(port_of(server), meddle)
        try:
            store = opened(meddler.port)
            for _ in range(3):
                store.commit([Change(key("a"), b"1", ANY, 10)])
            (row,) = ask(server, "GET", f"kv/{store.address.prefix}?recurse")
            renewed.clear()
            with pytest.raises(Conflict):
                store.commit([Change(key("a"), b"2", PRESENT, 10), Check(key("b"), PRESENT)])
            assert len(renewed) == 1
            assert row["Session"] not in renewed
        finally:
            meddler.close()

    def test_another_length_is_another_session(self, opened: Open, server: Server) -> None:
        store = opened()
        store.commit([Change(key("a"), b"1", ABSENT, 10)])
        store.commit([Change(key("a"), b"2", PRESENT, 20)])
        (row,) = ask(server, "GET", f"kv/{store.address.prefix}?recurse")
        (session,) = ask(server, "GET", f"session/info/{row['Session']}")
        assert session["TTL"] == "20.000s"
        store.close()
        assert [one["TTL"] for one in sessions(server, store)] == ["20.000s"]
        assert opened().get(key("a")) is not None

    def test_sessions_are_used_again_and_given_back(self, opened: Open, server: Server) -> None:
        store = opened()
        for _ in range(5):
            store.commit([Change(key("a"), b"", ABSENT, 10)])
            store.commit([Change(key("a"), None, PRESENT)])
        assert len(sessions(server, store)) == 1
        store.commit([Change(key(f"{n}"), b"", ABSENT, 10) for n in range(10)])
        assert len(sessions(server, store)) == 10
        store.commit([Change(key(f"{n}"), None, PRESENT) for n in range(10)])
        with pytest.raises(Conflict):
            store.commit([Change(key("b"), b"", PRESENT, 10)])
        assert len(sessions(server, store)) <= 5
        store.close()
        assert sessions(server, store) == []

    def test_a_session_whose_time_is_over_is_not_used_again(self, opened: Open, server: Server) -> None:
        """Consul ends it in two steps: between them it says that it renews it."""
        now, takes = 100.0, 0.0

        def meddle(request: Request, forward: Forward) -> Reply:
            nonlocal now
            reply = forward(request)
            if "/session/renew/" in request.path:
                now += takes
            return reply

        meddler = Meddler(port_of(server), meddle)
        try:
            store = ConsulStore(opened(meddler.port).address, 10.0, clock=lambda: now)

            def put() -> str | None:
                store.commit([Change(key("a"), None)])
                store.commit([Change(key("a"), b"", ABSENT, 10)])
                return store.session_of(key("a"))

            first = put()
            now += 9.0
            assert put() == first
            now += 9.0
            assert put() == first, "it was renewed"
            now += 10.0
            second = put()
            assert second != first, "its time was over before"
            takes = 10.0
            assert put() not in (first, second), "its time was over before the answer came"
            store.close()
        finally:
            meddler.close()

    def test_a_session_that_was_ended_by_others(self, opened: Open, server: Server) -> None:
        store = opened()
        store.commit([Change(key("a"), b"", ABSENT, 10)])
        store.commit([Change(key("b"), b"", ABSENT, 10)])
        store.commit([Change(key("b"), None)])  # its session is to spare now
        for row in sessions(server, store):
            ask(server, "PUT", f"session/destroy/{row['ID']}")
        with pytest.raises(Conflict):
            store.commit([Change(key("a"), b"", PRESENT, 10)])
        store.commit([Change(key("c"), b"", ABSENT, 10)])

    @pytest.mark.parametrize("expect", ["rev", "present", "any"])
    def test_what_is_put_without_a_lease_stays(self, opened: Open, server: Server, expect: str) -> None:
        store, other = opened(), opened()
        (rev,) = store.commit([Change(key("a"), b"1", ABSENT, 10)])
        how = {"rev": rev, "present": PRESENT, "any": ANY}[expect]
        (after,) = other.commit([Change(key("a"), b"2", how)])
        assert after > rev
        for row in sessions(server, store):
            ask(server, "PUT", f"session/destroy/{row['ID']}")
        entry = store.get(key("a"))
        assert (entry.value, entry.rev) == (b"2", after)

    @pytest.mark.parametrize("expect", ["rev", "present", "any"])
    def test_a_lease_is_taken_over(self, opened: Open, server: Server, expect: str) -> None:
        store, other = opened(), opened()
        (rev,) = store.commit([Change(key("a"), b"1", ABSENT, 10)])
        (first,) = sessions(server, store)
        how = {"rev": rev, "present": PRESENT, "any": ANY}[expect]
        other.commit([Change(key("a"), b"2", how, 10)])
        ask(server, "PUT", f"session/destroy/{first['ID']}")
        assert store.get(key("a")).value == b"2"
        (again,) = store.commit(
            [Change(key("a"), b"3", PRESENT, 10)]
        )  # it took its session to hold the entry
        other.close()
        assert store.get(key("a")) == (key("a"), b"3", again)

    def test_conflicts_are_named_among_leases(self, opened: Open) -> None:
        store, other = opened(), opened()
        store.commit([Change(key("leased"), b"", ABSENT, 10), Change(key("b"), b"")])
        with pytest.raises(Conflict) as caught:
            other.commit([Change(key("leased"), b"", PRESENT), Change(key("b"), b"", 1)])
        assert caught.value.keys == {key("b")}
        with pytest.raises(Conflict) as caught:
            other.commit(
                [
                    Change(key("leased"), b"", 1),
                    Change(key("b"), b""),
                    Change(key("c"), b"", PRESENT),
                    Check(key("d"), 5),
                ]
            )
        assert caught.value.keys == {key("leased"), key("c"), key("d")}

    def test_a_session_that_ends_at_the_last_moment(self, opened: Open, server: Server) -> None:
        """Between its renewal and the transaction; the lease gets another one."""
        ended: list[dict[str, Any]] = []

        def meddle(request: Request, forward: Forward) -> Reply:
            if "/v1/txn" in request.path and b'"lock"' in request.body and not ended:
                ended.extend(sessions(server, store))
                for row in ended:
                    ask(server, "PUT", f"session/destroy/{row['ID']}")
            return forward(request)

        meddler = Meddler(port_of(server), meddle)
        try:
            store = opened(meddler.port)
            store.commit([Change(key("a"), b"", ABSENT, 10)])
            assert len(ended) == 1
            assert store.get(key("a")) is not None
            ended.clear()
            with pytest.raises(Conflict) as caught:  # the entry went with it
                store.commit([Change(key("a"), b"", PRESENT, 10)])
            assert len(ended) == 2  # that of the entry, and the one it was to hang on
            assert caught.value.keys == {key("a")}
        finally:
            meddler.close()


class TestTrouble:
    def test_a_server_that_is_killed_keeps_what_it_said(self, tmp_path: Path) -> None:
        shared_url("consul")
        server = make(tmp_path / "consul")
        server.start()
        try:
            store = open_store(server.url, Options(Path("/"), 1.0, timeout=20.0))
            (rev,) = store.commit([Change(key("a"), b"1")])
            store.commit([Change(key("gone"), b"1")])
            store.commit([Change(key("gone"), None), Change(key("l"), b"", ABSENT, 10)])
            server.kill()
            with pytest.raises(StoreDown, match="Connection refused"):
                store.get(key("a"))
            with pytest.raises(StoreDown, match="Connection refused"):
                store.commit([Change(key("a"), b"2")])
            server.start()
            assert store.get(key("a")) == (key("a"), b"1", rev)
            assert store.get(key("l")) is not None
            (after,) = store.commit([Change(key("a"), b"2", rev)])
            assert after > rev
            store.close()
        finally:
            server.stop()

    def test_a_commit_whose_reply_is_lost(self, opened: Open, proxy: Proxy) -> None:
        store = opened(proxy.port)
        store.commit([Change(key("a"), b"1")])
        proxy.cut_after(10, "to client")
        with pytest.raises(Indeterminate, match="not known"):
            store.commit([Change(key("a"), b"2")])
        proxy.mend()
        assert store.get(key("a")).value == b"2"
        proxy.cut_after(60, "to server")
        with pytest.raises(Indeterminate, match="not known"):
            store.commit([Change(key("a"), b"3")])
        proxy.mend()
        assert store.get(key("a")).value == b"2"

    def test_a_lease_whose_reply_is_lost(self, opened: Open, proxy: Proxy, server: Server) -> None:
        """Its session may hold the entry, and holds no other afterwards."""
        store = opened(proxy.port)
        store.commit([Change(key("warm"), b"", ABSENT, 10)])
        store.commit([Change(key("warm"), None)])
        (spare,) = sessions(server, store)
        store.get(key("a"))

        def meddle(request: Request, forward: Forward) -> Reply:
            reply = forward(request)
            return Reply(500, b"EOF") if "/v1/txn" in request.path else reply

        meddler = Meddler(port_of(server), meddle)
        try:
            other = opened(meddler.port)
            with pytest.raises(Indeterminate):
                other.commit([Change(key("a"), b"", ABSENT, 10)])
            meddler.meddle = lambda request, forward: forward(request)
            held = {row["ID"] for row in sessions(server, store)} - {spare["ID"]}
            other.commit([Change(key("b"), b"", ABSENT, 10)])
            other.commit([Change(key("b"), None)])
            other.close()
            assert {row["ID"] for row in sessions(server, store)} - {spare["ID"]} == held
            assert store.get(key("a")) is not None
        finally:
            meddler.close()

    def test_connections_that_were_cut_while_idle(self, opened: Open, proxy: Proxy) -> None:
        store = opened(proxy.port)
        for number in range(3):
            store.commit([Change(key("a"), str(number).encode())])
            proxy.cut()
            assert store.get(key("a")).value == str(number).encode()
            proxy.cut()

    def test_a_scan_that_breaks_off(self, opened: Open, proxy: Proxy) -> None:
        store = opened(proxy.port)
        fill(store, [f"{n:03}" for n in range(100)], bytes(30_000))
        proxy.cut_after(2_500_000, "to client")
        with pytest.raises(StoreDown, match="closed the connection"):
            list(store.scan())
        proxy.mend()
        assert len(list(store.scan())) == 100


class TestWatch:
    def test_what_was_changed_is_told_once(self, opened: Open) -> None:
        store = opened()
        store.commit([Change(key("old"), b"1"), Change(key("leased"), b"", ABSENT, 10)])
        with store.traits.watch(key("")) as bell:
            assert bell(0) == ()
            store.commit([Change(key("b"), b"1"), Change(key("a"), b"1")])
            store.commit([Change(key("old"), None)])
            assert bell(60) == (key("a"), key("b"), key("old"))
            assert bell(0) == ()
            store.commit([Change(key("leased"), b"", PRESENT, 10)])
            assert bell(0) == (key("leased"),)
            store.commit([Change(key("c"), b"")])
            store.commit([Change(key("c"), None)])
            assert bell(60) is None  # it left nothing to be named
            assert bell(0.2) == ()

    def test_it_wakes_at_once(self, opened: Open) -> None:
        store, other = opened(), opened()
        store.commit([Change(key("a"), b"1"), Change(key("b"), b"1")])
        with store.traits.watch(key("a")) as bell:
            timer = threading.Timer(0.3, lambda: other.commit([Change(key("a"), b"2")]))
            timer.start()
            began = time.monotonic()
            assert bell(120) == (key("a"),)
            assert time.monotonic() - began < 60
            timer.join()

    def test_others_prefixes_do_not_ring(self, opened: Open) -> None:
        store = opened()
        store.commit([Change(key("a"), b"1"), Change(key("ab//x"), b"1")])
        with store.traits.watch(key("a")) as bell, store.traits.watch(key("ab//")) as odd:
            store.commit([Change(key("b"), b"1")])
            store.commit([Change(key("a", "web1"), b"1")])
            assert bell(0.2) == ()
            assert odd(0.2) in ((), None)  # it listens to all that starts with ab/
            store.commit([Change(key("ab//y"), b"1")])
            assert bell(0) == (key("ab//y"),)
            assert odd(0) == (key("ab//y"),)

    def test_many_keys_are_not_named(self, opened: Open) -> None:
        store = opened()
        for start in range(0, 520, 26):
            store.commit([Change(key(f"{n:04}"), b"", ABSENT) for n in range(start, start + 26)])
        with store.traits.watch("") as bell:
            store.commit([Change(key("0001"), b"x")])
            assert bell(60) is None
            assert bell(0) == ()
            for start in range(0, 520, 26):
                store.commit([Change(key(f"{n:04}"), None) for n in range(start, start + 26)])
            assert bell(60) is None
            store.commit([Change(key("0001"), b"x")])
            assert bell(60) == (key("0001"),)

    def test_it_goes_on_after_a_break(self, opened: Open, proxy: Proxy) -> None:
        store, far = opened(), opened(proxy.port)
        store.commit([Change(key("a"), b"1")])
        with far.traits.watch(key("")) as bell:
            proxy.cut()
            assert bell(0) == ()
            timer = threading.Timer(0.2, proxy.refuse)
            timer.start()
            with pytest.raises(StoreDown):
                bell(60)
            timer.join()
            store.commit([Change(key("a"), b"2")])
            with pytest.raises(StoreDown):
                bell(0)
            proxy.mend()
            assert bell(0) == (key("a"),)

    def test_a_restored_snapshot_rings(self, tmp_path: Path) -> None:
        """What the store held before comes back, with the indexes of then."""
        shared_url("consul")
        server = make(tmp_path / "consul")
        server.start()
        try:
            store = open_store(server.url, Options(Path("/"), 1.0))
            (rev,) = store.commit([Change(key("a"), b"1")])
            snapshot = ask(server, "GET", "snapshot")
            (lost,) = store.commit([Change(key("a"), b"2")])
            assert store.traits.watch is not None
            with store.traits.watch(key("")) as bell:
                ask(server, "PUT", "snapshot", snapshot)
                assert bell(60) is None
                assert store.get(key("a")) == (key("a"), b"1", rev)
                (after,) = store.commit([Change(key("a"), b"3", rev)])
                assert bell(60) == (key("a"),)
                assert after > lost > rev
            store.close()
        finally:
            server.stop()


class Tls(NamedTuple):
    """A server that speaks TLS alone, with clients that it knows by a certificate, and files for such a client."""

    server: Server
    ca: str
    cert: str
    key: str
    folder: Path

    def url(self, **settings: str) -> str:
        query = "&".join(f"{name}={text}" for name, text in settings.items())
        return f"{self.server.url}?{query}"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    shared_url("consul")
    folder = tmp_path_factory.mktemp("tls")
    authority, other = trustme.CA(), trustme.CA()
    mine, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client")
    files = {"ca": authority.cert_pem, "other": other.cert_pem, "server": mine.private_key_and_cert_chain_pem}
    files |= {"key": client.private_key_pem, "cert": client.cert_chain_pems[0]}
    for name, blob in files.items():
        blob.write_to_path(folder / f"{name}.pem")
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    settings = {
        "verify_incoming": True,
        "ca_file": f"{folder}/ca.pem",
        "cert_file": f"{folder}/server.pem",
        "key_file": f"{folder}/server.pem",
    }
    server = make(folder, settings, context=context)
    server.start()
    yield Tls(server, f"{folder}/ca.pem", f"{folder}/cert.pem", f"{folder}/key.pem", folder)
    server.stop()


class TestTls:
    def opened(self, url: str, **environ: str) -> Any:
        return open_store(url, Options(Path("/"), 1.0, environ=environ))

    def test_a_client_that_is_known(self, tls: Tls) -> None:
        for store in (
            self.opened(tls.url(ca=tls.ca, cert=tls.cert, key=tls.key)),
            self.opened(
                tls.url(tls="1"), CONSUL_CACERT=tls.ca, CONSUL_CLIENT_CERT=tls.cert, CONSUL_CLIENT_KEY=tls.key
            ),
        ):
            assert [proof for proof in store.traits.probe() if not proof.good] == []
            (rev,) = store.commit([Change(key("a"), bytes(300_000))])
            store.commit([Change(key("a"), None, rev)])
            with store.traits.watch("") as bell:
                assert bell(0) == ()
            access = next(proof for proof in store.traits.probe() if proof.name == "access")
            assert "over TLS, with a client certificate" in access.message
            store.close()

    def test_whoever_is_not(self, tls: Tls, server: Server) -> None:
        other = f"{tls.folder}/other.pem"
        for url, words, hint in (
            (tls.url(ca=other, cert=tls.cert, key=tls.key), "CERTIFICATE_VERIFY_FAILED", "ca=FILE"),
            (tls.url(ca=tls.ca), "certificate", "cert="),
            (tls.url(), "HTTP request to an HTTPS server", "tls=1"),
            (f"{server.url}?tls=1&ca={tls.ca}", "(?i)wrong.version.number", "does not speak TLS"),
        ):
            store = self.opened(url)
            with pytest.raises(StoreDown, match=words) as caught:
                store.get(key("a"))
            assert hint in " ".join(caught.value.next)
            with pytest.raises(StoreDown, match=words):
                store.commit([Change(key("a"), b"")])
            store.close()


class TestUrl:
    def parsed(self, url: str, **environ: str) -> Address:
        return parse(url, Options(Path("/"), 1.0, environ=environ))

    def test_what_it_says(self) -> None:
        assert self.parsed("consul://h/p") == Address("h", 8500, "p/")
        assert self.parsed("consul://h:1/p/q/") == Address("h", 1, "p/q/")
        assert self.parsed("consul://[::1]:1/p") == Address("::1", 1, "p/")
        assert self.parsed("consul://[::1]:1/p").name == "[::1]:1"
        full = self.parsed("consul://h/p?ca=/c%20a&cert=/c&key=/k&dc=east")
        assert full == Address("h", 8501, "p/", "east", None, True, "/c a", "/c", "/k")
        assert self.parsed("consul://h/p", CONSUL_HTTP_TOKEN="t").token == "t"
        assert (
            parse(
                "consul://h/p", Options(Path("/"), 1.0, password="p", environ={"CONSUL_HTTP_TOKEN": "t"})
            ).token
            == "p"
        )

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("consul://", "names no host"), ("consul:///p", "names no host"), ("consul://h", "names no prefix"),
            ("consul://h/", "names no prefix"), ("consul://h:0/p", "no host and"), ("consul://h:x/p", "no host"),
            ("consul://h:99999/p", "no host and port"), ("consul://h1,h2/p", "several hosts"),
            ("consul://h/p//q", "between slashes"), ("consul://h/p/../q", "between slashes"),
            ("consul://h/a%20b", "between slashes"), ("consul://SECRET@h/p", "must not stand in a URL"),
            ("consul://u:SECRET@h/p", "must not stand in a URL"), ("consul://h/p?token=SECRET", "must not stand in"),
            ("consul://h/p?ns=x", "Enterprise"), ("consul://h/p?partition=x", "Enterprise"),
            ("consul://h/p?tsl=1", "unknown setting 'tsl'"), ("consul://h/p?tls=yes", "0 or 1"),
            ("consul://h/p?tls=1&tls=1", "occurs twice"), ("consul://h/p?ca", "has no value"),
            ("consul://h/p?cert=/c", "needs both"), ("consul://h/p?ca=c.pem", "whole path"),
            ("consul://h/p?tls=0&ca=/c", "contradict"), ("consul://h/p?dc=a%26b", "no name of a datacenter"),
        ],
    )  # fmt: skip
    def test_what_it_must_not_say(self, url: str, words: str) -> None:
        with pytest.raises(BadConfig, match=words) as caught:
            self.parsed(url)
        assert "SECRET" not in str(caught.value.document())

    def test_tokens_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(BadConfig, match="characters that no token has") as caught:
            self.parsed("consul://h/p", CONSUL_HTTP_TOKEN="a\r\nX-Other: SECRET")
        assert "SECRET" not in str(caught.value.document())
        with pytest.raises(BadConfig, match="CONSUL_HTTP_TOKEN_FILE"):
            self.parsed("consul://h/p", CONSUL_HTTP_TOKEN_FILE=str(tmp_path / "none"))
