"""Why: a machine that asks a server must come to a true answer or a clear error, and never leave half a file."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.agent.fetching import Fetching
from sloth_runner.agent.perform import perform
from sloth_runner.ops import Fetch, Fetched, OpError, Reach, Reached
from tests.loopback import Reply, Request, Server


def fetch(url: str, **more: object) -> Fetched:
    result = perform(Fetch("the request", url, **more))  # type: ignore[arg-type] # by field name
    assert isinstance(result, Fetched)
    return result


def refused(url: str, **more: object) -> OpError:
    with pytest.raises(OpError) as caught:
        fetch(url, **more)
    return caught.value


@pytest.fixture
def authority(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    """The file of a certificate authority, and a server's context with a certificate of localhost."""
    ca = trustme.CA()
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    return str(path), context


BIG = bytes(range(256)) * 1024


@pytest.fixture
def server() -> Iterator[Server]:
    def answer(request: Request) -> Reply:
        if request.path == "/echo":
            return Reply(200, request.body, {"X-Method": request.method})
        if request.path == "/big":
            return Reply(200, BIG)
        if request.path == "/short":
            return Reply(200, b"abc", length=10)
        if request.path == "/hang":
            return Reply(hang=True)
        if request.path.startswith("/to/"):
            return Reply(302, b"", {"Location": request.path[len("/to/") :]})
        if request.path == "/around":
            return Reply(301, b"", {"Location": "/around"})
        return Reply(404, b"nothing here")

    with Server(answer) as one:
        yield one


@pytest.fixture(scope="module")
def blank() -> Iterator[Server]:
    """A server whose answer a test sets."""
    with Server(lambda request: Reply()) as one:
        yield one


@given(body=st.binary(max_size=5000), limit=st.integers(0, 5000))
def test_a_body_is_kept_up_to_the_limit(blank: Server, body: bytes, limit: int) -> None:
    blank.answer = lambda request: Reply(200, body)
    kept = fetch(blank.url, limit=limit)
    whole = fetch(blank.url, limit=limit, whole=True)
    digest = hashlib.sha256(body).hexdigest()
    assert kept.body == whole.body == (body if len(body) <= limit else None)
    assert whole.sha256 == digest and whole.size == len(body)
    assert kept.sha256 == (digest if len(body) <= limit else None)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_request_arrives_as_it_was_given(server: Server, method: str) -> None:
    answer = fetch(server.url + "/echo", method=method, body=b"\0\xff", headers=(("X-One", "1"),))
    assert (answer.status, answer.body, answer.header("x-method")) == (200, b"\0\xff", method)
    assert server.heard[-1].headers["x-one"] == "1"


def test_an_answer_that_is_no_success_is_an_answer(server: Server, tmp_path: Path) -> None:
    answer = fetch(server.url + "/none", into=str(tmp_path / "x"), mutating=True)
    assert (answer.status, answer.body) == (404, b"nothing here")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_put_whole_with_its_attributes(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    digest = hashlib.sha512(BIG).hexdigest()
    answer = fetch(
        server.url + "/big", into=str(target), mode=0o640, checksum=("sha512", digest), mutating=True
    )
    assert (answer.sha256, answer.size) == (hashlib.sha256(BIG).hexdigest(), len(BIG))
    assert (target.read_bytes(), target.stat().st_mode & 0o7777) == (BIG, 0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("path", "more", "kind", "words"),
    [
        ("/big", {"checksum": ("sha256", "0" * 64)}, "checksum", "the sha256 of what came is"),
        ("/short", {}, "protocol", "7 bytes too early"),
        ("/around", {}, "protocol", "more than 10 times"),
        ("/to/file:///etc/passwd", {}, "protocol", "redirected to a file URL"),
        ("/to/http://user:pw@localhost/", {}, "protocol", "redirected to a http URL"),
        ("/hang", {"timeout": 0.2}, "timeout", "longer than its timeout of 0.2 seconds"),
    ],
)
def test_what_goes_wrong_leaves_the_old_file(
    server: Server, tmp_path: Path, path: str, more: dict[str, object], kind: str, words: str
) -> None:
    target = tmp_path / "x"
    target.write_text("old")
    error = refused(server.url + path, into=str(target), mutating=True, **more)
    assert (error.kind, error.path) == (kind, "the request")
    assert words in error.reason
    assert not error.partial
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("x", "old")]


def test_a_request_whose_effect_is_unknown_says_so(server: Server) -> None:
    assert refused(server.url + "/short", method="POST", body=b"x", mutating=True).partial


def test_nobody_there() -> None:
    with Server(lambda request: Reply()) as server:
        port = server.port
    assert refused(f"http://127.0.0.1:{port}/").kind == "unreachable"
    assert perform(Reach("127.0.0.1", port)) == Reached(False, "Connection refused")


def test_somebody_there(server: Server) -> None:
    assert perform(Reach("127.0.0.1", server.port)) == Reached(True)


def test_secrets_stay_with_the_host_they_were_for(server: Server) -> None:
    secret = (("Authorization", "Basic x"), ("Cookie", "c"), ("X-Token", "t"), ("Accept", "text/plain"))
    with Server(lambda request: Reply(200, b"there")) as other:
        answer = fetch(f"{server.url}/to/{other.url}/", headers=secret)
        assert answer.body == b"there"
        assert set(other.heard[0].headers) >= {"accept", "host"}
        assert not {"authorization", "cookie", "x-token"} & set(other.heard[0].headers)
    fetch(f"{server.url}/to//echo", headers=secret)
    assert server.heard[-1].headers["authorization"] == "Basic x"


def test_redirections_are_followed_only_if_asked(server: Server) -> None:
    assert fetch(f"{server.url}/to//echo", redirects=False).status == 302


def test_certificates_are_verified(authority: tuple[str, ssl.SSLContext]) -> None:
    ca, context = authority
    with Server(lambda request: Reply(200, b"safe"), context) as server:
        assert fetch(server.url, ca=ca).body == b"safe"
        unknown = refused(server.url)
        wrong = refused(server.url.replace("localhost", "127.0.0.1"), ca=ca)
        assert fetch(server.url + "/", ca=ca).status == 200
    assert (unknown.kind, wrong.kind) == ("certificate", "certificate")
    assert "not trusted" in unknown.reason
    assert "127.0.0.1" in wrong.reason


def test_https_does_not_lead_to_http(authority: tuple[str, ssl.SSLContext], server: Server) -> None:
    ca, context = authority
    with Server(lambda request: Reply(302, b"", {"Location": server.url}), context) as secure:
        assert "from https to http" in refused(secure.url, ca=ca).reason


def test_a_missing_authority_is_named(tmp_path: Path, server: Server) -> None:
    error = refused(server.url.replace("http:", "https:"), ca=str(tmp_path / "none.pem"))
    assert (error.kind, error.path) == ("missing", str(tmp_path / "none.pem"))


def test_no_tls_there(server: Server) -> None:
    error = refused(server.url.replace("http:", "https:"))
    assert (error.kind, error.reason[:17]) == ("protocol", "no TLS connection")


def test_a_proxy_is_used_unless_the_host_is_excepted() -> None:
    with Server(lambda request: Reply(200, request.path.encode())) as proxy:
        env = {"http_proxy": proxy.url}
        assert fetch("http://no-such-host.invalid/x", env=env).body == b"http://no-such-host.invalid/x"
        assert (
            refused("http://no-such-host.invalid/x", env={**env, "no_proxy": "invalid"}).kind == "unreachable"
        )


@pytest.mark.parametrize("path", ["/hang", "/big"])
def test_it_can_be_broken_off(server: Server, tmp_path: Path, path: str) -> None:
    fetching = Fetching(Fetch("the request", server.url + path, into=str(tmp_path / "x"), mutating=True))
    caught: list[OpError] = []

    def run() -> None:
        try:
            fetching.perform()
        except OpError as error:
            caught.append(error)

    if path == "/big":
        fetching.stop()
    thread = threading.Thread(target=run)
    thread.start()
    while path == "/hang" and not server.heard:
        pass
    fetching.stop()
    thread.join()
    assert [error.kind for error in caught] == ["stopped"]
    assert list(tmp_path.iterdir()) == []


def test_it_runs_without_the_rest_of_the_project() -> None:
    code = (
        "import sys; from sloth_runner.agent import fetching, reaching;"
        "print(sorted(n for n in sys.modules if n.startswith('sloth_runner')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "errors" not in done.stdout and "model" not in done.stdout
