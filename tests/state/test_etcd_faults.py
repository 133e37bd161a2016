"""Servers that die, hang, lose their majority or their room, and answers that get lost: what was acknowledged stays,
nothing is applied twice or claimed falsely, errors come in time, and the same handle goes on when all is well."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sloth_runner.errors import Indeterminate, Lost, StoreDown
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.layout import store_key
from sloth_runner.state.patience import Patience
from sloth_runner.state.patient import Patient
from sloth_runner.state.store import ABSENT, ANY, Change, Doorbell, Store
from tests.services import etcdctl, shared_url
from tests.services.base import Server
from tests.services.etcd import Cluster, make, make_cluster, make_node
from tests.services.proxy import Proxy
from tests.state.kit import make_state

Open = Callable[..., Store]
KEY = store_key("local", "k", "a")
TIMEOUT = 2.0
SLACK = 10.0
"""Seconds that this machine may lose elsewhere: an election on it may take several tries, too."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    shared_url("etcd")  # where that is missing, so is the program
    server = make(tmp_path / "etcd")
    server.start()
    yield server
    if server.pid is not None:
        server.kill()


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    shared_url("etcd")
    cluster = make_cluster(tmp_path_factory.mktemp("cluster"), partitions=True)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Iterator[Cluster]:
    """All three nodes up, before and after."""
    yield whole_cluster
    whole_cluster.mend()
    for node in whole_cluster.nodes:
        if node.pid is None:
            node.start()
        node.signal(signal.SIGCONT)
    for node in whole_cluster.nodes:
        node.wait_until_ready()


@pytest.fixture
def opened() -> Iterator[Open]:
    made: list[Store] = []

    def opened(url: str, timeout: float = TIMEOUT) -> Store:
        made.append(open_store(f"{url}/faults", Options(Path("/"), 1.0, timeout=timeout)))
        return made[-1]

    yield opened
    for store in made:
        store.close()


def put(store: Store, value: bytes) -> None:
    """Begin with this value, although the machine may be slow just now."""
    again(lambda: store.commit([Change(KEY, value)]))


def value(store: Store) -> bytes | None:
    entry = store.get(KEY)
    return entry and entry.value


def patient(store: Store) -> Store:
    """As programs open it: it waits for a server that was there before."""
    return Patient(store, Patience(60.0, 60.0))


def in_time(
    action: Callable[[], object], *errors: type[BaseException], within: float = TIMEOUT
) -> BaseException:
    """The error that the action ends with, not later than it may."""
    began = time.monotonic()
    with pytest.raises(errors) as caught:
        action()
    assert time.monotonic() - began < within + SLACK
    return caught.value


def again(action: Callable[[], object], patience: float = 60.0) -> object:
    """What the action gives once the store is back."""
    end = time.monotonic() + patience
    while True:
        try:
            return action()
        except Lost:
            if time.monotonic() > end:
                raise


def test_killed_and_started_again(server: Server, opened: Open) -> None:
    store = opened(server.url)
    put(store, b"1")
    server.kill()
    in_time(lambda: store.commit([Change(KEY, b"2")]), StoreDown, Indeterminate)
    error = in_time(lambda: store.get(KEY), StoreDown)
    assert server.url.removeprefix("etcd://") in str(error)
    assert "connection refused" in str(error)
    error = in_time(lambda: store.commit([Change(KEY, b"2")]), StoreDown)
    server.start()
    assert value(store) == b"1"
    store.commit([Change(KEY, b"3")])
    assert value(store) == b"3"


def test_a_server_that_comes_back_in_time_is_waited_for(server: Server, opened: Open) -> None:
    store = patient(opened(server.url))
    state = make_state(store)
    assert state.increment("n") == 1
    for number in (2, 3):
        server.kill()
        starting = threading.Timer(0.5, server.start)
        starting.start()
        assert state.get("n") == number - 1
        starting.join()
        server.kill()
        server.start()
        assert state.increment("n") == number
    assert [h.new for h in state.history("n")] == [3, 2, 1]


def test_a_store_that_was_never_there_is_told_at_once(opened: Open) -> None:
    store = opened("etcd://127.0.0.1:1,127.0.0.1:2")
    for action in (lambda: store.get(KEY), lambda: store.commit([Change(KEY, b"")])):
        error = in_time(action, StoreDown, within=0.0)
        assert "127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused" in str(error)


def test_a_server_that_hangs(server: Server, opened: Open) -> None:
    store = opened(server.url)
    put(store, b"1")
    server.signal(signal.SIGSTOP)
    in_time(lambda: store.get(KEY), StoreDown)
    in_time(lambda: store.commit([Change(KEY, b"2")]), StoreDown)
    server.signal(signal.SIGCONT)
    assert again(lambda: value(store)) == b"1"  # surely not applied: it was never sent
    store.commit([Change(KEY, b"3")])
    server.signal(signal.SIGSTOP)
    in_time(lambda: store.commit([Change(KEY, b"4")]), Indeterminate)
    server.signal(signal.SIGCONT)
    assert again(lambda: value(store)) in (b"3", b"4")


@pytest.mark.parametrize("lost", ["to client", "to server"])
def test_a_lost_message_is_resolved_and_never_applied_twice(server: Server, opened: Open, lost: str) -> None:
    proxy = Proxy(int(server.url.rpartition(":")[2]))
    try:
        store = opened(f"etcd://127.0.0.1:{proxy.port}")
        state = make_state(patient(store))
        state.increment("n")
        lose(proxy, lost, store)
        assert (value(store) == b"1") is (lost == "to client")
        proxy.cut_after(0, lost)
        assert mending(proxy, lambda: state.increment("n")) == 2
        assert [h.new for h in state.history("n")] == [2, 1]
    finally:
        proxy.close()


def lose(proxy: Proxy, lost: str, store: Store) -> None:
    """A commit whose fate is unknown; one that was applied, if its reply is to be lost. (HTTP/2 has messages of its
    own: when one of those is lost, the connection may end before the commit is sent.)"""
    for _ in range(50):
        proxy.cut_after(0, lost)
        try:
            store.commit([Change(KEY, b"1", ABSENT)])
        except Indeterminate:
            proxy.mend()
            if lost == "to server" or value(store) == b"1":
                return
        except StoreDown:
            proxy.mend()
            assert value(store) is None
    raise AssertionError("no commit was lost")


def mending(proxy: Proxy, action: Callable[[], object]) -> object:
    """The action, over a network that is bad for half a second."""
    timer = threading.Timer(0.5, proxy.mend)
    timer.start()
    try:
        return action()
    finally:
        timer.join()


def test_bytes_that_come_late(server: Server, opened: Open) -> None:
    """A connection that hangs silently costs a read a third of its time, then a new one is tried."""
    proxy = Proxy(int(server.url.rpartition(":")[2]))
    try:
        store = opened(f"etcd://127.0.0.1:{proxy.port}")
        put(store, b"1")
        proxy.hold()
        in_time(lambda: store.commit([Change(KEY, b"2")]), Indeterminate)
        in_time(lambda: store.get(KEY), StoreDown)
        proxy.mend()
        assert again(lambda: value(store)) in (b"1", b"2")
    finally:
        proxy.close()


def test_another_node_takes_over(cluster: Cluster, opened: Open) -> None:
    store = opened(cluster.url)
    put(store, b"1")
    cluster.nodes[0].kill()
    assert again(lambda: value(store)) == b"1"
    again(lambda: store.commit([Change(KEY, b"2")]))
    assert value(store) == b"2"
    cluster.nodes[0].start()
    cluster.nodes[1].kill()
    assert again(lambda: value(store)) == b"2"
    cluster.nodes[1].start()


def test_the_leader_hangs(cluster: Cluster, opened: Open) -> None:
    leader = cluster.leader()
    others = [node for node in cluster.nodes if node is not leader]
    hosts = [node.url.removeprefix("etcd://") for node in (leader, *others)]
    store = opened("etcd://" + ",".join(hosts))
    put(store, b"1")
    state = make_state(patient(store))
    state.set("n", 1)
    leader.signal(signal.SIGSTOP)
    assert again(lambda: value(store)) == b"1"
    state.increment("n")
    leader.signal(signal.SIGCONT)
    assert state.increment("n") == 3
    assert [h.new for h in state.history("n")] == [3, 2, 1]


def test_an_election_is_waited_for(cluster: Cluster, opened: Open) -> None:
    """By one request, as long as it may take, also while a node does not answer at all."""
    gone = cluster.leader()
    back, left = [node for node in cluster.nodes if node is not gone]
    opened(cluster.url).commit([Change(KEY, b"1")])
    back.kill()
    gone.signal(signal.SIGSTOP)
    alone = opened(left.url)
    while "no leader" not in str(in_time(lambda: alone.get(KEY), StoreDown)):
        pass
    store = opened(f"{left.url},{gone.url.removeprefix('etcd://')}", 60.0)
    starting = threading.Timer(0.5, back.start)
    starting.start()
    assert value(store) == b"1"
    starting.join()


def test_the_leader_hangs_in_the_midst_of_a_commit(cluster: Cluster, opened: Open) -> None:
    leader = cluster.leader()
    others = [node for node in cluster.nodes if node is not leader]
    store = opened("etcd://" + ",".join(n.url.removeprefix("etcd://") for n in (leader, *others)))
    state = make_state(patient(store))
    before = state.increment("m")
    leader.signal(signal.SIGSTOP)
    assert state.increment("m") == before + 1  # no reply comes; that is resolved at another node
    leader.signal(signal.SIGCONT)
    assert len(state.history("m")) == before + 1


def test_a_minority_neither_reads_nor_writes(cluster: Cluster, opened: Open) -> None:
    """The cut off node was the leader, knows an old value, and must not tell it."""
    leader = cluster.leader()
    other = next(node for node in cluster.nodes if node is not leader)
    cut, free, both = opened(leader.url), opened(other.url), opened(f"{leader.url},{other.url[7:]}")
    for store in (cut, free, both):
        store.commit([Change(KEY, b"old")])
    cluster.cut_off(leader)
    again(lambda: free.commit([Change(KEY, b"new")]))
    in_time(lambda: cut.get(KEY), StoreDown)
    in_time(lambda: list(cut.scan()), StoreDown)
    in_time(lambda: cut.commit([Change(KEY, b"worse")]), StoreDown, Indeterminate)
    assert again(lambda: value(both)) == b"new"
    cluster.mend()
    assert again(lambda: value(cut)) == b"new"
    again(lambda: cut.commit([Change(KEY, b"newer")]))
    assert value(both) == b"newer"


def test_two_of_three_hang(cluster: Cluster, opened: Open) -> None:
    store = opened(cluster.url)
    put(store, b"1")
    for node in cluster.nodes[1:]:
        node.signal(signal.SIGSTOP)
    in_time(lambda: store.get(KEY), StoreDown)
    in_time(lambda: store.commit([Change(KEY, b"2")]), StoreDown, Indeterminate)
    for node in cluster.nodes[1:]:
        node.signal(signal.SIGCONT)
    assert again(lambda: value(store)) in (b"1", b"2")
    again(lambda: store.commit([Change(KEY, b"3")]))


def test_a_watch_goes_on_at_another_node(cluster: Cluster, opened: Open) -> None:
    store = opened(cluster.url)
    other = opened(f"{cluster.nodes[1].url},{cluster.nodes[2].url[7:]}")
    names = [store_key("local", "w", str(number)) for number in range(30)]
    assert store.traits.watch is not None
    with store.traits.watch("local\x1fw") as bell:
        heard: list[str] = []
        for number, name in enumerate(names):
            if number == 10:
                cluster.nodes[0].kill()
            if number == 20:
                cluster.nodes[0].start()
            again(lambda name=name: other.commit([Change(name, b"")]))  # type: ignore[misc] # a default argument
            heard += ringing(bell, 0.0) or ()
        end = time.monotonic() + 60
        while len(set(heard)) < len(names) and time.monotonic() < end:
            rung = ringing(bell, 1.0)
            assert rung is not None
            heard += rung
    assert list(dict.fromkeys(heard)) == names


def ringing(bell: Doorbell, seconds: float) -> Sequence[str] | None:
    """What the bell says, once a leader is there."""
    found: list[Sequence[str] | None] = []
    again(lambda: found.append(bell(seconds)))
    return found[0]


def test_a_full_database_says_what_to_do(tmp_path: Path, opened: Open) -> None:
    quota = 8 << 20
    server = make_node(tmp_path, "--quota-backend-bytes", str(quota))
    server.start()
    try:
        store = opened(server.url)
        names = [store_key("local", "k", str(number)) for number in range(40)]
        stored = 0
        with pytest.raises(Lost) as caught:
            for name in names:
                store.commit([Change(name, bytes(1_000_000), ABSENT)])
                stored += 1
        assert 3 < stored < len(names) - 1
        assert "database space exceeded" in caught.value.message
        assert any("etcdctl alarm disarm" in step for step in caught.value.next)
        assert any("state export --all --with-history" in step for step in caught.value.next)
        there = len([1 for name in names if store.get(name) is not None])
        if isinstance(caught.value, StoreDown):
            assert there == stored
        for change in (Change(names[-1], b"", ABSENT), Change(names[-1], b"", ABSENT, 60)):
            with pytest.raises(StoreDown, match="database space exceeded"):
                store.commit([change])
        assert store.traits.probe is not None
        assert not next(p for p in probe_or_nothing(store) if p[0] == "space")[1]
        free(server, there, store, names)
        store.commit([Change(names[-1], b"there is room", ABSENT)])
    finally:
        server.stop()


def probe_or_nothing(store: Store) -> list[tuple[str, bool]]:
    assert store.traits.probe is not None
    return [(proof.name, proof.good) for proof in store.traits.probe()]


def free(server: Server, count: int, store: Store, names: list[str]) -> None:
    """What the error says is to be done; deleting works all the time."""
    for name in names[:count]:
        store.commit([Change(name, None, ANY)])
    etcdctl.compact(server)
    etcdctl.ask(server, "maintenance/defragment")
    for alarm in etcdctl.ask(server, "maintenance/alarm", action="GET")["alarms"]:
        etcdctl.ask(server, "maintenance/alarm", action="DEACTIVATE", **alarm)


def test_an_entry_outlives_a_new_leader(cluster: Cluster, opened: Open) -> None:
    """Leases go on after an election: none ends too early."""
    store = opened(cluster.url)
    store.commit([Change(KEY, None)])
    began = time.monotonic()
    store.commit([Change(KEY, b"leased", ABSENT, 5)])
    leader = cluster.leader()
    leader.kill()
    while True:
        there = again(lambda: store.get(KEY)) is not None
        if time.monotonic() - began > 5:
            break
        assert there
    leader.start()
    end = time.monotonic() + 30
    while again(lambda: store.get(KEY)) is not None:
        assert time.monotonic() < end
