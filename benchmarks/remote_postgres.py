"""Why: PostgreSQL by hand, for benchmarks.remote: psycopg as its documentation shows it, statements prepared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    from benchmarks.remote import Write

SERVER: Final = {"settings": "fsync = on\n"}

TABLE = """
DROP TABLE IF EXISTS raw;
CREATE TABLE raw (
    key text COLLATE "C" PRIMARY KEY, rev bigint NOT NULL, until timestamptz, value bytea NOT NULL
) WITH (fillfactor = 90)
"""
GET = "SELECT value FROM raw WHERE key = %s AND (until IS NULL OR until > clock_timestamp())"
PUT = "INSERT INTO raw VALUES (%s, 1, NULL, %b) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
CHANGE = "UPDATE raw SET rev = rev + 1, value = %b WHERE key = %s AND rev = %s"
ADD = "INSERT INTO raw VALUES (%s, 1, NULL, %b)"
HOLDS = (
    "SELECT 1 FROM raw WHERE key = %s AND rev = 1 AND (until IS NULL OR until > clock_timestamp()) FOR SHARE"
)


class Postgres:
    """One connection, statement by statement: psycopg's pipeline mode took longer on loopback."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(TABLE)
        self._revs: dict[str, int] = {}

    def prepare(self, rows: Sequence[tuple[str, bytes]]) -> None:
        for key, value in rows:
            self._connection.execute(PUT, (key, value))

    def get(self, key: str) -> bytes | None:
        row = self._connection.execute(GET, (key,), binary=True).fetchone()
        return None if row is None else row[0]

    def write(self, write: Write) -> None:
        rev = self._revs.get(write.head, 0)
        connection = self._connection
        with connection.transaction():
            for asserted in (write.fence, write.lease):
                if connection.execute(HOLDS, (asserted,)).fetchone() is None:
                    raise RuntimeError("the lock is lost")
            if rev == 0:
                connection.execute(ADD, (write.head, write.value))
            elif connection.execute(CHANGE, (write.value, write.head, rev)).rowcount != 1:
                raise RuntimeError("somebody else wrote")
            connection.execute(ADD, (write.revision, write.value))
        self._revs[write.head] = rev + 1

    def close(self) -> None:
        self._connection.close()


def connect(url: str) -> Postgres:
    """See benchmarks.remote."""
    return Postgres(url)
