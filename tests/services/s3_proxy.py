"""Why: what S3 answers to one certain request can't be ordered from a real server; from a proxy before it, it can.

It passes on whole requests and answers, and asks ``rule`` about each.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode


class Request(NamedTuple):
    """What a client asked. ``name``: the object's, below the bucket; ``headers`` may be changed."""

    method: str
    name: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What it gets. ``headers`` may be changed."""

    status: int
    headers: dict[str, str]
    body: bytes


Forward = Callable[[Request], Answer]
Rule = Callable[[Request, Forward], Answer | None]
"""What to do with a request: answer it, by ``forward`` to the server or otherwise; None: end the connection."""


def refusal(status: int, code: str) -> Answer:
    """An error as S3 words it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>'.encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # who finds no room in the queue comes again a second later
    daemon_threads = True


class S3Proxy:
    """Stands before the server at ``port`` of loopback. ``seen`` are all requests so far."""

    def __init__(self, port: int) -> None:
        self.rule: Rule = lambda request, forward: forward(request)
        self.seen: list[Request] = []
        self._target = port
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def count(self, method: str, start: str) -> int:
        """Requests so far of this method, for objects whose name (below bucket and prefix) starts so."""
        return sum(r.method == method and f"/{start}" in f"/{r.name}" for r in self.seen)

    def forward(self, request: Request) -> Answer:
        """What the server says."""
        link = http.client.HTTPConnection("127.0.0.1", self._target, timeout=30)
        try:
            link.putrequest(request.method, request.name, skip_host=True, skip_accept_encoding=True)
            for key, value in request.headers.items():
                link.putheader(key, value)
            link.endheaders(request.body)
            answer = link.getresponse()
            body = answer.read()
            dropped = ("transfer-encoding", "connection", "content-length")
            return Answer(
                answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in dropped}, body
            )
        finally:
            link.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                request = Request(self.command, self.path, dict(self.headers.items()), self.rfile.read(size))
                proxy.seen.append(request)
                made = proxy.rule(request, proxy.forward)
                if made is None:
                    self.close_connection = True
                    return
                length = made.headers.pop("X-Length", str(len(made.body)))
                self.send_response(made.status)
                for key, value in made.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(made.body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815

        return Handler


@contextmanager
def before(url: str) -> Iterator[tuple[S3Proxy, str]]:
    """A proxy before the server of a store's URL, and the URL through it."""
    place, _, asked = url.partition("?")
    more = dict(parse_qsl(asked))
    proxy = S3Proxy(int(more["endpoint"].rpartition(":")[2]))
    more["endpoint"] = f"http://127.0.0.1:{proxy.port}"
    try:
        yield proxy, f"{place}?{urlencode(more)}"
    finally:
        proxy.close()
