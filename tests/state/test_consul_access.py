"""Access rules, backups, and what keys look like, by the very commands that docs/stores/consul.md gives."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.errors import Forbidden
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.store import ABSENT, PRESENT, Change, Check, Store
from tests.cli.kit import Cli
from tests.services import shared_url
from tests.services.base import Server
from tests.services.consul import ask, binary, make, port_of
from tests.state.kit import make_state
from tests.state.test_consul import key

GUIDE = Path(__file__).parents[2] / "docs" / "stores" / "consul.md"
ROOT_TOKEN = "5b1f0c3a-root"


def block(section: str, kind: str = "sh", number: int = 0) -> str:
    """A block of the guide."""
    text = GUIDE.read_text(encoding="utf-8")
    body = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return body.split(f"```{kind}\n")[number + 1].partition("\n```")[0]


def sh(script: str, folder: Path, server: Server, token: str = ROOT_TOKEN) -> str:
    """What an operator's shell does with it."""
    path = f"{Path(binary()).resolve().parent}:{os.environ['PATH']}"
    environ = {"PATH": path, "CONSUL_HTTP_ADDR": f"127.0.0.1:{port_of(server)}", "CONSUL_HTTP_TOKEN": token}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that denies what no policy allows."""
    shared_url("consul")  # where that is missing, so is the program
    tokens = {"master": ROOT_TOKEN, "agent": ROOT_TOKEN}
    acl = {"enabled": True, "default_policy": "deny", "tokens": tokens}
    server = make(tmp_path_factory.mktemp("guarded"), {"acl": acl}, token=ROOT_TOKEN)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def given(guarded: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The token that the guide makes."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.hcl").write_text(block("A token with few rights", "hcl"))
    said = sh(block("A token with few rights"), folder, guarded)
    found = re.search(r"SecretID: +(\S+)", said)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def auditor(guarded: Server) -> str:
    """The token of who reads."""
    return new_token(guarded, block("A token with few rights", "hcl", 1))


def new_token(server: Server, rules: str) -> str:
    """A token that may do what the rules say."""
    name = uuid.uuid4().hex
    ask(server, "PUT", "acl/policy", {"Name": name, "Rules": rules}, token=ROOT_TOKEN)
    made = ask(server, "PUT", "acl/token", {"Policies": [{"Name": name}]}, token=ROOT_TOKEN)
    return str(made["SecretID"])


def url_of(server: Server) -> str:
    return f"consul://127.0.0.1:{port_of(server)}/sloth-runner"


def with_token(server: Server, token: str | None, environ: dict[str, str] | None = None) -> Any:
    return open_store(url_of(server), Options(Path("/"), 1.0, password=token, environ=environ or {}))


def test_the_rules_of_the_guide_are_enough(guarded: Server, given: str) -> None:
    for given_token, environ in ((given, {}), (None, {"CONSUL_HTTP_TOKEN": given})):
        store = with_token(guarded, given_token, environ)
        assert [proof for proof in store.traits.probe() if not proof.good] == []
        (rev,) = store.commit([Change(key("a"), b"1")])
        store.commit([Change(key("l"), b"", ABSENT, 10), Check(key("a"), rev)])
        store.commit([Change(key("l"), None, PRESENT), Change(key("a"), None, rev)])
        with store.traits.watch("") as bell:
            store.commit([Change(key("b"), b"1")])
            assert bell(5) == (key("b"),)
        store.commit([Change(key("b"), None)])
        assert list(store.scan(key("b"))) == list(store.scan(key("b"), limit=5)) == []
        store.close()


def test_a_token_in_a_file(guarded: Server, given: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(given + "\n")
    store = with_token(guarded, None, {"CONSUL_HTTP_TOKEN_FILE": str(tmp_path / "token")})
    assert store.get(key("none")) is None
    store.close()


@pytest.mark.parametrize("token", [None, "no-such-token"])
def test_no_token_that_counts(guarded: Server, token: str | None) -> None:
    store = with_token(guarded, token)
    for work in (
        lambda: store.get(key("a")),
        lambda: list(store.scan()),
        lambda: list(store.scan(limit=1)),
        lambda: store.namespaces(),
        lambda: store.traits.watch("").__enter__(),
        lambda: store.commit([Change(key("a"), b"1")]),
        lambda: store.commit([Change(key("a"), b"1", ABSENT, 10)]),
        lambda: store.commit([Check(key("a"), ABSENT)]),
        lambda: store.traits.probe(),
    ):
        with pytest.raises(Forbidden) as caught:
            work()
        assert 'key_prefix "sloth-runner/"' in " ".join(caught.value.next)
        assert token is None or token not in str(caught.value.document())
    store.close()


def test_a_token_of_another_prefix(guarded: Server) -> None:
    store = with_token(guarded, new_token(guarded, 'key_prefix "other/" { policy = "write" }'))
    with pytest.raises(Forbidden, match="refuses"):
        store.commit([Change(key("a"), b"1")])
    store.close()


def test_without_the_rule_for_sessions_leases_are_refused(guarded: Server) -> None:
    store = with_token(guarded, new_token(guarded, 'key_prefix "sloth-runner/" { policy = "write" }'))
    store.commit([Change(key("s"), b"1")])
    with pytest.raises(Forbidden) as caught:
        store.commit([Change(key("l"), b"1", ABSENT, 10)])
    assert "session_prefix" in " ".join(caught.value.next)
    store.commit([Change(key("s"), None)])
    store.close()


def test_an_auditor_reads(guarded: Server, given: str, auditor: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.environ |= {"SLOTH_RUNNER_STATE__STORE": url_of(guarded), "CONSUL_HTTP_TOKEN": given}
    cli.ok("state", "set", "app/version", "v1")
    cli.ok("state", "set", "app/version", "v2")
    cli.environ["CONSUL_HTTP_TOKEN"] = auditor
    assert cli.ok("state", "get", "app/version") == "v2\n"
    assert "v2" in cli.ok("state", "list")
    assert "v1" in cli.ok("state", "history", "app/version")
    cli.ok("state", "verify")
    assert cli.ok("lock", "list") == ""
    result = cli("state", "set", "app/version", "v3")
    assert result.code == 6
    assert "refuses" in result.err
    cli.environ["CONSUL_HTTP_TOKEN"] = given
    cli("state", "clear", "--yes")


def test_backups_of_the_guide(guarded: Server, given: str, tmp_path: Path) -> None:
    """No revision is given twice, though what was written after the snapshot is gone."""
    store: Store = with_token(guarded, given)
    state = make_state(store)
    state.set("kept", "old")
    said = sh(block("Backup"), tmp_path, guarded)
    assert "Index" in said
    state.set("kept", "new")
    lost = store.get(key("kept"))
    sh(block("Backup", number=1), tmp_path, guarded)
    assert state.get("kept") == "old"
    state.set("kept", "newer")
    entry = store.get(key("kept"))
    assert entry is not None
    assert lost is not None
    assert entry.rev > lost.rev
    store.close()


def test_what_it_looks_like(guarded: Server, given: str, tmp_path: Path) -> None:
    store = with_token(guarded, given)
    state = make_state(store)
    state.set("app/version", "v1")
    state.set('a "b"!', "v1")
    said = sh(block("What it looks like"), tmp_path, guarded, given)
    assert "sloth-runner/local!k!app/version:{" in said
    assert 'sloth-runner/local!k!a"0"2b"2"1:{' in said
    store.close()
