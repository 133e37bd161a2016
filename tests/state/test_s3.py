"""What the S3 store does when S3 refuses, is slow, loses an answer, or is no S3."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sloth_runner.errors import Busy, Conflict, Forbidden, Indeterminate, SlothError, StoreDown, Unfit
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.s3 import S3Store, system_world
from sloth_runner.state.store import ABSENT, ANY, Change, Check
from tests.conformance.suite import Opener, run_workers
from tests.services import shared_url
from tests.services.base import Server, free_port
from tests.services.s3 import OPEN, make
from tests.services.s3_proxy import Answer, Forward, Request, Rule, S3Proxy, before, refusal
from tests.state.s3_kit import another, key, log_length, objects, own_url, settled


@pytest.fixture
def proxied() -> Iterator[tuple[S3Proxy, str]]:
    """A proxy and the URL of a store behind it."""
    with before(own_url()) as both:
        yield both


def once(method: str, part: str, answer: Callable[[Request, Forward], Answer | None]) -> Rule:
    """A rule for the first request of a method to an object whose name holds ``part``; others pass."""
    left = [1]

    def rule(request: Request, forward: Forward) -> Answer | None:
        if request.method == method and part in request.name and left:
            left.clear()
            return answer(request, forward)
        return forward(request)

    return rule


def always(method: str, part: str, answer: Answer) -> Rule:
    def rule(request: Request, forward: Forward) -> Answer | None:
        return answer if request.method == method and part in request.name else forward(request)

    return rule


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, "AccessDenied", "access is denied"),
        (403, "InvalidAccessKeyId", "access key is not known"),
        (403, "SignatureDoesNotMatch", "secret key is wrong"),
        (403, "RequestTimeTooSkewed", "clock is wrong"),
        (400, "ExpiredToken", "expired"),
        (400, "AuthorizationHeaderMalformed", "another region"),
        (301, "PermanentRedirect", "another region"),
        (404, "NoSuchBucket", "no such bucket"),
        (405, "MethodNotAllowed", "HTTP status 405"),
        (501, "NotImplemented", "HTTP status 501"),
        (503, "SlowDown", "fewer requests"),
    ],
)
def test_what_s3_refuses_was_not_done(
    proxied: tuple[S3Proxy, str], status: int, code: str, text: str
) -> None:
    proxy, url = proxied
    store = another(url, timeout=3.0)
    store.commit([Change(key("a"), b"1")])
    for method, work in (
        ("PUT", lambda: store.commit([Change(key("a"), b"2")])),
        ("GET", lambda: store.get(key("a"))),
    ):
        proxy.rule = always(method, "log/", refusal(status, code))
        with pytest.raises(StoreDown, match=text):
            work()
    proxy.rule = lambda request, forward: forward(request)
    entry = store.get(key("a"))
    assert entry is not None
    assert entry.value == b"1"


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "Busy"), (502, "")]
)
def test_what_passes_is_tried_again(proxied: tuple[S3Proxy, str], status: int, code: str) -> None:
    proxy, url = proxied
    store = another(url)
    store.commit([Change(key("a"), b"1")])
    proxy.rule = once("GET", "log/", lambda request, forward: refusal(status, code))
    assert store.get(key("a")) is not None
    proxy.rule = once("GET", "log/", lambda request, forward: None)
    assert store.get(key("a")) is not None


def test_a_conflict_of_s3s_own_is_tried_again(proxied: tuple[S3Proxy, str]) -> None:
    """409 says that others were writing this name just now, and that nothing came of it."""
    proxy, url = proxied
    store = another(url)
    conflict = refusal(409, "ConditionalRequestConflict")
    proxy.rule = once("PUT", "log/", lambda request, forward: conflict)
    store.commit([Change(key("a"), b"1", ABSENT)])
    assert log_length(store) == 1
    proxy.rule = always("PUT", "log/", conflict)
    with pytest.raises(StoreDown, match="others were writing"):
        another(url, timeout=1.0).commit([Change(key("b"), b"1")])


def test_a_lost_answer_is_looked_up(proxied: tuple[S3Proxy, str]) -> None:
    """The object was created and the answer did not come: it is found, and nothing is done twice."""
    proxy, url = proxied
    store = another(url)
    (first,) = store.commit([Change(key("a"), b"1", ABSENT)])

    def lose(request: Request, forward: Forward) -> None:
        forward(request)

    proxy.rule = once("PUT", "log/", lose)
    (second,) = store.commit([Change(key("a"), b"2", first), Check(key("b"), ABSENT)])[:1]
    assert second > first
    assert log_length(store) == 2
    entry = another(url).get(key("a"))
    assert entry is not None
    assert (entry.value, entry.rev) == (b"2", second)


def test_an_answer_that_is_no_answer_is_looked_up(proxied: tuple[S3Proxy, str]) -> None:
    """A 500 may come before the object was written, or after."""
    proxy, url = proxied
    store = another(url)
    for number, does in enumerate((True, False)):

        def fail(request: Request, forward: Forward, does: bool = does) -> Answer:
            if does:
                forward(request)
            return refusal(500, "InternalError")

        proxy.rule = once("PUT", "log/", fail)
        store.commit([Change(key(f"a{number}"), b"1", ABSENT)])
        assert log_length(store) == number + 1


class Holding:
    """A proxy's rule that keeps the first create of a log object, as a network does that delivers late."""

    def __init__(self, proxy: S3Proxy) -> None:
        self._proxy = proxy
        self._held: Request | None = None
        self.away = True
        """Nothing else gets through, either."""
        proxy.rule = self

    def __call__(self, request: Request, forward: Forward) -> Answer | None:
        if self._held is None and request.method == "PUT" and "/log/" in request.name:
            self._held = request
            return None
        return None if self.away and self._held is not None else forward(request)

    def deliver(self) -> int:
        """Let it arrive now: what the server said."""
        assert self._held is not None
        return self._proxy.forward(self._held).status


def doubtful(url: str, proxy: S3Proxy) -> tuple[S3Store, Holding, list[Change]]:
    """A store one of whose commits is on its way still, though nobody knows."""
    store = another(url, timeout=1.0)
    store.commit([Change(key("a"), b"0")])
    holding = Holding(proxy)
    changes = [Change(key("a"), b"mine", ANY)]
    with pytest.raises(Indeterminate):
        store.commit(changes)
    holding.away = False
    return store, holding, changes


def test_a_late_commit_is_known_again(proxied: tuple[S3Proxy, str]) -> None:
    proxy, url = proxied
    store, holding, changes = doubtful(url, proxy)
    assert holding.deliver() == 200
    other = another(url)
    (later,) = other.commit([Change(key("a"), b"theirs")])
    (rev,) = store.commit(changes)
    assert rev < later
    entry = other.get(key("a"))
    assert entry is not None
    assert entry.value == b"theirs", "it was done a second time, over what came after it"
    assert log_length(other) == 3


def test_a_commit_that_others_overtook_never_arrives(proxied: tuple[S3Proxy, str]) -> None:
    proxy, url = proxied
    store, holding, changes = doubtful(url, proxy)
    other = another(url)
    (before_it,) = other.commit([Change(key("a"), b"theirs")])
    assert holding.deliver() == 412
    (rev,) = store.commit(changes)
    assert rev > before_it
    assert log_length(other) == 3


def test_a_commit_made_again_before_it_arrives_is_made_once(proxied: tuple[S3Proxy, str]) -> None:
    proxy, url = proxied
    store, holding, changes = doubtful(url, proxy)
    store.commit(changes)
    assert holding.deliver() == 412
    assert log_length(another(url)) == 2


def test_a_doubt_outlasts_a_server_that_is_away(proxied: tuple[S3Proxy, str]) -> None:
    """The commit arrives late; what was tried in between, in vain, is no reason to forget it."""
    proxy, url = proxied
    store, holding, changes = doubtful(url, proxy)
    proxy.rule = always("PUT", "log/", refusal(403, "AccessDenied"))
    with pytest.raises(StoreDown):
        store.commit(changes)
    proxy.rule = holding
    assert holding.deliver() == 200
    other = another(url)
    other.commit([Change(key("a"), b"theirs")])
    store.commit(changes)
    entry = other.get(key("a"))
    assert entry is not None
    assert entry.value == b"theirs"


def test_another_commit_goes_past_one_in_doubt(proxied: tuple[S3Proxy, str]) -> None:
    proxy, url = proxied
    store, holding, _ = doubtful(url, proxy)
    store.commit([Change(key("b"), b"1")])
    assert holding.deliver() == 412
    entry = another(url).get(key("a"))
    assert entry is not None
    assert entry.value == b"0"


def test_a_request_that_hangs_holds_up_nobody_else(proxied: tuple[S3Proxy, str]) -> None:
    """Commits of one process share objects; when one does not come back, the others go beside it."""
    proxy, url = proxied
    store = another(url, timeout=60.0)
    store.commit([Change(key("a"), b"1")])
    release, over = threading.Event(), threading.Event()

    def hang(request: Request, forward: Forward) -> None:
        release.wait(30)
        over.set()

    proxy.rule = once("PUT", "log/", hang)
    stuck = threading.Thread(target=lambda: store.commit([Change(key("b"), b"1")]))
    stuck.start()
    while proxy.count("PUT", "log/") < 2:
        time.sleep(0.01)
    another_handle = S3Store(store.replica, 60.0)
    another_handle.commit([Change(key("c"), b"1")])
    assert not over.is_set()
    release.set()
    stuck.join()
    assert [entry.key for entry in store.scan()] == [key("a"), key("b"), key("c")]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    url = f"s3://some-bucket/x?endpoint={address}&unsigned=true"
    said = f"s3://some-bucket/x at {address} can't be used: the connection was refused"
    store = another(url)
    for work in (lambda: store.get(key("a")), lambda: store.commit([Change(key("a"), b"1")]), store.scan):
        with pytest.raises(StoreDown, match=said):
            work()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to be hurt."""
    shared_url("s3")
    own = make(tmp_path / "s3")
    own.start()
    yield own
    own.kill()


def patiently(work: Callable[[], object]) -> None:
    """Do it, if the server needs a while to come back to itself."""
    end = time.monotonic() + 60
    while True:
        try:
            work()
            return
        except (StoreDown, Indeterminate):
            if time.monotonic() > end:
                raise


def test_a_server_that_stops_and_comes_back(server: Server) -> None:
    store = another(server.url, timeout=6.0)
    patiently(lambda: store.commit([Change(key("a"), b"1")]))
    server.signal(signal.SIGSTOP)
    while Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2][0] != "T":
        time.sleep(0.01)
    for error, work in (
        (StoreDown, lambda: store.get(key("a"))),
        (Indeterminate, lambda: store.commit([Change(key("b"), b"1", ABSENT)])),
    ):
        with pytest.raises(error, match="did not answer in time"):
            work()
    server.signal(signal.SIGCONT)
    patiently(lambda: store.commit([Change(key("b"), b"1", ABSENT)]))
    server.kill()
    with pytest.raises(StoreDown):
        store.get(key("a"))
    server.start()
    patiently(lambda: store.get(key("a")))
    assert [entry.key for entry in store.scan()] == [key("a"), key("b")]
    assert [entry.key for entry in another(server.url).scan()] == [key("a"), key("b")]


def test_a_lookalike_that_ignores_the_condition_is_refused() -> None:
    """A real proxy before a real server takes the condition out of every request, as some servers ignore it."""
    endpoint = shared_url("s3").partition("endpoint=")[2].partition("&")[0]
    with before(f"s3://{OPEN}/{uuid.uuid4().hex}?endpoint={endpoint}&unsigned=true") as (proxy, url):

        def ignore(request: Request, forward: Forward) -> Answer:
            request.headers.pop("if-none-match", None)
            return forward(request)

        proxy.rule = ignore
        store = another(url)
        with pytest.raises(Unfit, match="ignores If-None-Match") as caught:
            store.commit([Change(key("a"), b"1")])
        assert caught.value.unchanged
        assert log_length(store) == 0
        assert store.traits.probe is not None
        bad = {proof.name for proof in store.traits.probe() if not proof.good}
        assert bad == {"create once", "one winner", "bucket"}
        proxy.rule = lambda request, forward: forward(request)
        store.commit([Change(key("a"), b"1")])


def test_a_store_that_was_trusted_is_proven_anew_by_every_process(proxied: tuple[S3Proxy, str]) -> None:
    """One request, before the first commit."""
    proxy, url = proxied
    another(url).commit([Change(key("a"), b"1")])
    seen = proxy.count("PUT", "proof")
    store = another(url)
    for _ in range(3):
        store.commit([Change(key("a"), b"1")])
    assert proxy.count("PUT", "proof") == seen + 1


def test_what_it_costs(proxied: tuple[S3Proxy, str]) -> None:
    """A get is one request, a commit is one."""
    proxy, url = proxied
    store = another(url)
    store.commit([Change(key("a"), b"1")])
    proxy.seen.clear()
    entry = store.get(key("a"))
    assert entry is not None
    assert [request.method for request in proxy.seen] == ["GET"]
    proxy.seen.clear()
    store.commit([Change(key("a"), b"2", entry.rev), Change(key("b"), b"2", ABSENT), Check(key("c"), ABSENT)])
    assert [request.method for request in proxy.seen] == ["PUT"]
    proxy.seen.clear()
    assert len(list(store.scan())) == 2
    assert [request.method for request in proxy.seen] == ["GET"]


def test_many_threads_share_requests(proxied: tuple[S3Proxy, str]) -> None:
    """A hundred handles of one process do not queue one behind the other."""
    proxy, url = proxied
    options = Options(Path(), 60.0)
    handles = [open_store(url, options) for _ in range(100)]
    handles[0].commit([Change(key("a"), b"1")])
    proxy.seen.clear()
    start = threading.Barrier(len(handles))
    errors: list[SlothError] = []

    def work(number: int) -> None:
        start.wait()
        try:
            handles[number].commit([Change(key(f"b{number:03}"), b"1", ABSENT)])
            assert handles[number].get(key("a")) is not None
        except SlothError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(handles))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(list(handles[0].scan(key("b")))) == 100
    assert proxy.count("PUT", "log/") < 50
    assert proxy.count("GET", "log/") < 150
    for handle in handles:
        handle.close()


def test_one_of_two_in_the_same_object_meets_a_conflict(proxied: tuple[S3Proxy, str]) -> None:
    """Commits that travel together are evaluated one after the other."""
    proxy, url = proxied
    store = another(url)
    store.commit([Change(key("a"), b"1")])
    hold = threading.Event()

    def wait(request: Request, forward: Forward) -> Answer:
        hold.wait(30)
        return forward(request)

    proxy.rule = once("PUT", "log/", wait)
    outcomes: list[str] = []

    def work(name: str, expect: int) -> None:
        try:
            S3Store(store.replica, 60.0).commit([Change(key(name), b"2", expect)])
            outcomes.append("made")
        except Conflict as conflict:
            assert conflict.keys == {key(name)}
            outcomes.append("conflict")

    first = threading.Thread(target=work, args=("x", ANY))
    first.start()
    while proxy.count("PUT", "log/") < 2:
        time.sleep(0.005)
    others = [threading.Thread(target=work, args=("b", ABSENT)) for _ in range(5)]
    for thread in others:
        thread.start()
    while len(store.replica.waiting) < 5:
        time.sleep(0.005)
    hold.set()
    for thread in [first, *others]:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 4 + ["made"] * 2
    assert log_length(store) == 3


def test_who_has_no_patience_left_is_told(proxied: tuple[S3Proxy, str]) -> None:
    proxy, url = proxied
    store, rival = another(url, patience=0.3), another(url)
    store.commit([Change(key("a"), b"1")])

    def overtake(request: Request, forward: Forward) -> Answer | None:
        if request.method == "PUT" and "/log/" in request.name and b"mine" in request.body:
            rival.commit([Change(key("b"), b"theirs")])
        return forward(request)

    proxy.rule = overtake
    with pytest.raises(Busy, match="others commit"):
        store.commit([Change(key("a"), b"mine")])
    proxy.rule = lambda request, forward: forward(request)
    entry = store.get(key("a"))
    assert entry is not None
    assert entry.value == b"1"


def test_processes_count_exactly_across_checkpoints(tmp_path: Path) -> None:
    url = own_url(checkpoint="5")
    opener = Opener(lambda: another(url), None, url, str(tmp_path))
    results = run_workers(opener, "count", 4, 25)
    assert sum(r["done"] for r in results) == 100
    store = another(url)
    entry = store.get(key("counter"))
    assert entry is not None
    assert int(entry.value) == 100
    assert objects(store).get("latest") is not None


def test_who_may_only_read(proxied: tuple[S3Proxy, str]) -> None:
    _, url = proxied
    another(url).commit([Change(key("a"), b"1"), Change(key("l"), b"", ABSENT, 0.1)])
    reader = another(f"{url}&profile=reader")
    assert reader.get(key("a")) is not None
    with pytest.raises(Forbidden, match="access is denied") as caught:
        reader.commit([Change(key("a"), b"2")])
    assert "docs/stores/s3.md" in caught.value.next[0]
    with pytest.raises(Forbidden, match="access is denied"):
        reader.replica.probe()
    with pytest.raises(Forbidden, match="access is denied"):
        objects(reader).delete(["probe/a", "probe/b"])
    time.sleep(3.5)
    assert reader.get(key("l")) is not None, "nobody has written that it ended, and who only reads can't"
    assert another(url).get(key("l")) is None
    assert reader.get(key("l")) is None


def test_a_bucket_that_is_not_there() -> None:
    url = shared_url("s3").replace("s3://", "s3://no-such-", 1) + "&profile=reader"
    with pytest.raises(Forbidden, match="no such bucket") as caught:
        another(url).get(key("a"))
    assert "aws s3 mb" in caught.value.next[0]


def test_a_watch_hears_every_commit(proxied: tuple[S3Proxy, str]) -> None:
    _, url = proxied
    store, other = another(url), another(url)
    store.commit([Change(key("before"), b"1")])
    assert store.traits.watch is not None
    with store.traits.watch(key("a")) as bell:
        assert bell(0) == ()
        other.commit([Change(key("a1"), b"1"), Change(key("b"), b"1")])
        other.commit([Change(key("a2"), b"1")])
        other.commit([Change(key("a1"), None)])
        assert bell(0) == (key("a1"), key("a2"))
        assert bell(0.1) == ()
        later = threading.Timer(0.3, lambda: other.commit([Change(key("a3"), b"1")]))
        later.start()
        began = time.monotonic()
        assert bell(120) == (key("a3"),)
        assert time.monotonic() - began < 60
        later.join()


def test_who_waits_in_short_pieces_asks_no_more_often(proxied: tuple[S3Proxy, str]) -> None:
    """By a clock that only sleeping moves: once in every second, which is what ``poll`` says."""
    proxy, url = proxied
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    world = system_world()._replace(now=lambda: now[0], sleep=sleep)
    store, other = another(url, world=world), another(url)
    other.commit([Change(key("a"), b"1")])
    asked: list[str] = []

    def rule(request: Request, forward: Forward) -> Answer | None:
        asked.append(request.name)
        return forward(request)

    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        proxy.rule = rule
        for _ in range(40):
            assert bell(0.25) == ()
        assert 9 <= len(asked) <= 11
        assert 9.9 < now[0] < 10.1
        other.commit([Change(key("a"), b"2")])
        assert [heard for _ in range(5) if (heard := bell(0.25))] == [(key("a"),)]
        assert (bell(0), bell(0)) == ((), ()), "who only looks is not kept waiting"


def test_a_watch_that_slept_says_that_it_missed_something() -> None:
    url = own_url(checkpoint="3")
    store = another(url)
    assert store.traits.watch is not None
    with store.traits.watch("") as bell:
        for number in range(12):
            settled(store).commit([Change(key("a"), str(number).encode())])
        settled(store)
        assert bell(0) is None
        assert bell(0) == ()
        store.commit([Change(key("b"), b"1")])
        assert bell(0) == (key("b"),)


def test_the_doctor_sees_what_is_wrong(proxied: tuple[S3Proxy, str]) -> None:
    proxy, url = proxied
    store = another(url)
    for number in range(3):
        store.commit([Change(key("a"), str(number).encode())])
    objects(store).delete(["log/000000000001"])
    jumps = [0]

    def odd(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        if request.method == "HEAD" and "/proof" in request.name:
            answer.headers["x-amz-expiration"] = 'expiry-date="Fri, 27 Nov 2026 00:00:00 GMT", rule-id="tidy"'
        if request.method == "HEAD" and "/clock" in request.name:
            jumps[0] += 1
            answer.headers["Last-Modified"] = f"Thu, 26 Nov 2026 0{jumps[0]}:00:00 GMT"
        return answer

    proxy.rule = odd
    assert store.traits.probe is not None
    bad = {proof.name: proof.message for proof in store.traits.probe() if not proof.good}
    assert not list(objects(store).list("probe")), "it leaves something behind"
    assert set(bad) == {"clock", "log", "bucket"}
    assert "log/000000000001 was deleted" in bad["log"]
    assert 'rule-id="tidy"' in bad["bucket"]
