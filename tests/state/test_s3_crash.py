"""Whoever is killed, whenever, and whoever slept through it all: the S3 store is as if only commits had been made."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from sloth_runner.errors import Conflict, Corrupt, Foreign, Indeterminate, StoreDown
from sloth_runner.state.backends.s3 import S3Store
from sloth_runner.state.backends.s3_log import Marker, Official, decode, log_name
from sloth_runner.state.backends.s3_segment import Sizes
from sloth_runner.state.store import ABSENT, Change
from tests.services.s3_proxy import Answer, Forward, Request, S3Proxy, before
from tests.state.s3_kit import another, key, objects, own_url, settled

WRITES = ("PUT", "POST", "DELETE")
POINTS = 10
"""Requests at which a writer is cut off, chosen anew each time; all of them in the long version."""


class Cut:
    """Lets so many writing requests pass; the next one is done (or not), and from then on nothing gets through."""

    def __init__(self, proxy: S3Proxy, left: int, *, done: bool) -> None:
        self.dead = False
        self._left = left
        self._done = done
        proxy.rule = self

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        if self.dead:
            return None
        if request.method in WRITES:
            self._left -= 1
            if self._left < 0:
                self.dead = True
                if self._done:
                    forward(request)
                return None
        return forward(request)


def work(store: S3Store, acknowledged: list[int], count: int) -> None:
    """Commit numbers, with a checkpoint after each few, until something fails."""
    for number in range(len(acknowledged), count):
        try:
            put(store, number)
        except (StoreDown, Indeterminate):
            return
        acknowledged.append(number)
        store.replica.keeper.wait(None)


def put(store: S3Store, number: int) -> None:
    store.commit([Change(key(f"n{number:04}"), b"x" * 40, ABSENT), Change(key("last"), b"%d" % number)])


def numbers(store: S3Store) -> list[int]:
    """Those that were committed, as the store shows them in two ways."""
    found = [int(entry.key.rpartition("n")[2]) for entry in store.scan(key("n"))]
    last = store.get(key("last"))
    assert found == list(range(len(found)))
    assert (last is None and not found) or (last is not None and int(last.value) == len(found) - 1)
    return found


def test_a_writer_that_is_cut_off_anywhere(soak: bool) -> None:
    url = own_url(checkpoint="3")
    with before(url) as (proxy, through):
        work(another(through), [], 16)
        requests = sum(request.method in WRITES for request in proxy.seen)
    assert requests > 60, "there were no checkpoints"
    points = [(at, done) for at in range(requests) for done in (False, True)]
    for at, done in points if soak else random.sample(points, POINTS):
        url, acknowledged = cut_off(at, done=done)
        successor = another(url)
        found = numbers(successor)
        assert len(acknowledged) <= len(found) <= len(acknowledged) + 1, (at, done)
        for number in range(len(found), len(found) + 7):
            put(successor, number)
            settled(successor)
        assert len(numbers(another(url))) == len(found) + 7, (at, done)
        official = successor.replica.tail.snapshot().official
        assert official is not None
        assert official.at > len(found), "its checkpoints do not go on"


def cut_off(at: int, *, done: bool) -> tuple[str, list[int]]:
    """A store whose writer was cut off, and what had been acknowledged to it. Again, when a slow machine made it give
    up before."""
    for _ in range(10):
        url = own_url(checkpoint="3")
        with before(url) as (proxy, through):
            cut = Cut(proxy, at, done=done)
            acknowledged: list[int] = []
            store = another(through, timeout=0.4)
            work(store, acknowledged, 16)
            store.replica.keeper.wait(None)
        if cut.dead:
            return url, acknowledged
    raise AssertionError("it never came so far")


def test_writers_that_are_killed(tmp_path: object) -> None:
    url = own_url(checkpoint="3")
    said = 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.state.s3_writer", url], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(random.randrange(1, 12)):
            said = int(process.stdout.readline()) + 1
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        said = int(rest[-1]) + 1 if rest else said
        process.wait()
        process.stdout.close()
        assert said <= len(numbers(another(url))) <= said + 1
        said = len(numbers(another(url)))


@pytest.fixture
def grown() -> Iterator[tuple[str, S3Store]]:
    """A store with checkpoints, whose first log objects are markers, and a handle on it."""
    url = own_url(checkpoint="3")
    store = another(url)
    for number in range(20):
        put(store, number)
        settled(store)
    yield url, store


def test_a_writer_that_slept(grown: tuple[str, S3Store]) -> None:
    """It knows the log up to an object behind which there are only markers: it can't take a number that was used, and
    what it expects is held against what is there now."""
    url, store = grown
    sleeper, other = another(url), another(url)
    entry = sleeper.get(key("last"))
    assert entry is not None
    length = sleeper.replica.tail.read(lambda state: state.tail)
    for number in range(20, 36):
        put(store, number)
        settled(store)
    following = objects(store).get(log_name(length + 1))
    assert following is not None
    assert isinstance(decode("", following.body), Marker)
    with pytest.raises(Conflict):
        sleeper.commit([Change(key("last"), b"stale", entry.rev)])
    assert numbers(sleeper) == list(range(36))
    other.commit([Change(key("other"), b"1", ABSENT)])
    assert numbers(store) == list(range(36))
    assert store.get(key("other")) is not None


def test_a_doubt_that_the_log_no_longer_tells(grown: tuple[str, S3Store]) -> None:
    """A commit in doubt whose place in the log is a marker now: it is not said to be made, nor made once more."""
    url, store = grown
    with before(url) as (proxy, through):
        doubter = another(through, timeout=3.0)
        doubter.get(key("last"))
        doubter.commit([Change(key("x"), b"0")])
        proxy.rule = lambda request, forward: None
        changes = [Change(key("x"), b"mine")]
        with pytest.raises(Indeterminate):
            doubter.commit(changes)
        for number in range(20, 36):
            put(store, number)
            settled(store)
        proxy.rule = lambda request, forward: forward(request)
        with pytest.raises(Indeterminate, match="compacted"):
            doubter.commit(changes)
        entry = doubter.get(key("x"))
        assert entry is not None
        assert entry.value == b"0"


def test_a_reader_whose_checkpoint_was_tidied_away(grown: tuple[str, S3Store]) -> None:
    url, store = grown
    reader = another(url)
    assert reader.get(key("last")) is not None
    going = reader.scan(key("n"))
    next(going)
    for number in range(20, 60):
        put(store, number)
        settled(store)
    with pytest.raises(StoreDown, match="replaced and tidied away"):
        list(going)
    assert numbers(reader) == list(range(60))


def test_garbage_goes_and_what_is_needed_stays(grown: tuple[str, S3Store]) -> None:
    url, store = grown
    manifests = {found.name for found in objects(store).list("manifest")}
    for number in range(20, 50):
        put(store, number)
        settled(store)
    left = {found.name for found in objects(store).list("manifest")}
    assert not manifests & left, "old ones were not tidied away"
    assert len(left) <= 5
    careful = another(url, grace=3600.0)
    for number in range(50, 62):
        put(careful, number)
        settled(careful)
    still = {found.name for found in objects(store).list("manifest")}
    assert len(still - left) >= 4
    assert {name for name in left if name >= min(left)} <= still | left
    assert numbers(another(url)) == list(range(62))


@pytest.mark.parametrize(
    "hint", [None, b"", b"nonsense", b"manifest/000000000001-gone", b"manifest/999999999999-no"]
)
def test_the_hint_is_only_a_hint(grown: tuple[str, S3Store], hint: bytes | None) -> None:
    url, store = grown
    if hint is None:
        objects(store).delete(["latest"])
    else:
        objects(store).put("latest", hint)
    newcomer = another(url)
    assert numbers(newcomer) == list(range(20))
    for number in range(20, 28):
        put(newcomer, number)
        settled(newcomer)
    found = objects(store).get("latest")
    assert found is not None
    assert objects(store).get(found.body.decode()) is not None, "it was not put right"
    assert numbers(another(url)) == list(range(28))


def test_a_checkpoint_that_never_became_official(grown: tuple[str, S3Store]) -> None:
    """Its maker was killed before the log said so. A newcomer may begin there, and goes on with the official one."""
    url, store = grown
    put(store, 20)
    settled(store)
    keeper, replica = store.replica.keeper, store.replica
    keeper._write(replica, replica.tail.snapshot(), whole=False)
    objects(store).delete(["latest"])
    newcomer = another(url)
    assert numbers(newcomer) == list(range(21))
    for number in range(21, 30):
        put(newcomer, number)
        settled(newcomer)
    assert numbers(another(url)) == list(range(30))


def unofficial(store: S3Store) -> tuple[Official | None, Official]:
    """A checkpoint that is made of what the store knows and not said to be official yet; and the one before."""
    replica = store.replica
    replica.tail.refresh()
    replica.tail.rest()
    snap = replica.tail.snapshot()
    made = replica.keeper._write(replica, snap, whole=False)
    return snap.official, Official(made.name, made.at, snap.base.manifest.at if snap.base is not None else 0)


def test_of_two_checkpoints_one_becomes_official(grown: tuple[str, S3Store]) -> None:
    """The one that was made first comes too late: others have made theirs, and rest on them, and tidied up."""
    url, store = grown
    put(store, 20)
    settled(store)
    slow = another(url)
    before, late = unofficial(slow)
    for number in range(21, 33):
        put(store, number)
        settled(store)
    newer = store.replica.tail.snapshot().official
    assert newer is not None and before is not None
    assert newer.at > late.at
    assert not slow.replica.make_official(before, late)
    assert slow.replica.make_official(before, newer), "it is, whoever said so"
    for one in (store, slow, another(url)):
        assert numbers(one) == list(range(33))
        assert one.replica.tail.snapshot().official == newer
    for number in range(33, 42):
        put(slow, number)
        settled(slow)
    assert numbers(another(url)) == list(range(42))


def test_of_two_checkpoints_at_one_moment_one_becomes_official(grown: tuple[str, S3Store]) -> None:
    url, store = grown
    makers = [another(url) for _ in range(4)]
    with ThreadPoolExecutor(len(makers)) as pool:
        for number in range(20, 24):
            made = [unofficial(maker) for maker in makers]
            assert len({before for before, _ in made}) == 1
            said = list(pool.map(lambda maker, one: maker.replica.make_official(*one), makers, made))
            assert said.count(True) == 1
            newest = another(url)
            assert numbers(newest) == list(range(number))
            assert newest.replica.tail.snapshot().official == made[said.index(True)][1]
            put(store, number)
            settled(store)
    assert numbers(another(url)) == list(range(24))


def test_a_store_without_its_checkpoints_says_so(grown: tuple[str, S3Store]) -> None:
    url, store = grown
    objects(store).delete([found.name for found in objects(store).list("manifest")])
    with pytest.raises(Corrupt, match="checkpoints are missing"):
        another(url).get(key("last"))


@pytest.mark.parametrize("kind", ["segment", "manifest", "log"])
def test_what_is_damaged_is_not_believed(grown: tuple[str, S3Store], kind: str) -> None:
    url, store = grown
    put(store, 20)
    settled(store)  # a checkpoint still being made would take the place of what is damaged
    snap = store.replica.tail.snapshot()
    assert snap.base is not None
    base = snap.base.manifest
    name = {"segment": base.runs[0][0].name, "manifest": base.name, "log": log_name(snap.at)}[kind]
    found = objects(store).get(name)
    assert found is not None
    at = 30 if kind == "segment" else len(found.body) - 1
    objects(store).put(name, found.body[:at] + bytes([found.body[at] ^ 1]) + found.body[at + 1 :])
    with pytest.raises(Corrupt):
        list(another(url).scan())


@pytest.mark.parametrize("kind", ["manifest", "log"])
def test_what_a_later_version_wrote_is_left_alone(grown: tuple[str, S3Store], kind: str) -> None:
    url, store = grown
    snap = store.replica.tail.snapshot()
    assert snap.base is not None
    name = snap.base.manifest.name if kind == "manifest" else log_name(snap.at + 1)
    objects(store).put(name, json.dumps({"format": 2}).encode() + b"\n")
    with pytest.raises(Foreign, match="format 2"):
        another(url).get(key("last"))


def test_a_large_store_is_read_in_parts() -> None:
    """A key of a thousand costs a few requests, and not all of the store; a scan of a part, only that part."""
    url = own_url(checkpoint="2")
    sizes = Sizes(1_000, 8_000, 4)
    with before(url) as (proxy, through):
        store = another(through, sizes=sizes)
        for part in range(4):
            store.commit([Change(key(f"{part}{number:03}"), b"v" * 50) for number in range(250)])
            settled(store)
        reader = another(through)
        proxy.seen.clear()
        entry = reader.get(key("2123"))
        assert entry is not None
        assert entry.value == b"v" * 50
        assert proxy.count("GET", "segment/") <= 4
        proxy.seen.clear()
        assert len(list(reader.scan(key("31"), limit=5))) == 5
        assert proxy.count("GET", "segment/") <= 8
        assert [entry.key for entry in reader.scan()] == [
            key(f"{part}{number:03}") for part in range(4) for number in range(250)
        ]


def test_nothing_is_left_of_what_was_overwritten(grown: tuple[str, S3Store]) -> None:
    """After an encryption, say: no object holds it any more, and who was reading goes on."""
    url, store = grown
    secret = b"a secret of before"
    store.commit([Change(key("s1"), secret), Change(key("s2"), secret)])
    for number in range(20, 29):
        put(store, number)
        settled(store)
    store.commit([Change(key("s3"), secret)])
    store.commit([Change(key("s1"), b"sealed"), Change(key("s2"), None), Change(key("s3"), None)])
    reader = another(url)
    assert reader.get(key("s1")) is not None
    assert store.traits.scrub is not None
    store.traits.scrub("local")
    folders = ("log", "manifest", "segment", "garbage")
    names = [found.name for folder in folders for found in objects(store).list(folder)]
    bodies = [found.body for name in names if (found := objects(store).get(name)) is not None]
    assert len(bodies) > 30
    assert not any(secret in body for body in bodies)
    for one in (store, reader, another(url)):
        assert numbers(one) == list(range(29))
        assert one.get(key("s2")) is None
    with before(url) as (proxy, through):
        again = another(through)
        assert again.traits.scrub is not None
        again.traits.scrub("local")
        proxy.seen.clear()
        again.traits.scrub("web1")
        assert not [request for request in proxy.seen if request.method != "GET"], "it was clean"
    for number in range(29, 40):
        put(reader, number)
        settled(reader)
    assert numbers(another(url)) == list(range(40))


@contextmanager
def shortening(url: str) -> Iterator[str]:
    """The store's URL by way of one on which a connection ends behind the head of a request that creates, as if that
    were all."""
    place = urlsplit(parse_qs(urlsplit(url).query)["endpoint"][0])
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def forward() -> None:
            while True:
                near, _ = listening.accept()
                with near, socket.create_connection((str(place.hostname), place.port or 80)) as far:
                    head = b""
                    while b"\r\n\r\n" not in head and (piece := near.recv(1 << 16)):
                        head += piece
                    if not head:
                        return
                    far.sendall(head[: head.index(b"\r\n\r\n") + 4])
                    far.shutdown(socket.SHUT_WR)
                    while far.recv(1 << 16):
                        pass

        thread = threading.Thread(target=forward)
        thread.start()
        yield url.replace(
            quote(place.geturl(), safe=""), quote(f"http://127.0.0.1:{listening.getsockname()[1]}", safe="")
        )
        socket.create_connection(listening.getsockname()).close()
        thread.join()


def test_what_was_cut_off_on_its_way_is_no_object() -> None:
    """Some servers take what came for all there is, unless the request says what that is."""
    url = own_url()
    store = another(url)
    with shortening(url) as way:
        far = objects(another(way, timeout=3.0))
        with pytest.raises((Indeterminate, StoreDown)):
            far.create("log/000000000099", b"whole")
    assert objects(store).get("log/000000000099") is None
