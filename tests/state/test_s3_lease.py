"""Leases on S3: never too short, ended once and for all, and no clock of a client decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from sloth_runner.errors import Conflict
from sloth_runner.state.backends.s3 import S3Store, system_world
from sloth_runner.state.backends.s3_client import World
from sloth_runner.state.backends.s3_log import Marker, decode, log_name
from sloth_runner.state.backends.s3_segment import Gone
from sloth_runner.state.store import ABSENT, PRESENT, Change, Check
from tests.services.s3_proxy import Answer, Forward, Request, S3Proxy, before
from tests.state.s3_kit import another, key, log_length, objects, own_url, settled

SHORT = 8.0
"""Seconds of a lease during which a few checkpoints are made."""
LONG = 60.0
"""Seconds after which what was to happen has not."""


@pytest.fixture
def proxied() -> Iterator[tuple[S3Proxy, str]]:
    with before(own_url(checkpoint="3")) as both:
        yield both


def stopped() -> World:
    """The world of a process whose clock does not move: it never finds out that time has passed."""
    return system_world()._replace(now=lambda: 0.0)


def forward_by(seconds: float) -> World:
    """The world of a process whose clock jumps forward each time it is read."""
    world = system_world()
    jumps = iter(range(1 << 30))
    return world._replace(now=lambda: world.now() + seconds * next(jumps))


def test_a_lease_never_ends_early(proxied: tuple[S3Proxy, str]) -> None:
    """Four lengths, granted at four parts of a second; somebody else looks all the time, by a clock that jumps."""
    _, url = proxied
    holder = another(url)
    granted: dict[str, float] = {}
    lengths = {"l0": 0.2, "l1": 1.0, "l2": 1.5, "l3": 2.0}
    for name, length in lengths.items():
        granted[name] = time.monotonic()
        holder.commit([Change(key(name), b"", ABSENT, length)])
        time.sleep(0.27)
    onlooker = another(url, world=forward_by(0.5))
    ended: dict[str, float] = {}
    end = time.monotonic() + LONG
    while len(ended) < len(lengths) and time.monotonic() < end:
        for name in lengths:
            if name not in ended and onlooker.get(key(name)) is None:
                ended[name] = time.monotonic() - granted[name]
        time.sleep(0.02)
    assert ended.keys() == lengths.keys()
    for name, length in lengths.items():
        assert length <= ended[name], name


def test_the_end_is_the_same_for_everybody(proxied: tuple[S3Proxy, str]) -> None:
    """Who has a clock that stands still learns it from who looked."""
    _, url = proxied
    holder = another(url, world=stopped())
    holder.commit([Change(key("l"), b"", ABSENT, 0.5)])
    time.sleep(4)
    assert holder.get(key("l")) is not None, "nobody has found out yet"
    holder.commit([Change(key("a"), b"1"), Check(key("l"), PRESENT)])
    assert another(url).get(key("l")) is None
    assert holder.get(key("l")) is None
    with pytest.raises(Conflict):
        holder.commit([Change(key("a"), b"2"), Check(key("l"), PRESENT)])


def test_what_is_on_its_way_when_the_lease_ends_is_refused(proxied: tuple[S3Proxy, str]) -> None:
    """A fenced write leaves its holder, who then sleeps; it arrives after a successor has written."""
    proxy, url = proxied
    holder, successor = another(url, timeout=2 * LONG, world=stopped()), another(url)
    (fence,) = holder.commit([Change(key("f"), b"1", ABSENT), Change(key("l"), b"one", ABSENT, 0.5)])[:1]
    sent, go_on = threading.Event(), threading.Event()

    def late(request: Request, forward: Forward) -> Answer:
        if request.method == "PUT" and b"zombie" in request.body:
            sent.set()
            go_on.wait(LONG)
        return forward(request)

    proxy.rule = late
    outcome: list[object] = []

    def write() -> None:
        try:
            holder.commit([Change(key("a"), b"zombie"), Check(key("f"), fence), Check(key("l"), PRESENT)])
            outcome.append("written")
        except Conflict as conflict:
            outcome.append(conflict.keys)

    thread = threading.Thread(target=write)
    thread.start()
    assert sent.wait(LONG)
    end = time.monotonic() + LONG / 2
    while successor.get(key("l")) is not None:
        assert time.monotonic() < end
        time.sleep(0.05)
    successor.commit([Change(key("f"), b"2", fence), Change(key("l"), b"two", ABSENT, 600)])
    successor.commit([Change(key("a"), b"successor"), Check(key("l"), PRESENT)])
    go_on.set()
    thread.join()
    assert outcome == [{key("f")}]
    entry = successor.get(key("a"))
    assert entry is not None
    assert entry.value == b"successor"


def test_a_lease_that_is_taken_over_at_once(proxied: tuple[S3Proxy, str]) -> None:
    """Whoever expects ABSENT, and nobody has looked since it ended: the end and the new lease are one commit."""
    _, url = proxied
    holder, successor = another(url), another(url)
    (rev,) = holder.commit([Change(key("l"), b"one", ABSENT, 0.3)])
    with pytest.raises(Conflict):
        successor.commit([Change(key("l"), b"two", ABSENT, 5)])
    time.sleep(3.4)
    successor.commit([Change(key("l"), b"two", ABSENT, 5)])
    assert log_length(successor) == 2
    with pytest.raises(Conflict):
        holder.commit([Change(key("l"), b"one", rev, 5)])


def test_leases_outlive_checkpoints(proxied: tuple[S3Proxy, str]) -> None:
    """When it was granted is in the checkpoint: who begins there, and finds only markers before, judges as others."""
    _, url = proxied
    holder = another(url)
    began = time.monotonic()
    holder.commit([Change(key("short"), b"", ABSENT, SHORT), Change(key("long"), b"", ABSENT, 600)])
    for number in range(9):
        settled(holder).commit([Change(key("a"), str(number).encode())])
    settled(holder)
    newcomer = another(url)
    end = time.monotonic() + LONG
    while newcomer.get(key("short")) is not None:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert time.monotonic() - began >= SHORT
    assert [e.key for e in another(url).scan()] == [key("a"), key("long")]


def test_who_granted_a_lease_knows_when_though_checkpoints_cover_it(proxied: tuple[S3Proxy, str]) -> None:
    """The log object that would have told was overwritten by others, later than the lease began."""
    _, url = proxied
    holder, other = another(seldom(url)), another(url)
    holder.commit([Change(key("l"), b"", ABSENT, 0.2)])
    time.sleep(3.4)
    cover(other, holder)
    assert holder.get(key("l")) is None


def test_a_checkpoint_that_is_overtaken_says_nothing_wrong_of_a_lease(proxied: tuple[S3Proxy, str]) -> None:
    """While one is made by whoever granted the lease, others overwrite the log object that tells when."""
    proxy, url = proxied
    holder, other = another(seldom(url)), another(url)
    holder.commit([Change(key("l"), b"", ABSENT, 0.2)])
    time.sleep(3.4)

    def overtaken(request: Request, forward: Forward) -> Answer:
        if request.method in ("GET", "HEAD") and request.name.endswith(log_name(1)):
            proxy.rule = passed_on
            cover(other)
        return forward(request)

    proxy.rule = overtaken
    with pytest.raises(Gone):
        holder.replica.keeper.make(holder.replica)
    assert proxy.rule is passed_on
    assert holder.get(key("l")) is None


def passed_on(request: Request, forward: Forward) -> Answer:
    return forward(request)


def cover(store: S3Store, *readers: S3Store) -> None:
    """Have checkpoints made until the first log objects are markers; readers see all that is committed."""
    for number in range(9):
        settled(store).commit([Change(key("a"), str(number).encode())])
        for reader in readers:
            assert reader.get(key("a")) is not None
    settled(store)
    found = objects(store).get(log_name(1))
    assert found is not None
    assert isinstance(decode(log_name(1), found.body), Marker)


def seldom(url: str) -> str:
    """The same for one who makes no checkpoints by itself."""
    return url.replace("checkpoint=3", "checkpoint=1000")


def test_who_waits_for_a_lock_asks_little(proxied: tuple[S3Proxy, str]) -> None:
    """The server's clock is read when the lease may have ended, not each time somebody asks for the lock."""
    proxy, url = proxied
    another(url).commit([Change(key("l"), b"", ABSENT, 600)])
    contender = another(url)
    proxy.seen.clear()
    for _ in range(30):
        assert contender.get(key("l")) is not None
    assert proxy.count("PUT", "") <= 1
    assert proxy.count("HEAD", "") <= 2
    proxy.seen.clear()
    contender.commit([Change(key("mine"), b"", ABSENT, 600)])
    for _ in range(10):
        contender.commit([Change(key("a"), b""), Check(key("mine"), PRESENT)])
    assert proxy.count("PUT", "clock") == 0, "a holder knows without asking that its lease has not ended"
    assert objects(contender).get("clock") is not None
