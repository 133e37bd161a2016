"""Why: making a machine an agent is done with care and by hand; each wrong step says what the right one is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sloth_runner import __version__
from sloth_runner.execution.reaching import version_in
from sloth_runner.moments import iso
from sloth_runner.trust.authority import Authority
from sloth_runner.trust.folder import Folder
from tests.cli.kit import Cli
from tests.daemon.kit import new_id, serving


def test_what_is_wrong_changes_nothing(cli: Cli) -> None:
    assert "agent ca init" in cli("agent", "ca", "show").err
    cli.ok("agent", "ca", "init")
    cli.ok("agent", "keygen", "web1", "--folder", "one")
    cli.ok("agent", "sign", "one/agent.csr")
    before = (cli.home / "agents" / "agents.json").read_bytes()
    for argv, code, words in (
        (("agent", "ca", "init"), 64, "there is an authority already"),
        (("agent", "keygen", "../web1"), 64, "agent"),
        (("agent", "keygen", "local"), 64, "local"),
        (("agent", "sign", "one/agent.csr"), 64, "enrolled already"),
        (("agent", "sign", "nothing.csr"), 4, "can't be read"),
        (("agent", "sign", "one/agent.key"), 7, "no signing request"),
        (("agent", "revoke", "web2", "--yes"), 4, "no agent called 'web2'"),
        (("agent", "revoke", "web1"), 8, "confirmed"),
        (("agent", "serve", "--listen", "7443"), 64, "--listen"),
        (("agent", "serve", "--folder", "nowhere"), 4, "agent keygen"),
        (("agent", "enroll", "web1", "web1"), 64, "ssh://user@host"),
    ):
        result = cli(*argv)
        assert (result.code, words in result.err) == (code, True), result.shown()
    assert (cli.home / "agents" / "agents.json").read_bytes() == before


def test_a_failed_enrolment_frees_the_name(cli: Cli) -> None:
    cli.ok("agent", "ca", "init")
    there = str(cli.work / "there")
    argv = ("agent", "enroll", "local://", "web1", "--folder", there, "--python")
    result = cli(*argv, "/nowhere/python", "--no-service")
    assert (result.code, "not enrolled" in result.err) == (5, True), result.shown()
    (cli.work / "there").mkdir()
    (cli.work / "there" / "agent.pem").mkdir()  # what is to be written can't be
    result = cli(*argv, sys.executable, "--no-service")
    assert result.code != 0
    (cli.work / "there" / "agent.pem").rmdir()
    assert 'web1 = "grpc://127.0.0.1"' in cli.ok(*argv, sys.executable, "--no-service")


def test_a_machine_without_systemd_is_told_before_anything_is_done(cli: Cli) -> None:
    cli.ok("agent", "ca", "init")
    (cli.work / "bin").mkdir()
    argv = (
        "agent",
        "enroll",
        "local://",
        "web1",
        "--folder",
        str(cli.work / "there"),
        "--python",
        sys.executable,
    )
    result = cli(*argv, environ={"PATH": str(cli.work / "bin")})
    assert result.code == 5 and "no systemd" in result.err and "--no-service" in result.err, result.shown()
    assert not (cli.work / "there").exists()
    assert "web1" not in (cli.home / "agents" / "agents.json").read_text()


def test_the_list_shows_versions_and_certificates(cli: Cli, tmp_path: Path) -> None:
    cli.now = time.time()  # as the agent's clock
    cli.ok("agent", "ca", "init")
    cli.ok("agent", "keygen", "web1", "--folder", str(tmp_path / "agent"))
    cli.ok("agent", "sign", str(tmp_path / "agent" / "agent.csr"))
    authority = Authority(Folder(cli.home / "agents"), time.time, new_id)
    with serving(tmp_path, authority) as place:
        cli.ok("agent", "add", "web1", place.url)
        listed = json.loads(cli.ok("agent", "list", "--check", "-o", "json"))
        rows = {row["name"]: row for row in listed["agents"]}
        assert [rows[name]["version"] for name in ("local", "web1")] == [__version__] * 2
        until = authority.find("web1").until
        assert rows["web1"]["certificate"] == {"until": iso(until), "revoked": None, "good": True}
        assert rows["local"]["certificate"] is None
        text = cli.ok("agent", "list", "--check")
        assert f"until {iso(until)[:10]}" in text
        assert f"version {__version__}" in text
        cli.ok("agent", "revoke", "web1", "--yes")
    assert "revoked" in cli.ok("agent", "list")
    (row,) = [r for r in json.loads(cli.ok("agent", "list", "-o", "json"))["agents"] if r["name"] == "web1"]
    assert (row["certificate"]["good"], row["version"]) == (False, None)


def test_of_a_revoked_controller_every_agent_hears_that_is_reached(cli: Cli, tmp_path: Path) -> None:
    cli.now = time.time()
    cli.ok("agent", "ca", "init")
    for name in ("web1", "web2", "web3", "web4"):
        cli.ok("agent", "keygen", name, "--folder", str(tmp_path / name / "agent"))
        cli.ok("agent", "sign", str(tmp_path / name / "agent" / "agent.csr"))
    authority = Authority(Folder(cli.home / "agents"), time.time, new_id)
    authority.credentials("old")
    with serving(tmp_path / "web1", authority) as place:
        listed = {"web1": place.url, "web2": "grpc://127.0.0.1:1", "web3": "ssh://127.0.0.1:1"}
        cli.file("list.json", json.dumps({"agents": listed}))
        cli.file("sloth.toml", '[inventory]\ncommand = "cat list.json"\n')
        cli.ok("config", "trust", "--inventory", "--yes")
        said = cli.ok("agent", "revoke", "old", "--controller", "--yes", "-o", "json")
    assert json.loads(said)["unreached"] == ["web2", "web3", "web4"]


@pytest.mark.parametrize("python", ["/opt/a b/python", "/usr/bin/python3"])
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path, python: str) -> None:
    from sloth_runner.daemon.unit import unit

    text = unit(python, "/var/lib/sloth-runner/agent", "[::]:7443")
    assert "Type=notify" in text
    word = f'"{python}"' if " " in python else python
    assert f"ExecStart={word} -m sloth_runner agent serve" in text
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd here")
    file = tmp_path / "sloth-runner-agent.service"
    file.write_text(text.replace(word, sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if "sloth-runner-agent" in line]) == (
        0,
        [],
    )


@pytest.mark.parametrize(
    ("status", "version"),
    [
        (b'{"version": "0.1.0"}', "0.1.0"),
        (b"no json", None),
        (b"\xff", None),
        (b"[]", None),
        (b"[" * 100_000, None),
        (b"{}", None),
        (b'{"version": 1}', None),
        (b'{"version": "\\u001b[2Jgone"}', None),
        (b'{"version": "' + b"x" * 41 + b'"}', None),
    ],
)
def test_what_an_agent_says_of_its_version_is_not_believed_blindly(
    status: bytes, version: str | None
) -> None:
    assert version_in(status) == version
