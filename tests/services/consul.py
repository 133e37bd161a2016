"""Consul: one server on loopback that keeps its data, so that it can be killed and started again."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services import ROOT
from tests.services.base import Server, free_port


def binary() -> str:
    """The program. Raises RuntimeError, saying where to get it."""
    fetched = ROOT / "bin" / "consul"
    found = str(fetched) if fetched.exists() else shutil.which("consul")
    if found is None:
        raise RuntimeError("there is no consul: scripts/get-consul fetches it")
    return found


def make(folder: Path, more: Mapping[str, Any] | None = None) -> Server:
    """A server of its own cluster; ``more`` goes into its configuration."""
    http_port, server_port, lan_port = free_port(), free_port(), free_port()
    configuration = {
        "server": True,
        "bootstrap": True,
        "node_name": "sloth",
        "data_dir": str(folder / "data"),
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "ports": {
            "http": http_port,
            "server": server_port,
            "serf_lan": lan_port,
            "serf_wan": -1,
            "dns": -1,
            "grpc": -1,
        },
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
        f"consul://127.0.0.1:{http_port}/state",
        lambda: _leads(http_port),
        prepare=prepare,
    )


def _leads(port: int) -> bool:
    """Whether it answers, leads, and has put itself into its catalog (sessions need that)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/catalog/node/sloth?consistent")
        return connection.getresponse().read() not in (b"", b"null")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
