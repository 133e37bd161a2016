"""Why: the server speaks TLS where it was given a certificate, listens only where that is safe,
serves a sealed state, and gives everything back when it ends."""

from __future__ import annotations

import http.client
import os
import pty
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program.kit import PROGRAM, Home
from tests.web.kit import Ui


def certificate(folder: Path) -> tuple[list[str], ssl.SSLContext]:
    """The options for a certificate of localhost, and what trusts it."""
    import trustme

    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1", "ui.example.org")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return ["--tls-cert", str(chain), "--tls-key", str(key)], context


def encrypted(path: Path) -> Path:
    """A copy of a key that wants a passphrase."""
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(path.read_bytes(), None)
    seal = form.BestAvailableEncryption(b"passphrase")
    other = path.with_name("secret.pem")
    other.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, seal))
    return other


def test_tls(tmp_path: Path) -> None:
    options, context = certificate(tmp_path)
    ui = Ui(Home(tmp_path / "home"), *options, tls=context)
    try:
        assert ui.origin.startswith("https://")
        ui.enter()
        assert "; Secure" in ui.set_cookie
        assert ui.get("/").status == 200
        assert (
            ui.write("PUT", "/api/v1/state/key", {"value": 1}, {"If-None-Match": "*"}, key="a").status < 300
        )
        plain = {"Origin": f"http://{ui.host}:{ui.port}", "If-None-Match": "*"}
        assert ui.write("PUT", "/api/v1/state/key", {"value": 1}, plain, key="b").status == 403
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            connection = http.client.HTTPConnection(ui.host, ui.port, timeout=10)
            connection.request("GET", "/healthz")
            connection.getresponse()
    finally:
        ui.close()


def test_names_of_a_server_on_all_addresses(tmp_path: Path) -> None:
    """Only the names that were given are answered, whatever address a request came to."""
    options, context = certificate(tmp_path)
    where = ["--host", "0.0.0.0", "--name", "localhost"]
    ui = Ui(Home(tmp_path / "home"), *where, *options, tls=context)
    try:
        assert ui.host == "localhost"
        ui.enter()
        for host in (f"127.0.0.1:{ui.port}", f"ui.example.org:{ui.port}", f"0.0.0.0:{ui.port}"):
            assert ui.get("/healthz", headers={"Host": host}).status == 421
    finally:
        ui.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "--tls-cert"),
        (["--host", "::"], "--plain-http"),
        (["--host", "0.0.0.0", "--plain-http"], "--name"),
        (["--host", "no.such.host.invalid", "--plain-http"], "can't listen"),
        (["--tls-cert", "CHAIN"], "go together"),
        (["--tls-cert", "nowhere", "--tls-key", "KEY"], "there is no file nowhere"),
        (["--tls-cert", "KEY", "--tls-key", "KEY"], "are no certificate and its key"),
        (["--tls-cert", "CHAIN", "--tls-key", "OTHER"], "is not that of the certificate"),
        (["--tls-cert", "CHAIN", "--tls-key", "SECRET"], "is encrypted"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, list) else None,
)
def test_what_is_not_safe_or_not_there_starts_nothing(tmp_path: Path, options: list[str], words: str) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        certificate(tmp_path / name)
    files = {
        "CHAIN": tmp_path / "one" / "chain.pem",
        "KEY": tmp_path / "one" / "key.pem",
        "OTHER": tmp_path / "other" / "key.pem",
        "SECRET": encrypted(tmp_path / "one" / "key.pem"),
    }
    argv = [str(files.get(word, word)) for word in options]
    said = Home(tmp_path / "home").run("ui", "--port", "0", *argv, code=64)
    assert words in said.err
    assert said.out == ""


def test_a_sealed_state(tmp_path: Path) -> None:
    home = Home(tmp_path, {"UI_KEY": "0123456789abcdef" * 4})
    home.run("state", "set", "motd", "hello there")
    home.file("sloth.toml", '[state.encryption]\nsource = "env"\nvariable = "UI_KEY"\n')
    home.run("state", "encrypt")
    ui = Ui(home).enter()
    try:
        assert "hello there" in ui.get("/state/key", key="motd").text
        assert ui.get("/state", q="hello").status == 200
    finally:
        ui.close()
    home.env["UI_KEY"] = "fedcba9876543210" * 4
    said = home.run("ui", "--port", "0", code=None)
    assert said.code != 0
    assert "E-KEY" in said.err, said
    assert said.out == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_gives_everything_back(tmp_path: Path, number: signal.Signals) -> None:
    """Also while a page listens for what changes."""
    home = Home(tmp_path)
    home.run("state", "set", "motd", "hello")
    ui = Ui(home).enter()
    listening = http.client.HTTPConnection(ui.host, ui.port, timeout=30)
    listening.request("GET", "/events", headers={"Cookie": ui.cookie})
    reply = listening.getresponse()
    assert reply.status == 200
    code, err = ui.end(number)
    assert (code, err) == (0, "")
    reply.read()
    listening.close()
    left = sorted(path.name for path in home.state_folder.iterdir() if path.is_file())
    assert not [name for name in left if name.endswith(("-wal", "-shm"))], left
    Ui(home, "--port", str(ui.port)).close()


LEADER = """
import fcntl, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen(sys.argv[1:], process_group=0)
print("child", child.pid, flush=True)
child.wait()
"""
"""Leads the session of a terminal, as a shell does, is its foreground, and starts a program in the background."""


def test_in_the_background_of_a_terminal_it_serves(tmp_path: Path) -> None:
    home = Home(tmp_path, {"UI_TOKEN": "t" * 40})
    terminal, end = pty.openpty()
    argv = [sys.executable, "-c", LEADER, *PROGRAM, "ui", "--port", "0", "--token-env", "UI_TOKEN"]
    leader = subprocess.Popen(
        argv, stdin=end, stdout=end, stderr=end, env=home.env, cwd=home.cwd, start_new_session=True
    )
    os.close(end)
    said = ""
    try:
        while (link := re.search(r"http://127\.0\.0\.1:(\d+)/\S+\s", said)) is None:
            said += os.read(terminal, 4096).decode()
        connection = http.client.HTTPConnection("127.0.0.1", int(link[1]), timeout=30)
        connection.request("GET", "/api/v1/state", headers={"Authorization": "Bearer " + "t" * 40})
        assert connection.getresponse().status == 200
        connection.close()
        assert "Enter" not in said
    finally:
        if child := re.search(r"child (\d+)", said):
            os.kill(int(child[1]), signal.SIGKILL)
        leader.wait(timeout=60)
        os.close(terminal)
