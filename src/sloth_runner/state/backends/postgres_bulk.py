"""Why: a million keys go out of the database, or into it, as one: read as of one moment, written whole or not at all.

A snapshot is a REPEATABLE READ transaction; scans are cursors in it. A bulk change is one transaction that holds the
namespace's lock alone, so it waits for the commits that are under way, and those after it wait for it; what it reads
is read by a second connection, whose snapshot was taken once it had the lock. Either uses connections of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sloth_runner.errors import Bug, Conflict, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.backends.postgres_commit import binary_array
from sloth_runner.state.backends.postgres_errors import AGAIN, NOT_MADE, Refused, translated
from sloth_runner.state.backends.postgres_link import (
    BYTEA,
    BYTEA_ARRAY,
    INT8,
    TEXT,
    TEXT_ARRAY,
    Link,
    Statement,
)
from sloth_runner.state.backends.postgres_schema import Names, bound, lock_id, scan_sql
from sloth_runner.state.layout import MOVED, SEP
from sloth_runner.state.store import Bulk, Entry, Reader, as_entry, beyond

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

FEW: Final = 64
AT_ONCE: Final = 4000
BYTES: Final = 4 << 20
"""Rows at first and at most, and about how many bytes of them, that are fetched together."""
SLOW: Final = 6.0
"""A bulk change's own requests may take this many times as long as others."""

_READ: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0"
)
_WRITE: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL idle_in_transaction_session_timeout = 0; "
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply'); SET LOCAL lock_timeout = {wait}"
)


class Place:
    """One namespace of one schema, and how to get connections to it."""

    def __init__(
        self, names: Names, where: str, connect: Callable[[bool], Link], timeout: float, patience: float
    ) -> None:
        self.names = names
        self.where = where
        self.connect = connect
        self.timeout = timeout
        self.patience = patience


class PostgresReader:
    """One namespace within one transaction; without a ``link``, one that has no entries."""

    def __init__(self, place: Place, namespace: str, link: Link | None) -> None:
        self._place = place
        self._start = namespace + SEP
        self._link = link
        self._get = Statement(place.names.get, TEXT)
        self._cursors = 0

    def get(self, key: str) -> Entry | None:
        """See Store."""
        if self._link is None or not key.startswith(self._start):
            return None
        found = self._run(self._get, [key.encode()])
        if not found.ntuples:
            return None
        return Entry(key, found.get_value(0, 1) or b"", int.from_bytes(found.get_value(0, 0) or b"", "big"))

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store, of this namespace: ``prefix`` names it; rows are fetched as they are asked for."""
        if self._link is None or not prefix.startswith(self._start) or "\0" in prefix:
            return iter(())
        sql = scan_sql(self._place.names.quoted, True, bool(after), reverse, False)
        params = [
            prefix.encode(),
            beyond(prefix).encode(),
            *([bound(after, reverse=reverse)] if after else []),
        ]
        types = [TEXT] * len(params)
        if limit is None or limit > FEW:
            return self._through_cursor(Statement(sql, *types), params, limit)
        return entries(self._run(Statement(f"{sql} LIMIT {int(limit)}", *types), params))

    def _through_cursor(self, query: Statement, params: list[bytes], limit: int | None) -> Iterator[Entry]:
        self._cursors += 1
        name = f"scan{self._cursors}"
        declare = f"DECLARE {name} NO SCROLL CURSOR FOR {query.sql.decode()}"
        self._run(Statement(declare, *query.types), params)
        count, left = FEW, limit
        while left is None or left > 0:
            wanted = count if left is None else min(count, left)
            found = self._run(Statement(f"FETCH {wanted} FROM {name}"), [])
            batch = list(entries(found))
            yield from batch
            if len(batch) < wanted:
                break
            left = None if left is None else left - len(batch)
            size = sum([len(entry[1]) for entry in batch]) // len(batch)
            count = max(1, min(AT_ONCE, 4 * count, BYTES // (size + 1)))
        self._run(Statement(f"CLOSE {name}"), [])

    def _run(self, statement: Statement, params: Sequence[bytes]) -> PGresult:
        assert self._link is not None
        try:
            return self._link.run(statement, params, self._place.timeout)
        except Refused as refused:
            raise translated(refused, self._place.where) from refused


class PostgresBulk(PostgresReader):
    """See Bulk: reads by one connection, which sees what was there before, writes by another."""

    def __init__(
        self, place: Place, namespace: str, before: Link, writing: Link, max_value: int, fresh: int
    ) -> None:
        super().__init__(place, namespace, before)
        self._namespace = namespace.encode()
        self._writing = writing
        self._max_value = max_value
        self._fresh = b"%d" % fresh
        s = place.names.quoted
        self._load = Statement(f"SELECT {s}.load($1, $2, $3, $4)", TEXT, INT8, TEXT_ARRAY, BYTEA_ARRAY)
        self._remove = Statement(f"DELETE FROM {s}.entry WHERE key = ANY ($1)", TEXT_ARRAY)
        self._running = False

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """See Bulk."""
        for key, value in rows:
            if len(value) > self._max_value:
                raise TooLarge(
                    f"the record {key!r} has {len(value):,} bytes; this store takes {self._max_value:,}",
                    unchanged=["nothing was stored"],
                )
        if not rows:
            return
        latest = dict(rows)  # one statement can't put a key twice
        keys = binary_array(TEXT, [key.encode() for key in latest])
        values = binary_array(BYTEA, list(latest.values()))
        self._begin(self._load, [self._namespace, self._fresh, keys, values])

    def delete(self, keys: Sequence[str]) -> None:
        """See Bulk."""
        self._begin(self._remove, [binary_array(TEXT, [key.encode() for key in keys])])

    def guard(self, mark: bytes) -> None:
        """See Bulk."""
        self.settle()
        self._perform(set_rule(self._place.names, "guard", self._namespace.decode(), mark))

    def settle(self) -> None:
        """Wait for what is being written; its error is ours."""
        if not self._running:
            return
        self._running = False
        try:
            self._writing.finish(SLOW * self._place.timeout)
        except Refused as refused:
            raise translated(refused, self._place.where) from refused

    def _begin(self, statement: Statement, params: list[bytes]) -> None:
        self.settle()
        try:
            self._writing.begin(statement, params)
        except Refused as refused:
            raise translated(refused, self._place.where) from refused
        self._running = True

    def _perform(self, sql: str) -> None:
        try:
            self._writing.script(sql, self._place.timeout)
        except Refused as refused:
            raise translated(refused, self._place.where) from refused


def entries(found: PGresult) -> Iterator[Entry]:
    """The rows (key, rev, value) of a result."""
    value = found.get_value
    from_bytes = int.from_bytes
    for row in range(found.ntuples):
        key, rev, data = value(row, 0), value(row, 1), value(row, 2)
        yield as_entry(((key or b"").decode(), data or b"", from_bytes(rev or b"", "big")))


def set_rule(names: Names, kind: str, scope: str, data: bytes) -> str:
    """SQL that sets (or, with b"", lifts) a rule of a scope. Its lock has to be held alone."""
    where = f"kind = '{kind}' AND scope = '{scope}' AND id = ''"
    sql = f"DELETE FROM {names.quoted}.rule WHERE {where};"
    if data:
        sql += (
            f"INSERT INTO {names.quoted}.rule (kind, scope, id, data) "
            f"VALUES ('{kind}', '{scope}', '', '\\x{data.hex()}');"
        )
    return sql


def rule(place: Place, kind: str, scope: str, data: bytes) -> None:
    """Set (or, with b"", lift) a rule, once the commits that are under way in its scope have ended."""
    link = place.connect(True)
    try:
        _begin_writing(place, scope, link)
        link.script(set_rule(place.names, kind, scope, data) + "COMMIT", place.timeout)
    except Refused as refused:
        raise translated(refused, place.where, committing=True) from refused
    finally:
        link.close()


def retire(place: Place, new: bytes, old: bytes) -> None:
    """See Traits: the note, and the rule that makes all commits obey it, in one transaction."""
    link = place.connect(True)
    s = place.names.quoted
    try:
        fresh = _begin_writing(place, "", link)
        rows = link.ask(f"SELECT encode(value, 'hex') FROM {s}.entry WHERE key = '{MOVED}'", place.timeout)
        found = bytes.fromhex((rows[0][0] or b"").decode()) if rows else b""
        if found not in (new, old):
            raise Conflict("the note of where this state moved to was changed by others", keys=[MOVED])
        put = f"INSERT INTO {s}.entry (key, rev, value) VALUES ('{MOVED}', {fresh}, '\\x{new.hex()}');"
        link.script(
            f"DELETE FROM {s}.entry WHERE key = '{MOVED}'; {put if new else ''}"
            f"{set_rule(place.names, 'moved', '', new)}",
            place.timeout,
        )
        link.script("COMMIT", place.timeout)
    except Refused as refused:
        raise translated(refused, place.where, committing=True) from refused
    finally:
        link.close()


@contextmanager
def snapshot(place: Place, namespace: str) -> Iterator[Reader]:
    """See Traits. A schema that nothing was ever stored in has no entries."""
    link = place.connect(False)
    try:
        yield PostgresReader(place, namespace, link if _began_reading(place, link) else None)
    finally:
        link.close()


@contextmanager
def bulk(place: Place, namespace: str, max_value: int) -> Iterator[Bulk]:
    """See Traits. Raises Busy when others keep it out for longer than there is patience."""
    writing = place.connect(True)
    before: Link | None = None
    try:
        fresh = _begin_writing(place, namespace, writing)
        _obey(place, namespace, writing)
        before = place.connect(False)
        _began_reading(place, before)
        change = PostgresBulk(place, namespace, before, writing, max_value, fresh)
        yield change
        change.settle()
        _commit(place, namespace, writing)
    finally:
        writing.close()
        if before is not None:
            before.close()


def _began_reading(place: Place, link: Link) -> bool:
    """Fix the moment; whether there is anything to read."""
    try:
        link.script(f"{_READ}; SELECT FROM {place.names.quoted}.entry LIMIT 1", place.timeout)
    except Refused as refused:
        if refused.state in NOT_MADE:
            return False
        raise translated(refused, place.where) from refused
    return True


def _begin_writing(place: Place, namespace: str, link: Link) -> int:
    """Take the lock of the namespace ("": of the store) alone, within the patience; the change's Rev."""
    end = time.monotonic() + place.patience
    name = place.names.schema
    locks = f"SELECT pg_advisory_xact_lock({lock_id(name)})"
    if namespace:
        locks = (
            f"SELECT pg_advisory_xact_lock_shared({lock_id(name)}); "
            f"SELECT pg_advisory_xact_lock({lock_id(name, namespace)})"
        )
    while True:
        wait = max(1, min(round((end - time.monotonic()) * 1000), round(place.timeout * 500)))
        try:
            link.script(f"{_WRITE.format(wait=wait)}; {locks}", place.timeout)
            ((fresh,),) = link.ask(f"SELECT {place.names.quoted}.fresh()", place.timeout)
        except Refused as refused:
            if refused.state not in AGAIN or time.monotonic() >= end:
                raise translated(refused, place.where) from refused
            link.script("ROLLBACK", place.timeout)
            continue
        if fresh is None:
            raise Bug("a sequence without a value")
        return int(fresh)


def _obey(place: Place, namespace: str, link: Link) -> None:
    """What deletes only would not meet the rules else. Raises Moved."""
    try:
        link.ask(f"SELECT {place.names.quoted}.obey('{namespace}', '{{}}', '{{}}', '{{}}')", place.timeout)
    except Refused as refused:
        raise translated(refused, place.where) from refused


def _commit(place: Place, namespace: str, link: Link) -> None:
    rings = (
        f"SELECT pg_notify('{place.names.channel}', '') WHERE EXISTS (SELECT FROM {place.names.quoted}.rule "
        f"WHERE kind = 'watch' AND scope IN ('', '{namespace}'))"
    )
    try:
        link.script(rings, place.timeout)
    except Refused as refused:
        raise translated(refused, place.where) from refused
    try:
        link.script("COMMIT", SLOW * place.timeout)
    except Refused as refused:
        raise translated(refused, place.where, committing=True) from refused
