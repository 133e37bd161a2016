"""Why: a request is sent by the machine that it is about, whatever is installed there: no curl, no wget is needed.

Standard library only; runs on Python 3.8. What urllib does too readily is left out: other schemes than http and
https, credentials that follow a redirection to another host, answers that end too early and pass for whole.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import ssl
import threading
import urllib.error
import urllib.request
from urllib.parse import urljoin, urlsplit

from sloth_runner.agent.names import encode, text
from sloth_runner.agent.writing import replace, write_all
from sloth_runner.ops import Fetched, OpError, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sloth_runner.ops import Fetch

CHUNK = 1 << 16
CONNECTING = 15.0
"""Seconds that making a connection may take at most."""
HOPS = 10
MOVED = (301, 302, 303, 307, 308)
HARMLESS = (
    "accept",
    "accept-encoding",
    "accept-language",
    "if-modified-since",
    "if-none-match",
    "range",
    "user-agent",
)
"""Headers that may go along to another host."""


class Fetching:
    """One request on its way. ``stop`` breaks it off from another thread."""

    def __init__(self, op: Fetch) -> None:
        self._op = op
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._stopped = ""

    def perform(self) -> Fetched:
        """The answer. Raises OpError."""
        op = self._op
        timer = threading.Timer(op.timeout, self.stop, ["timeout"])
        timer.daemon = True
        timer.start()
        try:
            return self._answer()
        except Exception as error:  # a connection that is broken off fails in many ways
            if self._stopped and self._stopped != "timeout":
                raise self._problem("stopped", "was broken off") from error
            raise self._told(error) from error
        finally:
            timer.cancel()
            self._forget()

    def stop(self, why: str = "stopped") -> None:
        """Break it off: ``perform`` raises soon, and puts nothing in place any more."""
        with self._lock:
            self._stopped = self._stopped or why
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it has ended by itself

    def _problem(self, kind: str, words: str) -> OpError:
        return OpError(kind, self._op.label, words, partial=self._op.mutating and self._op.into is None)

    def _told(self, error: Exception) -> Exception:
        """An error as OpError says it."""
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        # a socket that waited for all of the time may notice it before the timer does
        if self._stopped == "timeout" or (isinstance(cause, TimeoutError) and cause.errno is None):
            return self._problem(
                "timeout", f"took longer than its timeout of {self._op.timeout:g} seconds, and was broken off"
            )
        if isinstance(error, OpError):
            return error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return self._problem(
                "certificate", f"the server's certificate is not trusted: {cause.verify_message}"
            )
        if isinstance(cause, ssl.SSLError):
            return self._problem("protocol", f"no TLS connection: {cause.reason or cause}")
        if isinstance(cause, (http.client.HTTPException, ValueError)):
            return self._problem(
                "protocol", f"the server's answer is not understood ({type(cause).__name__})"
            )
        if isinstance(cause, OSError):
            if cause.filename is not None:
                return cause  # of a file; perform tells it
            return self._problem("unreachable", cause.strerror or str(cause))
        return error if cause is error else self._problem("unreachable", str(cause))

    def _answer(self) -> Fetched:
        op = self._op
        url, headers, body = op.url, list(op.headers), op.body
        opener = self._opener()
        for _ in range(HOPS + 1):
            request = urllib.request.Request(url, body, method=op.method)  # noqa: S310 - the opener knows http alone
            for name, value in headers:
                request.add_unredirected_header(name.capitalize(), value)
            response: http.client.HTTPResponse = opener.open(request, timeout=op.timeout)
            with response:
                place = response.headers.get("Location")
                if op.redirects and response.status in MOVED and place:
                    url, headers = self._moved(url, place, headers)
                    continue
                return self._read(response)
        raise self._problem("protocol", f"was redirected more than {HOPS} times")

    def _moved(
        self, url: str, place: str, headers: list[tuple[str, str]]
    ) -> tuple[str, list[tuple[str, str]]]:
        following = urljoin(url, place)
        old, new = urlsplit(url), urlsplit(following)
        if new.scheme not in ("http", "https") or new.username is not None or not new.hostname:
            raise self._problem(
                "protocol", f"was redirected to a {new.scheme or 'strange'} URL, which is refused"
            )
        if old.scheme == "https" and new.scheme == "http":
            raise self._problem("protocol", "was redirected from https to http, which is refused")
        if (old.scheme, old.netloc.lower()) != (new.scheme, new.netloc.lower()):
            headers = [(name, value) for name, value in headers if name.lower() in HARMLESS]
        return following, headers

    def _opener(self) -> urllib.request.OpenerDirector:
        # Without what it usually has: redirections, files, ftp, passwords.
        director = urllib.request.OpenerDirector()
        director.add_handler(urllib.request.ProxyHandler(self._proxies()))
        director.add_handler(_Plain(self))
        director.add_handler(_Secure(self))
        return director

    def context(self) -> ssl.SSLContext:
        """Whom to trust; the system's authorities take a while to load."""
        if self._op.ca is None:
            return ssl.create_default_context()
        path = text(encode(self._op.ca))
        with open(path, "rb"):  # an error names the file
            return ssl.create_default_context(cafile=path)

    def _proxies(self) -> dict[str, str]:
        """What the environment says, and before it ``env``; none for hosts that no_proxy names."""
        environ: Mapping[str, str] = {**os.environ, **self._op.env}
        lower = {name.lower(): value for name, value in environ.items() if name.lower().endswith("_proxy")}
        lower.update({name: value for name, value in environ.items() if name in lower and value})
        split = urlsplit(self._op.url)
        found = {name[: -len("_proxy")]: value for name, value in lower.items() if value}
        bypass: Callable[..., Any] = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined] # it is there
        if bypass(split.netloc, found):
            return {}
        return {name: value for name, value in found.items() if name in ("http", "https")}

    def dial(self, address: tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
        """A connection that ``stop`` can break off."""
        sock = socket.create_connection(address, min(timeout, CONNECTING), source)
        sock.settimeout(timeout)
        self._forget()
        with self._lock:
            self._socket = sock.dup()  # TLS takes the first one over
            if self._stopped:
                self._socket.shutdown(socket.SHUT_RDWR)
        return sock

    def _forget(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _read(self, response: http.client.HTTPResponse) -> Fetched:
        if self._op.into is None or not 200 <= response.status < 300:
            return self._kept(response)
        received = [0]
        sums = [hashlib.sha256()]
        checksum = self._op.checksum
        if checksum is not None:
            sums.append(hashlib.new(checksum[0]))

        def fill(fd: int) -> None:
            for piece in self._pieces(response):
                write_all(fd, piece)
                received[0] += len(piece)
                for one in sums:
                    one.update(piece)
            self._compare(sums[-1].hexdigest())
            if self._stopped:
                raise self._problem("stopped", "was broken off")

        op = self._op
        assert op.into is not None
        replace(Write(op.into, b"", op.mode, op.owner, op.group), fill)
        return _fetched(response, None, sums[0].hexdigest(), received[0])

    def _kept(self, response: http.client.HTTPResponse) -> Fetched:
        """The answer with its body, as far as it is wanted."""
        op = self._op
        total, size, kept = hashlib.sha256(), 0, bytearray()
        other = hashlib.new(op.checksum[0]) if op.checksum is not None else None
        for piece in self._pieces(response):
            size += len(piece)
            total.update(piece)
            if other is not None:
                other.update(piece)
            if size <= op.limit:
                kept += piece
            elif not op.whole:
                return _fetched(response, None, None, size)
        if other is not None and 200 <= response.status < 300:
            self._compare(other.hexdigest())
        return _fetched(response, bytes(kept) if size <= op.limit else None, total.hexdigest(), size)

    def _pieces(self, response: http.client.HTTPResponse) -> Any:
        while True:
            piece = response.read(CHUNK)
            if not piece:
                break
            yield piece
        if response.length:
            raise self._problem("protocol", f"the answer ended {response.length:,} bytes too early")

    def _compare(self, digest: str) -> None:
        checksum = self._op.checksum
        if checksum is not None and digest != checksum[1]:
            raise self._problem("checksum", f"the {checksum[0]} of what came is {digest}, not {checksum[1]}")


def _fetched(
    response: http.client.HTTPResponse, body: bytes | None, digest: str | None, size: int
) -> Fetched:
    headers = tuple((name.lower(), value) for name, value in response.headers.items())
    return Fetched(response.status, response.reason, headers, body, digest, size)


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, fetching: Fetching) -> None:
        super().__init__()
        self._fetching = fetching

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_factory(http.client.HTTPConnection, self._fetching), req)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, fetching: Fetching) -> None:
        urllib.request.AbstractHTTPHandler.__init__(self)  # the other one makes a context already
        self._fetching = fetching

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(
            _factory(http.client.HTTPSConnection, self._fetching), req, context=self._fetching.context()
        )


def _factory(kind: Any, fetching: Fetching) -> Any:
    """Makes connections of that kind over sockets that can be broken off."""

    def make(*args: Any, **named: Any) -> Any:
        connection = kind(*args, **named)
        connection._create_connection = fetching.dial
        return connection

    return make
