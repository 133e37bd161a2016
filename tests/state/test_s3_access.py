"""TLS, and credentials that a machine has of its own, on real servers: SeaweedFS, and one that gives out keys."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sloth_runner.errors import StoreDown
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.store import Change
from tests.services import shared_url
from tests.services.s3 import ACCESS, SECRET, make
from tests.state.s3_kit import key, own_url

KEYS = {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "Token": "", "Expiration": "2099-01-01T00:00:00Z"}


def works(url: str, environ: Mapping[str, str]) -> None:
    """It can be written to, and read."""
    store = open_store(url, Options(Path(), 10.0, environ=environ))
    store.commit([Change(key("a"), b"1")])
    entry = store.get(key("a"))
    assert entry is not None
    assert entry.value == b"1"
    store.close()


def test_tls(tmp_path: Path) -> None:
    shared_url("s3")
    server = make(tmp_path / "s3", tls=True)
    server.start()
    try:
        works(f"{server.https_url}&ca_file={tmp_path}/s3/ca.pem", {})
        works(server.https_url, {"AWS_CA_BUNDLE": f"{tmp_path}/s3/ca.pem"})
        store = open_store(f"{server.https_url}&ca_file={tmp_path}/s3/ca.pem", Options(tmp_path, 10.0))
        assert store.traits.probe is not None
        assert {proof.name: proof.message for proof in store.traits.probe()}["bucket"].startswith(
            "no lifecycle"
        )
        with pytest.raises(StoreDown, match="certificate is not trusted"):
            works(server.https_url, {})
    finally:
        server.kill()


@contextmanager
def giving_out() -> Iterator[tuple[str, list[str]]]:
    """A service as machines and containers have it; its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def answer(self) -> None:
            asked.append(f"{self.command} {self.path}")
            path = self.path.rstrip("/")
            body = {
                "/latest/api/token": "a-token",
                "/latest/meta-data/iam/security-credentials": "a-role",
                "/latest/meta-data/iam/security-credentials/a-role": json.dumps(KEYS),
                "/container": json.dumps(KEYS) if self.headers.get("Authorization") == "pass" else "no",
            }[path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = answer  # noqa: N815

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{service.server_address[1]}", asked
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


def without_file(url: str) -> str:
    """The URL without the file of credentials."""
    place, _, asked = url.partition("?")
    return f"{place}?{'&'.join(part for part in asked.split('&') if not part.startswith('credentials_file'))}"


def test_a_machines_own_credentials() -> None:
    with giving_out() as (address, asked):
        works(without_file(own_url()), {"AWS_EC2_METADATA_SERVICE_ENDPOINT": address})
    assert asked[0] == "PUT /latest/api/token"


def test_a_containers_credentials(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pass")
    with giving_out() as (address, _):
        environ = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{address}/container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        }
        works(without_file(own_url()), environ)


def test_keys_from_the_environment_and_from_the_configuration() -> None:
    url = without_file(own_url())
    works(url, {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET})
    store = open_store(url.replace("s3://", f"s3://{ACCESS}@"), Options(Path(), 10.0, password=SECRET))
    assert store.get(key("a")) is not None
    store.close()
    with pytest.raises(StoreDown, match="secret key is wrong") as caught:
        works(url, {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": "another secret"})
    assert "another secret" not in str(caught.value.document())
    assert "where they are looked for" in caught.value.next[0]


def test_nobody_has_credentials() -> None:
    nobody = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
    with pytest.raises(StoreDown, match="no credentials were found"):
        works(without_file(own_url()), nobody)
