"""Why: PostgreSQL is the database that most teams have already; it replicates and backs up their state with it.

``postgres://USER@HOST:PORT/DATABASE?schema=NAME`` and all parameters of libpq. A get is one round trip, a commit
another: one call of a function in the database, whose text and reasons are in ``postgres_schema``. What a server
promises of durability is asked for in each commit (``synchronous_commit`` at least ``on``); reads and writes are
the primary's only. Where a connection breaks, a read is asked once more, on a new one; a commit that had been sent
is Indeterminate, one that had not is sent on a new one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from struct import pack, unpack_from
from typing import TYPE_CHECKING, Final

from sloth_runner.errors import Conflict, Foreign, StoreDown
from sloth_runner.state.backends import postgres_schema as schema
from sloth_runner.state.backends.postgres_errors import AGAIN, ALREADY, NOT_MADE, Refused, Said, translated
from sloth_runner.state.backends.postgres_link import (
    BOOL_ARRAY,
    BYTEA,
    BYTEA_ARRAY,
    FLOAT8_ARRAY,
    INT2_ARRAY,
    INT4,
    INT8,
    INT8_ARRAY,
    TEXT,
    TEXT_ARRAY,
    Link,
    Param,
    Statement,
)
from sloth_runner.state.backends.postgres_url import Target, target
from sloth_runner.state.layout import SEP
from sloth_runner.state.store import Change, Check, Entry, Rev, Traits, beyond, check_commit

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from sloth_runner.state.backends import Options

MAX_CHANGES: Final = 10_000
MAX_VALUE: Final = 16 << 20
CONCURRENCY: Final = 16
"""Connections that are worth having: commits that flush together share the flush; a server has 100 by default."""


class PostgresStore:
    """The store in one schema. ``timeout``: seconds for a request; ``patience``: for a commit kept out by others."""

    def __init__(self, where: Target, timeout: float, patience: float) -> None:
        self._target = where
        self._timeout = timeout
        self._patience = patience
        self._names = schema.names(where.schema)
        self._get = Statement(self._names.get, TEXT)
        self._commit = Statement(
            self._names.commit,
            *(
                INT4,
                INT8_ARRAY,
                BOOL_ARRAY,
                TEXT,
                TEXT_ARRAY,
                INT2_ARRAY,
                BYTEA_ARRAY,
                INT8_ARRAY,
                FLOAT8_ARRAY,
            ),
        )
        self._scans: dict[tuple[bool, bool, bool, bool], Statement] = {}
        self._link: Link | None = None
        self._pid = os.getpid()
        self.traits = Traits(
            embedded=False, concurrency=CONCURRENCY, max_changes=MAX_CHANGES, max_value=MAX_VALUE
        )

    def get(self, key: str) -> Entry | None:
        """See Store."""
        found = self._read(self._get, [key.encode()])
        if found is None or not found.ntuples:
            return None
        return Entry(key, found.get_value(0, 1) or b"", int.from_bytes(found.get_value(0, 0) or b"", "big"))

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store; a snapshot."""
        shape = (bool(prefix), bool(after), reverse, limit is not None)
        statement = self._scans.get(shape)
        if statement is None:
            sql = schema.scan_sql(self._names.quoted, *shape)
            types = [
                TEXT,
                *([TEXT] if prefix else []),
                *([TEXT] if after else []),
                *([INT8] if shape[3] else []),
            ]
            statement = self._scans[shape] = Statement(sql, *types)
        params = [prefix.encode()]
        if prefix:
            params.append(beyond(prefix).encode())
        if after:
            params.append(after.encode())
        if limit is not None:
            params.append(b"%d" % limit)
        found = self._read(statement, params)
        return iter(()) if found is None else _entries(found)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        if not changes:
            return []
        namespace = check_commit(changes, self.traits)
        params = _packed(self._names.schema, namespace, changes)
        revs = self._write(params)
        if -1 in revs:
            failed = [change.key for change, rev in zip(changes, revs, strict=True) if rev == -1]
            raise Conflict("the store changed meanwhile", keys=failed)
        return revs

    def close(self) -> None:
        """See Store."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _read(self, statement: Statement, params: Sequence[Param]) -> PGresult | None:
        """Ask, once more if the connection was broken; None: nothing was ever stored here."""
        end = time.monotonic() + self._timeout
        again = self._link is not None
        while True:
            try:
                return self._linked().run(statement, params, max(0.0, end - time.monotonic()))
            except Refused as refused:
                link = self._link
                if refused.state in NOT_MADE and link is not None and not link.ready:
                    link.ready = self._look(link)
                    if not link.ready:
                        return None
                    continue  # it was made just now
                if not ((again and refused.lost) or refused.state in AGAIN) or time.monotonic() >= end:
                    raise translated(refused, self._target.where) from refused
                again = again and not refused.lost

    def _write(self, params: list[Param]) -> list[Rev]:
        """Commit, again and again while others are in the way and there is patience."""
        end = time.monotonic() + self._patience
        while True:
            link = self._linked(writing=True)
            wait = max(1, min(round((end - time.monotonic()) * 1000), round(self._timeout * 500)))
            params[0] = b"%d" % wait
            try:
                found = link.run(self._commit, params, self._timeout)
                return _int8s(found.get_value(0, 0) or b"")
            except Refused as refused:
                if refused.state not in AGAIN or time.monotonic() >= end:
                    raise translated(refused, self._target.where, committing=True) from refused

    def _linked(self, *, writing: bool = False) -> Link:
        """A connection behind which our tables are (``writing``), or may be. Raises StoreDown, Foreign."""
        link = self._link
        if link is not None and (link.broken or (writing and not link.quiet())):
            link.close()
            link = self._link = None
        if link is None:
            if self._pid != os.getpid():
                raise StoreDown("a store can't be used in a forked process: open it there anew")
            link = self._link = self._connect()
        if writing and not link.ready:
            link.ready = self._make(link)
        return link

    def _connect(self) -> Link:
        try:
            link = Link(self._target.params)
        except Refused as refused:
            raise translated(refused, self._target.where) from refused
        try:
            link.ready = self._look(link)
        except BaseException:
            link.close()
            raise
        return link

    def _look(self, link: Link, *, sure: bool = False) -> bool:
        """Whether our tables are there. Raises StoreDown: not the primary; Foreign: database or tables not ours."""
        where = self._target.where
        try:
            ((replica, encoding, form),) = link.ask(self._names.look, self._timeout)
        except Refused as refused:
            if refused.state not in NOT_MADE:
                raise translated(refused, where) from refused
            return self._look_closer(link, sure)
        if replica == b"t":
            raise translated(Refused(Said(schema.ON_A_REPLICA, "it is in recovery", False)), where)
        if encoding != b"UTF8":
            raise Foreign(
                f"{where} keeps text as {(encoding or b'').decode()}, and keys need UTF8",
                unchanged=["nothing was read or written"],
                next=["createdb --encoding=UTF8 --template=template0 NAME"],
            )
        if form != str(schema.FORMAT).encode():
            raise _foreign(where, self._names.schema, f"has the format {(form or b'?').decode()}")
        return True

    def _look_closer(self, link: Link, sure: bool) -> bool:
        """What is there in place of our tables: nothing (False), or something else; or ours, made just now."""
        names = self._names
        asked = f"SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace({names.literal}) "
        asked += "AND relname IN ('entry', 'meta', 'rev', 'watcher')"
        try:
            ((count,),) = link.ask(asked, self._timeout)
        except Refused as refused:
            raise translated(refused, self._target.where) from refused
        if count == b"0":
            return False
        if not sure:
            return self._look(link, sure=True)
        raise _foreign(self._target.where, names.schema, "has tables of our names that are not ours")

    def _make(self, link: Link) -> bool:
        """Make schema and tables, if nobody did it meanwhile. Raises StoreDown, Foreign."""
        names = self._names
        try:
            ((there,),) = link.ask(f"SELECT to_regnamespace({names.literal}) IS NOT NULL", self._timeout)
            first = f"SELECT pg_advisory_xact_lock({names.first});"
            link.script(first + ("" if there == b"t" else names.new_schema) + names.make, self._timeout)
        except Refused as refused:
            if refused.state not in ALREADY:
                raise translated(refused, self._target.where) from refused
        return self._look(link)


def _foreign(where: str, name: str, why: str) -> Foreign:
    return Foreign(
        f"{where}: the schema {name!r} {why}; this version writes format {schema.FORMAT}",
        unchanged=["nothing was read or written"],
        next=[
            "use the version of sloth-runner that made it",
            "or name another schema in the URL: ?schema=NAME",
        ],
    )


def _packed(name: str, namespace: str, changes: Sequence[Change | Check]) -> list[Param]:
    """The parameters of ``commit`` but for the first."""
    keys: list[bytes] = []
    values: list[bytes | None] = []
    ops, expects, leases = [], [], []
    for change in changes:
        keys.append(change.key.encode())
        expects.append(str(change.expect))
        if isinstance(change, Check):
            ops.append("0")
            values.append(None)
            leases.append("NULL")
            continue
        ops.append("2" if change.value is None else "1")
        values.append(change.value)
        lease = None if change.value is None else change.lease
        leases.append("NULL" if lease is None else repr(float(min(lease, schema.LONGEST_LEASE))))
    locks = _locks(name, changes)
    return [
        b"",
        _text([str(lock) for lock in locks]),
        _text(["t" if alone else "f" for alone in locks.values()]),
        namespace.encode(),
        _binary(TEXT, keys),
        _text(ops),
        _binary(BYTEA, values),
        _text(expects),
        _text(leases),
    ]


def _locks(name: str, changes: Sequence[Change | Check]) -> dict[int, bool]:
    """The locks that a commit takes, in order, each shared or alone (see ``postgres_schema``)."""
    many = len(changes) > schema.MANY
    spaces = sorted({schema.lock_id(name, change.key.partition(SEP)[0]) for change in changes})
    locks = dict.fromkeys(spaces, many)
    if many:
        return locks
    keys: dict[int, bool] = {}
    for change in changes:
        lock = schema.lock_id(name, change.key, "key")
        keys[lock] = keys.get(lock, False) or isinstance(change, Change)
    for lock in sorted(keys):
        locks[lock] = keys[lock]
    return locks


def _text(items: Sequence[str]) -> bytes:
    """An array of what needs no quoting, in text form."""
    return f"{{{','.join(items)}}}".encode()


def _binary(kind: int, items: Sequence[bytes | None]) -> bytes:
    """An array in binary form: dimensions, whether there are nulls, type, length, first index; then the items."""
    parts = [pack("!iiiii", 1, 1, kind, len(items), 1)]
    for item in items:
        parts.append(pack("!i", -1 if item is None else len(item)))
        if item:
            parts.append(item)
    return b"".join(parts)


def _int8s(data: bytes) -> list[int]:
    """The items of an array of bigint, none of them null."""
    (count,) = unpack_from("!i", data, 12)
    return list(unpack_from("!" + "4xq" * count, data, 20))


def _entries(found: PGresult) -> Iterator[Entry]:
    value = found.get_value
    for row in range(found.ntuples):
        key, rev, data = value(row, 0), value(row, 1), value(row, 2)
        yield Entry((key or b"").decode(), data or b"", int.from_bytes(rev or b"", "big"))


def open_store(url: str, options: Options) -> PostgresStore:
    """See backends. Raises BadConfig."""
    try:
        import psycopg  # noqa: F401 - whether it is there
    except ImportError as error:
        from sloth_runner.state.backends import needs

        raise needs("postgres", error) from None
    return PostgresStore(target(url, options), options.timeout, options.patience)
