"""Why: one connection to a Consul agent that speaks just enough HTTP/1.1, within a deadline for the whole exchange.

The standard library's client costs 50 ms to import, half of what a command takes, and more for each reply than the
agent does; and its time-outs are for each packet. (RFC 9112.)
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator, Mapping

from sloth_runner.plain import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ssl

_STATUS: Final = re.compile(r"HTTP/1\.([01]) ([1-5]\d\d)(?: |$)")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;.*)?")
_MOST_HEAD: Final = 1 << 16
_PIECE: Final = 1 << 18


class Broken(OSError):
    """The other side closed the connection, or what it said is not HTTP."""


class Connection:
    """Connected on construction. ``end`` (``time.monotonic``) is until when what is asked of it may take; the caller
    moves it. Raises OSError, TimeoutError among them; then it is of no more use but to be closed."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, end: float) -> None:
        self.end = end
        self.fresh = True
        """Nothing has been sent yet."""
        self.reusable = False
        """The last reply was read whole, and another request may follow."""
        self._buffer = bytearray()
        # Of a text, the standard library would load the tables of international names.
        name: Any = host.encode()
        self._socket = socket.create_connection((name, port), self._left())
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
        except BaseException:
            self._socket.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether an idle connection can still be used: the other side has neither closed it nor said a word."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not self._buffer and not poll.poll(0)

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self.fresh = self.reusable = False
        self._socket.settimeout(self._left())
        self._socket.sendall(request)

    def head(self) -> tuple[int, Mapping[str, str]]:
        """The status of the reply and its headers, names in lower case. The body is to be read next."""
        while True:
            lines = self._until(b"\r\n\r\n", _MOST_HEAD).decode("latin-1").split("\r\n")
            found = _STATUS.match(lines[0])
            if found is None:
                raise Broken(f"what it said is not HTTP: {lines[0][:60]!r}")
            status = int(found[2])
            if status >= 200:
                break
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, text = line.partition(":")
            if not colon:
                raise Broken(f"a header it sent is not HTTP: {line[:60]!r}")
            headers[name.lower()] = text.strip()
        if found[1] == "0":
            headers.setdefault("connection", "close")
        return status, headers

    def body(self, status: int, headers: Mapping[str, str]) -> Iterator[bytes]:
        """The body that follows this head, in pieces."""
        if status in (204, 304):
            pass
        elif "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise Broken(f"it sent the body in a way nobody asked for: {headers['transfer-encoding']}")
            yield from self._chunks()
        elif "content-length" in headers:
            if _LENGTH.fullmatch(headers["content-length"]) is None:
                raise Broken("the length it sent is no number")
            yield from self._exactly(int(headers["content-length"]))
        else:
            yield from self._rest()
            return
        self.reusable = headers.get("connection", "").lower() != "close"

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def _more(self) -> None:
        self._socket.settimeout(self._left())
        data = self._socket.recv(_PIECE)
        if not data:
            raise Broken("it closed the connection")
        self._buffer += data

    def _until(self, mark: bytes, most: int) -> bytearray:
        """Everything before ``mark``, which is taken, too."""
        start = 0
        while (place := self._buffer.find(mark, start)) < 0:
            if len(self._buffer) > most:
                raise Broken("what it said is not HTTP: a head without an end")
            start = max(0, len(self._buffer) - len(mark))
            self._more()
        found = self._buffer[:place]
        del self._buffer[: place + len(mark)]
        return found

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if not self._buffer:
                self._more()
            piece = bytes(self._buffer[:count])
            del self._buffer[: len(piece)]
            count -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            found = _CHUNK.fullmatch(self._until(b"\r\n", _MOST_HEAD))
            if found is None:
                raise Broken("a chunk it sent is not HTTP")
            size = int(found[1], 16)
            if size == 0:
                while self._until(b"\r\n", _MOST_HEAD):
                    pass
                return
            yield from self._exactly(size)
            if self._until(b"\r\n", _MOST_HEAD):
                raise Broken("a chunk it sent is not HTTP")

    def _rest(self) -> Iterator[bytes]:
        try:
            while True:
                if not self._buffer:
                    self._more()
                yield bytes(self._buffer)
                self._buffer.clear()
        except Broken:
            return
