"""Why: what AWS KMS unlocks is tried against a KMS on this machine, and our signatures against AWS's own code."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.errors import KeyWrong, Unreachable
from sloth_runner.secret import Secret
from sloth_runner.state import reseal
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.kms import Credentials, Kms, from_kms, signed
from sloth_runner.state.layout import KEYRING
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Change
from tests.cli.kit import Cli
from tests.services.base import free_port
from tests.state.kit import key_source, make_state

WHO = Credentials("AKIDEXAMPLE", Secret(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), None)
REGION = "eu-central-1"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A KMS of its own on loopback, with an empty store."""
    port = free_port()
    folder = tmp_path_factory.mktemp("kms")
    environ = {
        **os.environ, "GATEWAY_PORT": str(port), "SERVICES": "kms", "TMPDIR": str(folder), "HOME": str(folder),
        "BIND_HOST": "127.0.0.1",
    }  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ministack"], env=environ, cwd=folder, stdout=log, stderr=log
        )
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert server.poll() is None and time.monotonic() < end, (folder / "log").read_text()
                    try:
                        server.wait(0.05)
                    except subprocess.TimeoutExpired:
                        continue
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(60)


def client(endpoint: str) -> Kms:
    return Kms(REGION, endpoint, WHO, time.time)


@pytest.fixture
def kms(endpoint: str) -> Kms:
    return client(endpoint)


def new_key(kms: Kms) -> str:
    return str(kms.call("CreateKey", {})["KeyMetadata"]["KeyId"])


def test_a_state_is_sealed_and_opened_again(kms: Kms) -> None:
    source = from_kms(kms, new_key(kms))
    inner = MemoryStore()
    make_state(Sealed(inner, source)).set("a", "value")
    assert make_state(Sealed(inner, source)).get("a") == "value"
    reseal.rekey(Sealed(inner, source), os.urandom, lambda count: None)
    assert make_state(Sealed(inner, source)).get("a") == "value"
    assert reseal.status(inner).source == "aws-kms"


def test_another_kms_key_opens_nothing(kms: Kms) -> None:
    inner = MemoryStore()
    make_state(Sealed(inner, from_kms(kms, new_key(kms)))).set("a", "value")
    with pytest.raises(KeyWrong):
        Sealed(inner, from_kms(kms, new_key(kms))).ready()
    with pytest.raises(KeyWrong, match="AWS KMS refuses GenerateDataKey: NotFound"):
        make_state(Sealed(MemoryStore(), from_kms(kms, "alias/none"))).set("a", 1)


def test_a_keyring_of_another_state_is_refused_by_kms(kms: Kms) -> None:
    """Its encryption context names the store's id: with another id in the keyring KMS does not decrypt."""
    source = from_kms(kms, new_key(kms))
    inner = MemoryStore()
    make_state(Sealed(inner, source)).set("a", "value")
    entry = inner.get(KEYRING)
    assert entry is not None
    import json

    row = json.loads(entry.value)
    row["store"] = "00" * 16
    inner.commit([Change(KEYRING, json.dumps(row).encode())])
    with pytest.raises(KeyWrong, match="AWS KMS refuses Decrypt"):
        Sealed(inner, source).ready()


def test_from_a_key_to_kms_and_back(kms: Kms) -> None:
    inner = MemoryStore()
    make_state(Sealed(inner, key_source())).set("a", "value")
    source = from_kms(kms, new_key(kms))
    reseal.rewrap(Sealed(inner, key_source()), source, os.urandom)
    assert make_state(Sealed(inner, source)).get("a") == "value"
    with pytest.raises(KeyWrong, match="keyring is locked with a key of AWS KMS"):
        Sealed(inner, key_source()).ready()
    reseal.rewrap(Sealed(inner, source), key_source(3), os.urandom)
    assert make_state(Sealed(inner, key_source(3))).get("a") == "value"


def test_the_command_line_with_kms(tmp_path: Path, kms: Kms, endpoint: str) -> None:
    key, cli = new_key(kms), Cli(tmp_path)
    where = f'key = "{key}"\nregion = "{REGION}"\nendpoint = "{endpoint}"\n'
    cli.file("sloth.toml", f'[state.encryption]\nsource = "aws-kms"\n{where}')
    cli.now = time.time()
    cli.environ |= {"AWS_ACCESS_KEY_ID": WHO.access_key, "AWS_SECRET_ACCESS_KEY": "geheim geheim"}
    cli.ok("state", "set", "a", "good morning")
    assert cli.ok("state", "get", "a") == "good morning\n"
    assert "geheim" not in cli.ok("config", "show")
    assert b"good morning" not in b"".join(p.read_bytes() for p in cli.home.rglob("*.db*"))


def test_a_kms_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable, match="does not answer"):
        client(f"http://127.0.0.1:{port}").call("Decrypt", {})


@pytest.mark.parametrize("token", [None, "session token"])
def test_signatures_are_those_of_botocore(token: str | None) -> None:
    from datetime import datetime

    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as Known

    who = WHO._replace(token=Secret(token.encode()) if token else None)
    body = b'{"KeyId": "alias/x"}'
    mine = signed(
        who, REGION, "kms.eu-central-1.amazonaws.com", "TrentService.Decrypt", body, 1_790_000_000.0
    )
    moment = datetime.fromtimestamp(1_790_000_000, UTC)
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.Decrypt"}
    request: Any = AWSRequest("POST", "https://kms.eu-central-1.amazonaws.com/", headers, body)
    signer: Any = SigV4Auth(Known(WHO.access_key, WHO.secret_key.text(), token), "kms", REGION)
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert mine["authorization"].endswith(f"Signature={signer.signature(text, request)}")
