"""Why: a server that breaks a promise is made of a good one, by an HTTP proxy that changes what passes."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import TypeAlias

from tests.loopback import Reply, Request, Server

Forward: TypeAlias = Callable[[Request], Reply]
Meddle: TypeAlias = Callable[[Request, Forward], Reply]
"""Answers a request: by passing it on, changed or not, or otherwise."""


class Meddler:
    """Passes requests on to ``target`` (a port of loopback) as ``meddle`` wants; listens on ``port``."""

    def __init__(self, target: int, meddle: Meddle) -> None:
        self._target = target
        self.meddle = meddle
        self._server = Server(lambda request: self.meddle(request, self._forward))
        self.port = self._server.port

    def close(self) -> None:
        """Stop it."""
        self._server.close()

    def _forward(self, request: Request) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=30)
        try:
            headers = {name: text for name, text in request.headers.items() if name != "content-length"}
            connection.request(request.method, request.path, request.body or None, headers)
            reply = connection.getresponse()
            kept = {
                name: text
                for name, text in reply.getheaders()
                if name.lower() not in ("content-length", "transfer-encoding", "date", "connection")
            }
            return Reply(reply.status, reply.read(), kept)
        finally:
            connection.close()
