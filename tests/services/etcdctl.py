"""Why: what operators do with etcdctl, tests do by the same HTTP interface, without a program to install."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

from tests.services.base import Server


def ask(server: Server, path: str, **body: object) -> Any:
    """POST /v3/``path`` of etcd's JSON gateway."""
    port = server.url.rpartition(":")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def revision(server: Server) -> int:
    """The revision of now."""
    return int(ask(server, "kv/range", key=coded("any"))["header"]["revision"])


def compact(server: Server) -> None:
    """Forget all revisions before now."""
    ask(server, "kv/compaction", revision=revision(server), physical=True)


def leases(server: Server) -> set[str]:
    """The ids of the leases that there are."""
    return {lease["ID"] for lease in ask(server, "lease/leases").get("leases", [])}


def coded(text: str) -> str:
    """Bytes as the gateway takes them."""
    return base64.b64encode(text.encode()).decode()
