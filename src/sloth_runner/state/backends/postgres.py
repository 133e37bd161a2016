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
from contextlib import AbstractContextManager

from sloth_runner.errors import Conflict, Foreign, StoreDown, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.backends import postgres_schema as schema
from sloth_runner.state.backends.postgres_bulk import entries
from sloth_runner.state.backends.postgres_commit import int8s, packed
from sloth_runner.state.backends.postgres_errors import AGAIN, ALREADY, NOT_MADE, Refused, Said, translated
from sloth_runner.state.backends.postgres_link import (
    BOOL_ARRAY,
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
from sloth_runner.state.layout import SEP, SHARED, STORE, check_agent_name, namespace_of
from sloth_runner.state.store import (
    Bulk,
    Change,
    Check,
    Doorbell,
    Entry,
    Proof,
    Reader,
    Rev,
    Traits,
    beyond,
    check_commit,
)

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from sloth_runner.state.backends import Options
    from sloth_runner.state.backends.postgres_bulk import Place

MAX_CHANGES: Final = 10_000
MAX_VALUE: Final = 16 << 20
MAX_BYTES: Final = 256 << 20
"""Bytes of one commit: it travels as one row, and PostgreSQL has no room for one of a gigabyte."""
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
        self._by_hand = False
        self._pid = os.getpid()
        self.traits = Traits(
            embedded=False,
            concurrency=CONCURRENCY,
            max_changes=MAX_CHANGES,
            max_value=MAX_VALUE,
            max_bytes=MAX_BYTES,
            snapshot=self._snapshot,
            bulk=self._bulk,
            guard=self._guard,
            retire=self._retire,
            watch=self._watch,
            probe=self._probe,
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
        if "\0" in prefix:
            return iter(())
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
            params.append(schema.bound(after, reverse=reverse))
        if limit is not None:
            params.append(b"%d" % limit)
        found = self._read(statement, params)
        return iter(()) if found is None else entries(found)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        if not changes:
            return []
        namespace, _ = check_commit(changes, self.traits)
        size = sum([len(c.key) + len(c.value or b"") for c in changes if isinstance(c, Change)])
        if size > MAX_BYTES:
            raise TooLarge(
                f"a commit of {size:,} bytes; this store takes {MAX_BYTES:,}",
                unchanged=["nothing was stored"],
            )
        params = packed(self._names.schema, namespace, changes)
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
                return int8s(self._call(link, params).get_value(0, 0) or b"")
            except Refused as refused:
                if refused.state == schema.WRONG_ISOLATION and not self._by_hand:
                    self._by_hand = True
                    continue
                if refused.state not in AGAIN or time.monotonic() >= end:
                    raise translated(refused, self._target.where, committing=True) from refused

    def _call(self, link: Link, params: Sequence[Param]) -> PGresult:
        """The function, in a transaction of its own; begun ``by hand`` where the server's default is not ours."""
        if not self._by_hand:
            return link.run(self._commit, params, self._timeout)
        link.script("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", self._timeout)
        try:
            found = link.run(self._commit, params, self._timeout)
        except Refused as refused:
            if refused.lost:
                raise Refused(None, str(refused)) from refused  # no COMMIT was sent
            link.script("ROLLBACK", self._timeout)
            raise
        link.script("COMMIT", self._timeout)
        return found

    def namespaces(self) -> list[str]:
        """The namespaces that have entries, in order: one look at the index for each."""
        sql = schema.namespaces_sql(self._names.quoted)
        found = self._read(Statement(sql), [])
        return (
            []
            if found is None
            else [(found.get_value(row, 0) or b"").decode() for row in range(found.ntuples)]
        )

    def _snapshot(self, namespace: str) -> AbstractContextManager[Reader]:
        from sloth_runner.state.backends.postgres_bulk import snapshot

        return snapshot(self._place(namespace), namespace)

    def _bulk(self, namespace: str) -> AbstractContextManager[Bulk]:
        from sloth_runner.state.backends.postgres_bulk import bulk

        return bulk(self._place(namespace), namespace, MAX_VALUE)

    def _guard(self, namespace: str, mark: bytes) -> None:
        from sloth_runner.state.backends.postgres_bulk import rule

        rule(self._place(namespace), "guard", namespace, mark)

    def _retire(self, new: bytes, old: bytes) -> None:
        from sloth_runner.state.backends.postgres_bulk import retire

        retire(self._place(STORE), new, old)

    def _place(self, namespace: str) -> Place:
        from sloth_runner.state.backends.postgres_bulk import Place

        if namespace not in (SHARED, STORE):
            check_agent_name(namespace)  # it becomes a part of SQL
        return Place(self._names, self._target.where, self._fresh, self._timeout, self._patience)

    def _watch(self, prefix: str) -> AbstractContextManager[Doorbell]:
        from sloth_runner.state.backends.postgres_watch import watch

        if SEP in prefix:
            self._place(namespace_of(prefix))
        return watch(self._names, self._target.where, prefix, lambda: self._fresh(True), self._timeout)

    def _probe(self) -> list[Proof]:
        from sloth_runner.state.backends.postgres_probe import probe

        def another() -> PostgresStore:
            return PostgresStore(self._target, self._timeout, self._patience)

        def ask(sql: str) -> tuple[str, ...]:
            try:
                (row,) = self._linked().ask(sql, self._timeout)
            except Refused as refused:
                raise translated(refused, self._target.where) from refused
            return tuple((value or b"").decode() for value in row)

        return list(probe(self, another, ask))

    def _fresh(self, writing: bool) -> Link:
        """Another connection; ``writing``: to tables that are there."""
        link = self._connect()
        try:
            if writing and not link.ready:
                link.ready = self._make(link)
        except BaseException:
            link.close()
            raise
        return link

    def _linked(self, *, writing: bool = False) -> Link:
        """A connection behind which our tables are (``writing``), or may be. Raises StoreDown, Foreign."""
        if self._pid != os.getpid():
            raise StoreDown("a store can't be used in a forked process: open it there anew")
        link = self._link
        if link is not None and (link.broken or (writing and not link.quiet())):
            link.close()
            link = self._link = None
        if link is None:
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
        asked += "AND relname IN ('entry', 'meta', 'rev', 'rule')"
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
            make = names.make.replace("TIMELINE", self._timeline(link))
            link.script(first + ("" if there == b"t" else names.new_schema) + make, self._timeout)
        except Refused as refused:
            if refused.state not in ALREADY:
                raise translated(refused, self._target.where) from refused
        return self._look(link)

    def _timeline(self, link: Link) -> str:
        """How Revs are kept from returning after a promotion that lost commits, as far as this server can."""
        try:
            link.ask(f"SELECT {schema.TIMELINE}", self._timeout)
        except Refused as refused:
            if refused.lost:
                raise
            return "1::bigint"
        return schema.TIMELINE


def _foreign(where: str, name: str, why: str) -> Foreign:
    return Foreign(
        f"{where}: the schema {name!r} {why}; this version writes format {schema.FORMAT}",
        unchanged=["nothing was read or written"],
        next=[
            "use the version of sloth-runner that made it",
            "or name another schema in the URL: ?schema=NAME",
        ],
    )


def open_store(url: str, options: Options) -> PostgresStore:
    """See backends. Raises BadConfig."""
    try:
        import psycopg  # noqa: F401 - whether it is there
    except ImportError as error:
        from sloth_runner.state.backends import needs

        raise needs("postgres", error) from None
    return PostgresStore(target(url, options), options.timeout, options.patience)
