"""Why: a network fails in ways that a server can't be made to: bytes that come late, half, one way, or not at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

Which = Callable[[bytes], bool]
"""Says of a connection, by the first bytes that its client sent, whether it is meant."""


def every(first: bytes) -> bool:
    """All connections."""
    return True


class Proxy:
    """Passes on what comes to ``port`` of loopback to ``target``, until it is told to misbehave."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._connections: list[_Connection] = []
        self._held: Which = lambda first: False
        self._refusing = False
        self._budget: dict[str, int] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def hold(self, which: Which = every) -> None:
        """From now on nothing gets through on these connections, old or new; what is sent waits for ``mend``."""
        with self._changed:
            self._held = which

    def refuse(self) -> None:
        """End all connections, and new ones at once."""
        with self._changed:
            self._refusing = True
        self.cut()

    def cut(self) -> None:
        """End all connections there are."""
        with self._changed:
            ended, self._connections = self._connections, []
        for connection in ended:
            connection.end()

    def cut_after(self, count: int, to: str) -> None:
        """End all connections once ``count`` more bytes went "to server" or "to client" (``to``)."""
        assert to in ("to server", "to client")
        with self._changed:
            self._budget[to] = count

    def mend(self) -> None:
        """Behave again; what was held is passed on."""
        with self._changed:
            self._held = lambda first: False
            self._refusing = False
            self._budget.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """End everything."""
        self._closed = True
        self._listener.close()
        with self._changed:
            self._changed.notify_all()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            connection = _Connection(client, server)
            with self._changed:
                refused = self._refusing or self._closed
                if not refused:
                    self._connections.append(connection)
            if refused:
                connection.end()
                continue
            for to in ("to server", "to client"):
                threading.Thread(target=self._pump, args=(connection, to), daemon=True).start()

    def _pump(self, connection: _Connection, to: str) -> None:
        source, sink = connection.ends(to)
        try:
            while data := source.recv(1 << 16):
                if to == "to server" and not connection.first:
                    connection.first = data
                with self._changed:
                    while self._held(connection.first) and not self._closed:
                        self._changed.wait()
                    left = self._budget.get(to)
                    if left is not None:
                        data = data[:left]
                        self._budget[to] = left - len(data)
                sink.sendall(data)
                if left is not None and left <= len(data):
                    self.cut()
        except OSError:
            pass
        connection.end()


class _Connection:
    """Two sockets, and what the client said first."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._client, self._server = client, server
        self.first = b""

    def ends(self, to: str) -> tuple[socket.socket, socket.socket]:
        return (self._client, self._server) if to == "to server" else (self._server, self._client)

    def end(self) -> None:
        for one in (self._client, self._server):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
