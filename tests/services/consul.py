"""Consul: one server on loopback that keeps its data, so that it can be killed and started again."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services import ROOT
from tests.services.base import Server, free_port

NODE = "sloth"


def binary() -> str:
    """The program. Raises RuntimeError, saying where to get it."""
    fetched = ROOT / "bin" / "consul"
    found = str(fetched) if fetched.exists() else shutil.which("consul")
    if found is None:
        raise RuntimeError("there is no consul: scripts/get-consul fetches it")
    return found


def make(
    folder: Path,
    more: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    context: ssl.SSLContext | None = None,
) -> Server:
    """A server of its own cluster; ``more`` goes into its configuration. ``token`` and ``context`` are for whoever
    waits until it is ready: with the latter it listens for TLS alone."""
    port = free_port()
    ports = {"server": free_port(), "serf_lan": free_port(), "serf_wan": -1, "dns": -1, "grpc": -1}
    configuration = {
        "server": True,
        "bootstrap": True,
        "node_name": NODE,
        "data_dir": str(folder / "data"),
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "ports": {**ports, "http": -1 if context else port, "https": port if context else -1},
        "disable_update_check": True,
        "performance": {"raft_multiplier": 1},
        **(more or {}),
    }

    def prepare() -> None:
        (folder / "consul.json").write_text(json.dumps(configuration))

    return Server(
        "consul",
        folder,
        [binary(), "agent", "-config-file", str(folder / "consul.json")],
        f"consul://127.0.0.1:{port}/state",
        lambda: _leads(port, token, context),
        prepare=prepare,
    )


def ask(server: Server, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
    """One request of an operator: ``/v1/PATH``. Its reply, parsed where it is JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    try:
        headers = {} if token is None else {"X-Consul-Token": token}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body)
        connection.request(method, f"/v1/{path}", data, headers)
        reply = connection.getresponse()
        found = reply.read()
        assert reply.status < 400, f"{reply.status} {found!r}"
        return json.loads(found) if reply.headers["Content-Type"] == "application/json" else found
    finally:
        connection.close()


def port_of(server: Server) -> int:
    """Where its agent listens."""
    return int(server.url.rpartition(":")[2].partition("/")[0])


def _leads(port: int, token: str | None, context: ssl.SSLContext | None) -> bool:
    """Whether it answers, leads, and has put itself into its catalog (sessions need that)."""
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        if context is None
        else http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    )
    try:
        headers = {} if token is None else {"X-Consul-Token": token}
        connection.request("GET", f"/v1/catalog/node/{NODE}?consistent", headers=headers)
        return connection.getresponse().read() not in (b"", b"null")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
