"""Why: Consul by hand, for benchmarks.remote: the standard library's HTTP client, as its documentation shows it."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from benchmarks.remote import Write

SERVER: Final[Mapping[str, Any]] = {}


class Consul:
    """One connection that is kept open; keys as a URL can hold them."""

    def __init__(self, url: str) -> None:
        host, _, prefix = url.removeprefix("consul://").partition("/")
        self._connection = http.client.HTTPConnection(host, timeout=10)
        self._prefix = f"{prefix}-raw/"
        self._indexes: dict[str, int] = {}
        self._ask("DELETE", f"/v1/kv/{self._prefix}?recurse")

    def prepare(self, rows: Sequence[tuple[str, bytes]]) -> None:
        for key, value in rows:
            self._ask("PUT", f"/v1/kv/{quote(self._named(key))}", value)
            self._indexes[key] = self._ask("GET", f"/v1/kv/{quote(self._named(key))}?consistent")[0][
                "ModifyIndex"
            ]

    def get(self, key: str) -> bytes | None:
        found = self._ask("GET", f"/v1/kv/{quote(self._named(key))}?consistent")
        return None if found is None else base64.b64decode(found[0]["Value"])

    def write(self, write: Write) -> None:
        value = base64.b64encode(write.value).decode()
        head, revision = self._named(write.head), self._named(write.revision)
        ops = [
            {"Verb": "cas", "Key": head, "Value": value, "Index": self._indexes.get(write.head, 0)},
            {"Verb": "cas", "Key": revision, "Value": value, "Index": 0},
            {"Verb": "check-index", "Key": self._named(write.fence), "Index": self._indexes[write.fence]},
            {"Verb": "get", "Key": self._named(write.lease)},
        ]
        found = self._ask("PUT", "/v1/txn", json.dumps([{"KV": op} for op in ops]).encode())
        self._indexes[write.head] = found["Results"][0]["KV"]["ModifyIndex"]

    def close(self) -> None:
        self._connection.close()

    def _named(self, key: str) -> str:
        return self._prefix + key.replace("\x1f", "/")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        self._connection.request(method, path, body)
        reply = self._connection.getresponse()
        data = reply.read()
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {data!r}")
        return json.loads(data)


def connect(url: str) -> Consul:
    """See benchmarks.remote."""
    return Consul(url)
