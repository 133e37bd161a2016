"""What the Consul store makes of bad news: replies of all kinds, silence, and connections that break."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sloth_runner.errors import BadConfig, Conflict, Indeterminate, SlothError, StoreDown, TooLarge
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.consul_wire import Connection
from sloth_runner.state.store import ABSENT, Change, Check, Store
from tests.loopback import Reply, Request, Server
from tests.state.test_consul import key

SECRET = "3f1c9c7e-token"
GOOD = {"X-Consul-Index": "7", "X-Consul-Knownleader": "true", "X-Consul-Lastcontact": "0"}


class Scripted:
    """A server that answers each request with the bytes it is told, or in pieces, and then closes the connection."""

    def __init__(self, *answers: bytes | Sequence[bytes], pause: float = 0.001) -> None:
        self._pause = pause
        self._answers = list(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.asked = 0
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            one, _ = self._socket.accept()
            with one:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += one.recv(1 << 16)
                self.asked += 1
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    try:
                        one.sendall(piece)
                    except OSError:
                        break
                    if not isinstance(answer, bytes) and self.stop.wait(self._pause):
                        break

    def close(self) -> None:
        self.stop.set()
        self._socket.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def start(*answers: bytes | Sequence[bytes], pause: float = 0.001) -> Scripted:
        made.append(Scripted(*answers, pause=pause))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def opened() -> Iterator[Callable[..., Store]]:
    made: list[Store] = []

    def opened(port: int, timeout: float = 10.0, password: str | None = SECRET) -> Store:
        options = Options(Path("/"), 1.0, timeout=timeout, password=password)
        made.append(open_store(f"consul://127.0.0.1:{port}/p", options))
        return made[-1]

    yield opened
    for store in made:
        store.close()


def exchange(port: int, seconds: float = 5.0) -> tuple[int, dict[str, str], bytes, bool]:
    connection = Connection("127.0.0.1", port, None, time.monotonic() + seconds)
    try:
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        status, headers = connection.head()
        body = b"".join(connection.body(status, headers))
        return status, dict(headers), body, connection.reusable
    finally:
        connection.close()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "body", "reusable"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", b"abc", True),
        (OK + b"content-length:0\r\n\r\n", b"", True),
        (OK + b"Content-Length: 3\r\nConnection: close\r\n\r\nabc", b"abc", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", False),
        (OK + b"\r\nabc until the end", b"abc until the end", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", b"x", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (CHUNKED + b"3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789", True),
        (CHUNKED + b"1\r\na\r\n0\r\nTrailer: yes\r\n\r\n", b"a", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("drops", [False, True])
def test_what_is_understood(
    scripted: Callable[..., Scripted], sent: bytes, body: bytes, reusable: bool, drops: bool
) -> None:
    server = scripted([sent[n : n + 1] for n in range(len(sent))] if drops else sent)
    found = exchange(server.port)
    assert found[0] in (200, 204)
    assert found[2:] == (body, reusable)


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", OK + b"no colon\r\n\r\n",
        OK + b"Content-Length: 3\r\n\r\nab", OK + b"Content-Length: -1\r\n\r\n", OK + b"Content-Length: 1e3\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\nx", CHUNKED, CHUNKED + b"xyz\r\n", CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabc\r\n", OK + b"X: " + bytes(200_000),
    ],
)  # fmt: skip
def test_what_is_not(scripted: Callable[..., Scripted], sent: bytes) -> None:
    with pytest.raises(OSError, match=r"."):
        exchange(scripted(sent).port)


def test_a_reply_that_trickles_has_to_be_whole_in_time(scripted: Callable[..., Scripted]) -> None:
    server = scripted([OK, *([b"X: y\r\n"] * 1000)], pause=0.02)
    with pytest.raises(TimeoutError):
        exchange(server.port, 0.5)


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[Request], Reply]:
    found = {name.replace("_", "-"): text for name, text in headers.items()}
    return lambda request: Reply(status, body, found)


NOT_CONSUL = [
    answering(200, b"<html>It works!</html>"), answering(404, b"not found"), answering(301, Location="https://x/"),
    answering(204), answering(200, b'{"errcode": 1'), answering(200, b'{"errcode": 1}'),
    answering(200, b"[1]", X_Consul_Index="1"),
    answering(200, b'[{"Key": 1}]', X_Consul_Index="1"),
]  # fmt: skip


@pytest.mark.parametrize("answer", NOT_CONSUL)
def test_what_answers_is_not_consul(opened: Callable[..., Store], answer: Callable[[Request], Reply]) -> None:
    with Server(answer) as server:
        for ask in (
            lambda: opened(server.port).get(key("a")),
            lambda: list(opened(server.port).scan(key(""))),
            lambda: list(opened(server.port).scan(key(""), limit=1)),
            lambda: opened(server.port).commit([Change(key("a"), b"", ABSENT, 10)]),
        ):
            with pytest.raises(StoreDown, match=f"Consul at 127.0.0.1:{server.port}"):
                ask()


@pytest.mark.parametrize(
    ("status", "body", "applied"),
    [
        (500, b"No cluster leader", False), (500, b"rpc error making call: No cluster leader", False),
        (500, b"rpc error making call: node is not the leader", False), (429, b"rate limit reached", False),
        (500, b"rpc error making call: rpc error making call: timed out enqueuing operation", False),
        (400, b"Failed to parse body", False), (405, b"", False), (403, b"Permission denied", False),
        (500, b"rpc error making call: ACL not found", False), (500, b"rpc error making call: EOF", True),
        (500, b"leadership lost while committing log", True), (503, b"upstream gone", True), (502, b"", True),
        (504, b"", True),
    ],
)  # fmt: skip
def test_errors_of_a_commit(opened: Callable[..., Store], status: int, body: bytes, applied: bool) -> None:
    with Server(answering(status, body)) as server:
        store = opened(server.port)
        with pytest.raises(Indeterminate if applied else StoreDown) as caught:
            store.commit([Change(key("a"), b"1")])
        assert [request.method for request in server.heard].count("PUT") == 1  # it is not sent again
        with pytest.raises(StoreDown) as read:
            store.get(key("a"))
        for error in (caught.value, read.value):
            assert body.decode() in error.message
            assert str(server.port) in error.message
            assert SECRET not in json.dumps(error.document())


@pytest.mark.parametrize("body", [b"<html>It works!</html>", b"[1]", b'{"Results": 1}'])
def test_a_commit_that_is_said_to_be_well_is_not_said_to_be_undone(
    opened: Callable[..., Store], body: bytes
) -> None:
    """Something in between spoils the answer: the commit may have been made."""
    with (
        Server(answering(200, body)) as server,
        pytest.raises(Indeterminate, match="not understood"),
    ):
        opened(server.port).commit([Change(key("a"), b"1")])


def test_a_refusal_names_the_rules_that_are_missing(opened: Callable[..., Store]) -> None:
    denied = json.dumps({"Errors": [{"OpIndex": 0, "What": "Permission denied"}]}).encode()
    for answer in (answering(403, b"Permission denied"), answering(409, denied)):
        with Server(answer) as server:
            with pytest.raises(StoreDown) as caught:
                opened(server.port).commit([Change(key("a"), b"1")])
            words = " ".join(caught.value.next)
            assert 'key_prefix "p/" { policy = "write" }' in words
            assert 'session_prefix "" { policy = "write" }' in words
            assert "the token may not do this" in words
            with pytest.raises(StoreDown) as caught:
                opened(server.port, password=None).commit([Change(key("a"), b"1")])
            assert "CONSUL_HTTP_TOKEN" in " ".join(caught.value.next)


def test_other_limits_than_the_usual(opened: Callable[..., Store]) -> None:
    text = b"Request body(120 bytes) too large, max size: 100 bytes. See txn_max_req_len."
    with Server(answering(413, text)) as server, pytest.raises(TooLarge, match="max size: 100"):
        opened(server.port).commit([Change(key("a"), b"1")])


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([{"OpIndex": 0, "What": "failed to set key \"x\", index is stale"}], Conflict),
        ([{"OpIndex": 0, "What": "the moon is full"}], StoreDown),
        ([{"OpIndex": 0, "What": "failed to set key"}, {"OpIndex": 0, "What": "unknown KV verb"}], StoreDown),
    ],
)  # fmt: skip
def test_what_a_transaction_failed_for(
    opened: Callable[..., Store], errors: object, kind: type[SlothError]
) -> None:
    with Server(answering(409, json.dumps({"Errors": errors}).encode())) as server, pytest.raises(kind):
        opened(server.port).commit([Change(key("a"), b"1", ABSENT)])


def test_a_commit_whose_reply_says_nothing(opened: Callable[..., Store]) -> None:
    for body in (b'{"Results": []}', b'{"Results": null}', b"{}", b'{"Results": [{}]}'):
        with Server(answering(200, body)) as server, pytest.raises(Indeterminate, match="not understood"):
            opened(server.port).commit([Change(key("a"), b"1", ABSENT)])


def test_nobody_listens(opened: Callable[..., Store]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    store = opened(port)
    for ask in (lambda: store.get(key("a")), lambda: store.commit([Check(key("a"), ABSENT)])):
        with pytest.raises(StoreDown, match=f"127.0.0.1:{port} can't be used: Connection refused"):
            ask()


def test_silence_lasts_as_long_as_was_said(opened: Callable[..., Store]) -> None:
    """Only of a commit to who answered before it is unknown what became of it."""
    leads = answering(200, b'"127.0.0.1:8300"')
    with Server(lambda request: Reply(hang=True)) as server:
        store = opened(server.port, timeout=0.3)
        began = time.monotonic()
        with pytest.raises(StoreDown, match=r"did not answer within 0.3 s"):
            store.get(key("a"))
        with pytest.raises(StoreDown, match=r"did not answer within 0.3 s"):
            store.commit([Change(key("a"), b"1")])
        server.answer = lambda request: leads(request) if "status" in request.path else Reply(hang=True)
        with pytest.raises(Indeterminate, match=r"did not answer within 0.3 s"):
            store.commit([Change(key("a"), b"1")])
        assert time.monotonic() - began >= 0.9
        assert [request.method for request in server.heard] == ["GET", "GET", "GET", "PUT"]


EMPTY = b"HTTP/1.1 404 Not Found\r\nX-Consul-Index: 7\r\nContent-Length: 0\r\n\r\n"


def test_an_old_connection_that_broke_is_replaced(
    scripted: Callable[..., Scripted], opened: Callable[..., Store]
) -> None:
    server = scripted(EMPTY, EMPTY, b"", EMPTY)
    store = opened(server.port)
    assert store.get(key("a")) is None
    assert store.get(key("a")) is None  # the first one was closed meanwhile
    with pytest.raises(StoreDown, match="closed the connection"):  # a new one that breaks is told
        store.get(key("a"))
    assert store.get(key("a")) is None
    assert server.asked == 4


def test_files_that_tls_needs(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for query, words in ((f"ca={tmp_path}/no.pem", "No such file"), (f"ca={tmp_path}/ca.pem", "authority")):
        with pytest.raises(BadConfig, match=words):
            open_store(f"consul://127.0.0.1:1/p?{query}", Options(Path("/"), 1.0))
