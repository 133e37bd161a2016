"""What the etcd store does beyond the laws of all stores, on a real server of this file's own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sloth_runner.errors import Busy, Conflict, StoreDown, TooLarge
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.layout import store_key
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check, Proof, Store
from tests.services import etcdctl, shared_url
from tests.services.base import Server
from tests.services.etcd import make, make_node

Open = Callable[..., Store]


def key(name: str, namespace: str = "local") -> str:
    return store_key(namespace, "k", name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared_url("etcd")  # where that is missing, so is the program
    server = make(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def opened(server: Server) -> Iterator[Open]:
    """Opens handles on a prefix of this test's own, with more of the URL."""
    prefix = uuid.uuid4().hex
    made: list[Store] = []

    def opened(more: str = "", on: Server | None = None, timeout: float = 10.0) -> Store:
        made.append(
            open_store(f"{(on or server).url}/{prefix}{more}", Options(Path("/"), 1.0, timeout=timeout))
        )
        return made[-1]

    yield opened
    for store in made:
        store.close()


def fill(store: Store, count: int) -> list[str]:
    """Entries of very different sizes; their keys in order."""
    keys = [key(f"{number:05}") for number in range(count)]
    for start in range(0, count, 100):
        part = range(start, min(start + 100, count))
        store.commit([Change(keys[n], b"x" * (n % 7) * (40_000 if n % 97 == 0 else 1)) for n in part])
    return keys


def test_scans_of_many_pages(opened: Open) -> None:
    store = opened()
    keys = fill(store, 700)
    assert [e.key for e in store.scan()] == keys
    assert [e.key for e in store.scan(reverse=True)] == keys[::-1]
    assert [e.key for e in store.scan(limit=300)] == keys[:300]
    assert [e.key for e in store.scan(limit=300, reverse=True)] == keys[:-301:-1]
    assert [e.key for e in store.scan(after=keys[399])] == keys[400:]
    assert [e.key for e in store.scan(after=keys[399], reverse=True)] == keys[398::-1]
    assert [e.key for e in store.scan(key("001"))] == keys[100:200]
    assert all(len(e.value) == (n % 7) * (40_000 if n % 97 == 0 else 1) for n, e in enumerate(store.scan()))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_long_scan_is_a_snapshot(opened: Open, reverse: bool) -> None:
    store = opened()
    keys = fill(store, 500)
    scan = store.scan(reverse=reverse)
    seen = [next(scan)]
    store.commit([Change(k, None) for k in keys[200:300]])
    store.commit([Change(key(f"{number:05}a"), b"new") for number in range(100)])
    seen += scan
    assert [e.key for e in seen] == (keys[::-1] if reverse else keys)


def test_a_snapshot_is_read_at_one_revision(opened: Open) -> None:
    store = opened()
    (rev,) = store.commit([Change(key("a"), b"1")])
    assert store.traits.snapshot is not None
    with store.traits.snapshot("local") as reader:
        store.commit([Change(key("a"), b"2"), Change(key("b"), b"")])
        found = reader.get(key("a"))
        assert found is not None
        assert (found.value, found.rev) == (b"1", rev)
        assert reader.get(key("b")) is None
        assert [e.value for e in reader.scan()] == [b"1"]


def test_a_conflict_names_exactly_what_failed(opened: Open) -> None:
    store = opened()
    one, two = (store.commit([Change(key(name), b"")])[0] for name in "ab")
    with pytest.raises(Conflict) as caught:
        store.commit(
            [
                Change(key("a"), b"", one),
                Change(key("b"), b"", one),
                Check(key("c"), PRESENT),
                Check(key("d"), ABSENT),
                Change(key("e"), b"", ANY),
                Check(key("f", "other"), two),
            ]
        )
    assert caught.value.keys == {key("b"), key("c"), key("f", "other")}


def test_every_check_says_what_it_found(opened: Open) -> None:
    store = opened()
    (rev,) = store.commit([Change(key("a"), b"")])
    checks = [Check(key("a"), PRESENT), Check(key("b"), ANY), Check(key("c"), ABSENT)]
    assert store.commit(checks) == [rev, ABSENT, ABSENT]
    revs = store.commit([*checks, Change(key("d"), None), Change(key("e"), b"")])
    assert revs[:4] == [rev, ABSENT, ABSENT, ABSENT]
    assert revs[4] > rev


def test_leases_that_are_not_needed_are_given_back(server: Server, opened: Open) -> None:
    before = etcdctl.leases(server)
    store = opened()
    store.commit([Change(key("l"), b"1", ABSENT, 600)])
    assert len(etcdctl.leases(server) - before) == 1
    for _ in range(3):
        store.commit([Change(key("l"), b"2", PRESENT, 600)])  # renewed
    with pytest.raises(Conflict):
        store.commit([Change(key("l"), b"3", ABSENT, 600)])
    other = opened()
    other.commit([Change(key("l"), b"4", PRESENT, 600)])
    other.close()
    store.commit([Change(key("l"), None, PRESENT)])
    store.close()
    assert etcdctl.leases(server) <= before


def test_a_short_lease_is_rounded_up(opened: Open) -> None:
    store = opened()
    began = time.monotonic()
    store.commit([Change(key("l"), b"", ABSENT, 0.2)])
    while store.get(key("l")) is not None:
        time.sleep(0.05)
    assert time.monotonic() - began >= 1.0


def test_a_lease_that_is_too_long_is_refused(opened: Open) -> None:
    store = opened()
    with pytest.raises(TooLarge, match="too large lease TTL"):
        store.commit([Change(key("l"), b"", ABSENT, 1e10)])
    assert store.get(key("l")) is None


def test_what_is_too_much_together_is_refused_with_its_numbers(opened: Open) -> None:
    store = opened()
    with pytest.raises(TooLarge, match=r"1,800,\d+ bytes; this store takes 1,571,840 \(max-request-bytes\)"):
        store.commit([Change(key(name), bytes(900_000)) for name in "ab"])
    assert list(store.scan()) == []


def test_limits_of_other_servers(tmp_path: Path, opened: Open) -> None:
    small = make_node(tmp_path, "--max-request-bytes", "600000", "--max-txn-ops", "40")
    small.start()
    try:
        store = opened(on=small)
        with pytest.raises(TooLarge, match="request is too large"):
            store.commit([Change(key("a"), bytes(700_000))])
        with pytest.raises(TooLarge, match="too many operations"):
            store.commit([Change(key(str(number)), b"") for number in range(41)])
        with pytest.raises(TooLarge, match="message larger than max"):
            store.commit([Change(key("a"), bytes(1_500_000))])
        assert "limits" in bad(store)
        told = opened("?max-request-bytes=600000&max-txn-ops=40", on=small)
        assert not bad(told)
        with pytest.raises(TooLarge, match="takes 40"):
            told.commit([Change(key(str(number)), b"") for number in range(41)])
        store.close()
        told.close()
    finally:
        small.stop()


def bad(store: Store) -> dict[str, str]:
    """What a probe finds wrong."""
    return {proof.name: proof.message for proof in probed(store) if not proof.good}


def probed(store: Store) -> list[Proof]:
    assert store.traits.probe is not None
    return store.traits.probe()


def test_a_probe_of_a_good_server(opened: Open) -> None:
    store = opened()
    store.commit([Change(key("a"), b"")])
    names = [proof.name for proof in probed(store) if proof.good]
    assert names == ["version", "nodes", "access", "space", "prefix", "create once", "compare and set", "one winner",
                     "revisions", "atomic", "limits", "leases"]  # fmt: skip
    assert probed(store)[-1].message == "they run as clocks here do; whole seconds, at least 2"
    assert [e.key for e in store.scan()] == [key("a")]


def test_a_probe_finds_what_is_not_ours(server: Server) -> None:
    name = uuid.uuid4().hex
    inner = open_store(f"{server.url}/{name}/inner", Options(Path("/"), 1.0))
    inner.commit([Change(key("a"), b"")])
    inner.close()
    outer = open_store(f"{server.url}/{name}", Options(Path("/"), 1.0))
    assert bad(outer) == {
        "prefix": f"below {name}/ there is something else: 'inner/local'; give the state a prefix of its own"
    }
    outer.close()


def test_a_probe_finds_two_clusters_in_one_url(tmp_path: Path, server: Server) -> None:
    other = make(tmp_path)
    other.start()
    try:
        address = other.url.removeprefix("etcd://")
        store = open_store(f"{server.url},{address}/{uuid.uuid4().hex}", Options(Path("/"), 1.0))
        found = bad(store)
        store.close()
    finally:
        other.stop()
    assert found == {"nodes": f"{address} belong to another cluster than the rest of the URL"}


def test_a_probe_says_which_endpoints_are_silent(server: Server) -> None:
    store = open_store(f"{server.url},127.0.0.1:1/{uuid.uuid4().hex}", Options(Path("/"), 1.0))
    (nodes,) = (proof for proof in probed(store) if proof.name == "nodes")
    store.close()
    assert nodes == Proof("nodes", True, "1 of 2 answer; 127.0.0.1:1: connection refused")


def test_a_watch_tells_of_every_change(opened: Open) -> None:
    store, other = opened(), opened()
    assert store.traits.watch is not None
    other.commit([Change(key("before"), b"")])
    with store.traits.watch("local\x1f") as bell:
        assert bell(0) == ()
        other.commit([Change(key("a"), b"1"), Change(key("b"), b"1"), Check(key("c"), ABSENT)])
        assert waited(bell, 2) == {key("a"), key("b")}
        other.commit([Change(key("a"), None)])
        assert waited(bell, 1) == {key("a")}
        other.commit([Change(key("x", "elsewhere"), b"")])
        assert bell(0.2) == ()
        for number in range(50):
            other.commit([Change(key(str(number)), b"")])
        assert waited(bell, 50) == {key(str(number)) for number in range(50)}


def test_a_watch_tells_of_leases_that_end(opened: Open) -> None:
    store = opened()
    assert store.traits.watch is not None
    with store.traits.watch(key("l")) as bell:
        store.commit([Change(key("l"), b"", ABSENT, 2)])
        assert waited(bell, 1) == {key("l")}
        assert waited(bell, 1) == {key("l")}
        assert store.get(key("l")) is None


def waited(bell: object, count: int) -> set[str]:
    """So many keys, as they come."""
    assert callable(bell)
    found: list[str] = []
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        rung = bell(1.0)
        assert rung is not None
        found += rung
    return set(found)


def test_compaction_in_the_midst_of_a_scan_is_said(server: Server, opened: Open) -> None:
    store = opened()
    keys = fill(store, 500)
    scans = [store.scan(), store.scan(reverse=True)]
    firsts = [next(scan).key for scan in scans]
    assert firsts == [keys[0], keys[-1]]
    store.commit([Change(key("more"), b"")])
    etcdctl.compact(server)
    for scan in scans:
        with pytest.raises(Busy, match="compacted its history"):
            list(scan)
    assert len(list(store.scan())) == 501


def test_a_watch_that_missed_something_says_so(tmp_path: Path, opened: Open) -> None:
    server = make(tmp_path)
    server.start()
    store = opened(on=server, timeout=20)
    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        store.commit([Change(key("a"), b"")])
        assert waited(bell, 1) == {key("a")}
        server.kill()
        with pytest.raises(StoreDown):
            while True:
                bell(1.0)
        server.start()
        for number in range(3):
            store.commit([Change(key("b"), str(number).encode())])
        etcdctl.compact(server)
        assert bell(60.0) is None
        store.commit([Change(key("c"), b"")])
        assert waited(bell, 1) == {key("c")}
        server.kill()
        server.start()
        store.commit([Change(key("d"), b"")])
        assert waited(bell, 1) == {key("d")}
    store.close()
    server.stop()


def test_a_handle_is_not_for_a_forked_process(opened: Open) -> None:
    store = opened()
    store.commit([Change(key("a"), b"1")])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.get(key("a"))
        except StoreDown as error:
            status = 0 if "forked" in error.message else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get(key("a")) is not None


def run(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)


def test_a_missing_package_is_told_with_the_command() -> None:
    for name in ("grpc", "google.protobuf"):
        code = (
            f"import sys; sys.modules[{name!r}] = None\n"
            "from pathlib import Path\n"
            "from sloth_runner.state.backends import Options, open_store\n"
            "try: open_store('etcd://127.0.0.1:1/x', Options(Path('/'), 1.0))\n"
            "except Exception as error: print(type(error).__name__, error.next)\n"
        )
        assert run(code).stdout == "BadConfig [\"pip install 'sloth-runner[etcd]'\"]\n"


def test_grpc_writes_nothing_to_the_terminal(server: Server) -> None:
    """Not even where TLS meets a server without it, which gRPC logs by itself."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sloth_runner.state.backends import Options, open_store\n"
        "for url in sys.argv[1:]:\n"
        "    store = open_store(url, Options(Path('/'), 1.0, timeout=1.0, environ=dict(os.environ)))\n"
        "    try: store.get('a')\n"
        "    except Exception as error: print(error.message)\n"
        "    store.close()\n"
        "assert 'GRPC_VERBOSITY' not in os.environ\n"
    )
    done = run(code, f"{server.url}/x?tls=1", "etcd://127.0.0.1:1/x")
    assert done.returncode == 0
    assert done.stderr == ""
    handshake, refused = done.stdout.splitlines()
    assert "andshake" in handshake
    assert refused == "etcd at 127.0.0.1:1: connection refused"
