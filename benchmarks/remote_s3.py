"""Why: S3 by hand, for benchmarks.remote: obstore alone, each write one object that is created and never overwritten.

The least that is safe there: what is written lies in the next object of a row of objects, which only one can create.
Nobody else writes during the benchmark, so this client need not look who did.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from configparser import ConfigParser
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import obstore
from obstore.store import S3Store

if TYPE_CHECKING:
    from benchmarks.remote import Write

SERVER: Final[dict[str, Any]] = {}


class S3:
    """One client, and a part of the bucket of its own."""

    def __init__(self, url: str) -> None:
        bucket, _, asked = url.removeprefix("s3://").partition("?")
        more = parse_qs(asked)
        login = ConfigParser()
        login.read(more["credentials_file"][0])
        self._store = S3Store(
            bucket.partition("/")[0],
            prefix=f"raw-{os.urandom(4).hex()}",
            config={
                "access_key_id": login["default"]["aws_access_key_id"],
                "secret_access_key": login["default"]["aws_secret_access_key"],
                "region": "us-east-1",
                "endpoint": more["endpoint"][0],
            },
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        self._number = 0

    def prepare(self, rows: Sequence[tuple[str, bytes]]) -> None:
        for key, value in rows:
            obstore.put(self._store, _named(key), value, use_multipart=False)

    def get(self, key: str) -> bytes | None:
        return bytes(obstore.get(self._store, _named(key)).bytes())

    def write(self, write: Write) -> None:
        self._number += 1
        rows = b"\n".join((write.head.encode(), write.value, write.revision.encode(), write.value))
        name = f"{self._number:012d}"
        obstore.put(self._store, name, rows, mode="create", use_multipart=False)

    def close(self) -> None:
        pass


def _named(key: str) -> str:
    return key.replace("\x1f", "/")


def connect(url: str) -> S3:
    """See benchmarks.remote."""
    return S3(url)
