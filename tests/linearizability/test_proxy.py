"""The proxy does to a connection what it is told, and nothing else."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.linearizability.proxy import Proxy


class Echo:
    """A server that sends back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.got = b""
        self.heard = threading.Condition()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one:
            try:
                while data := one.recv(1 << 16):
                    with self.heard:
                        self.got += data
                        self.heard.notify_all()
                    one.sendall(data)
            except OSError:
                pass

    def has(self, data: bytes) -> bool:
        with self.heard:
            return self.heard.wait_for(lambda: self.got == data, 60)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    proxy = Proxy(echo.port, random.Random(1))
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 60) as one:
        one.settimeout(60)
        yield one


def ask(client: socket.socket, data: bytes) -> bytes:
    """Send, and read as many bytes; fewer when the connection ends."""
    client.sendall(data)
    got = b""
    try:
        while len(got) < len(data):
            piece = client.recv(len(data) - len(got))
            if not piece:
                break
            got += piece
    except ConnectionError:
        pass
    return got


def test_everything_passes(client: socket.socket) -> None:
    data = random.Random(2).randbytes(1 << 20)
    threading.Thread(target=client.sendall, args=(data,)).start()
    got = b""
    while len(got) < len(data):
        got += client.recv(1 << 16)
    assert got == data


def test_it_cuts_after_some_bytes(echo: Echo, proxy: Proxy) -> None:
    lengths = set()
    proxy.arm("cut")
    for _ in range(30):
        with socket.create_connection(("127.0.0.1", proxy.port), 60) as client:
            client.settimeout(60)
            try:
                lengths.add(len(ask(client, bytes(3000))))
            except ConnectionError:
                continue
    assert max(lengths) < 3000
    assert len(lengths) > 5


def test_replies_vanish_and_then_the_connection(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    assert ask(client, b"a") == b"a"
    proxy.arm("deaf")
    client.sendall(b"b")
    assert echo.has(b"ab")
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    proxy.heal()
    client.settimeout(60)
    assert ended(client)


def test_requests_vanish_and_then_the_connection(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    assert ask(client, b"a") == b"a"
    proxy.arm("mute")
    client.sendall(b"b")
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert echo.got == b"a"
    proxy.heal()
    client.settimeout(60)
    assert ended(client)


def test_a_request_comes_after_its_sender_has_gone(client: socket.socket, echo: Echo, proxy: Proxy) -> None:
    assert ask(client, b"a") == b"a"
    proxy.arm("late", 1.5)
    client.sendall(b"b")
    client.close()
    assert echo.got == b"a"
    assert echo.has(b"ab")


def test_it_refuses(client: socket.socket, proxy: Proxy) -> None:
    proxy.arm("refuse")
    assert ended(client)
    with socket.create_connection(("127.0.0.1", proxy.port), 60) as other:
        other.settimeout(60)
        assert ended(other)
    proxy.heal()
    with socket.create_connection(("127.0.0.1", proxy.port), 60) as third:
        assert ask(third, b"x") == b"x"


def test_it_is_slow(client: socket.socket, proxy: Proxy) -> None:
    proxy.arm("slow", 0.05)
    began = time.monotonic()
    for _ in range(10):
        assert ask(client, b"x") == b"x"
    assert time.monotonic() - began > 0.05


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True
