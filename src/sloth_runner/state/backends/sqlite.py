"""Why: by default state is one SQLite file for each namespace, in a folder: nothing to install, nothing to run.

Each commit is one ``BEGIN IMMEDIATE`` transaction, durable when it returns (WAL, synchronous FULL, both read
back at open). Writers of all processes queue by two flocks (``turn``). A commit whose Checks lie in other
namespaces opens write transactions on all files concerned, in name order, and writes in only one: checking one
file first and writing another later lets stale writes through.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import apsw

from sloth_runner.errors import Conflict, SlothError, StoreDown
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.backends import sqlite_file, sqlite_log
from sloth_runner.state.backends.bootclock import LeaseClock, system_clock
from sloth_runner.state.backends.sqlite_range import select
from sloth_runner.state.backends.turn import Together, Turn
from sloth_runner.state.layout import MOVED, SEP, SHARED, STORE, check_agent_name, is_agent_name, namespace_of
from sloth_runner.state.store import (
    ABSENT,
    Bulk,
    Change,
    Check,
    Doorbell,
    Entry,
    Reader,
    Rev,
    Traits,
    check_commit,
    holds,
)

if TYPE_CHECKING:
    from sloth_runner.state.backends import Options

MAX_CHANGES = 10_000
MAX_VALUE = 16 << 20

_GET = "SELECT rev, value, lease_boot, lease_until FROM entry WHERE key = ?"
_REV = "SELECT rev, lease_boot, lease_until FROM entry WHERE key = ?"
_HIGH = "SELECT value FROM meta WHERE name = 'rev'"
_RAISE = "UPDATE meta SET value = max(value, ?) WHERE name = 'rev'"
_PUT = (
    "INSERT INTO entry (key, rev, value, lease_boot, lease_until) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET rev = excluded.rev, value = excluded.value, "
    "lease_boot = excluded.lease_boot, lease_until = excluded.lease_until"
)
_DELETE = "DELETE FROM entry WHERE key = ?"
_SWEEP = (
    "DELETE FROM entry WHERE lease_until IS NOT NULL AND (lease_boot <> ? OR lease_until <= ?) RETURNING rev"
)
_OWN = (SHARED, STORE)


class SQLiteStore:
    """The store in ``folder``. ``patience``: seconds that a commit waits for others, then Busy."""

    def __init__(
        self, folder: Path, *, patience: float = 30.0, lease_clock: LeaseClock | None = None
    ) -> None:
        self.folder = folder
        self._patience = patience
        self._clock = lease_clock
        self._files: dict[str, sqlite_file.File] = {}
        self._turns: dict[str, Turn] = {}
        self._pid = os.getpid()
        self._commits = 0
        self.traits = Traits(
            embedded=True,
            concurrency=1,
            max_changes=MAX_CHANGES,
            max_value=MAX_VALUE,
            exclusive=self._exclusive,
            snapshot=self._snapshot,
            bulk=self._bulk,
            copy=self._copy,
            guard=self._guard,
            scrub=self._scrub,
            watch=self._watch,
            retire=self._retire,
        )

    def get(self, key: str) -> Entry | None:
        """See Store. A namespace without a file has no entries, and gets no file by being read."""
        namespace, _, name = key.partition(SEP)
        file = self._files.get(namespace) or self._existing(namespace)
        if file is None:
            return None
        try:
            row = file.execute(_GET, (name,)).get
        except apsw.Error as error:
            raise self._translated(error, namespace) from error
        if row is None or (row[2] is not None and self._ended(row[2], row[3])):
            return None
        return Entry(key, row[1], row[0])

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store; a snapshot of each namespace."""
        if SEP in prefix:
            names = [namespace_of(prefix)]
        else:
            names = [name for name in self.namespaces() if (name + SEP).startswith(prefix)]
        parts = [self._scan_one(name, prefix, after, limit, reverse) for name in names]
        merged = heapq.merge(*parts, key=lambda e: e.key, reverse=reverse) if len(parts) > 1 else None
        found = merged if merged is not None else iter(parts[0] if parts else ())
        yield from found if limit is None else islice(found, limit)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        if not changes:
            return []
        target, names = check_commit(changes, self.traits)
        if self._pid != os.getpid():
            raise StoreDown("a store can't be used in a forked process: open it there anew")
        made = [] if self._files.keys() >= names else [name for name in names if self._is_missing(name)]
        if not made:
            with self._exclusive(names):
                return self._transact(target, names, changes)
        with self._exclusive({*names, STORE}):
            if made != [STORE]:
                self._refuse_if_moved()
            return self._transact(target, names, changes)

    def close(self) -> None:
        """See Store; the last one to close a file empties its write-ahead log into it."""
        for file in self._files.values():
            file.connection.close()
        for turn in self._turns.values():
            turn.close()
        self._files.clear()
        self._turns.clear()

    def namespaces(self) -> list[str]:
        """The namespaces that have a file, in order."""
        try:
            found = [entry.name[:-3] for entry in os.scandir(self.folder) if entry.name.endswith(".db")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise sqlite_file.unreachable(self.folder, error) from error
        return sorted(name for name in found if name in _OWN or is_agent_name(name))

    def file_bytes(self, namespace: str) -> int:
        """Bytes on disk of a namespace, its write-ahead log included."""
        paths = [self.folder / f"{namespace}{suffix}" for suffix in (".db", ".db-wal")]
        return sum(sqlite_file.size_of(path) or 0 for path in paths)

    def integrity(self, namespace: str) -> list[str]:
        """What SQLite finds wrong in a namespace's file; empty when all is well."""
        file = self._existing(namespace)
        if file is None:
            return []
        try:
            rows = [str(row[0]) for row in file.execute("PRAGMA integrity_check")]
        except apsw.CorruptError as error:
            return [str(error)]
        return [] if rows == ["ok"] else rows

    def _is_missing(self, name: str) -> bool:
        return name not in self._files and not os.path.lexists(self._path(name))

    def _exclusive(self, namespaces: Collection[str]) -> AbstractContextManager[None]:
        if len(namespaces) == 1:
            (name,) = namespaces
            return self._turns.get(name) or self._turn(name)
        return Together([self._turn(name) for name in sorted(set(namespaces))])

    def _turn(self, name: str) -> Turn:
        turn = self._turns.get(name)
        if turn is None:
            self._path(name)  # a bad name never becomes part of a path
            sqlite_file.make_folder(self.folder)
            turn = self._turns[name] = Turn(self.folder / ".locks", name, self._patience)
        return turn

    def _snapshot(self, namespace: str) -> AbstractContextManager[Reader]:
        from sloth_runner.state.backends.sqlite_bulk import snapshot

        return snapshot(namespace, self._path(namespace), self._patience, self._lease_clock())

    def _bulk(self, namespace: str) -> AbstractContextManager[Bulk]:
        from sloth_runner.state.backends.sqlite_bulk import bulk

        path = self._path(namespace)
        turn = self._exclusive([namespace] if os.path.lexists(path) else [namespace, STORE])
        return bulk(namespace, path, self._patience, self._lease_clock(), turn, self._refuse_if_moved)

    def _copy(self, namespace: str, target: Path) -> None:
        from sloth_runner.state.backends.sqlite_bulk import copy

        copy(self._path(namespace), target, self._patience)

    def _guard(self, namespace: str, mark: bytes) -> None:
        from sloth_runner.state.backends.sqlite_sealing import guard

        with self._exclusive([namespace]):
            try:
                guard(self._file(namespace), mark)
            except apsw.Error as error:
                raise self._translated(error, namespace) from error

    def _scrub(self, namespace: str) -> None:
        from sloth_runner.state.backends.sqlite_sealing import scrub

        with self._exclusive([namespace]):
            try:
                file = self._file(namespace)
                scrub(file, self._path(namespace))
            except apsw.Error as error:
                raise self._translated(error, namespace) from error

    def _watch(self, prefix: str) -> AbstractContextManager[Doorbell]:
        from sloth_runner.state.backends.sqlite_watch import watch

        return watch(self.namespaces, self._path, prefix, self._patience)

    def _retire(self, new: bytes, old: bytes) -> None:
        from sloth_runner.state.backends.sqlite_moved import retire

        try:
            retire(self.namespaces, self._exclusive, self._file, new, old)
        except apsw.Error as error:
            raise self._translated(error, STORE) from error

    def _refuse_if_moved(self) -> None:
        """A file that is made has no trigger: who makes one asks whether the state has moved. Raises Moved."""
        entry = self.get(MOVED)
        if entry is not None:
            from sloth_runner.state.moved import refusal

            raise refusal(entry.value)

    def _transact(self, target: str, names: Collection[str], changes: Sequence[Change | Check]) -> list[Rev]:
        begun: list[sqlite_file.File] = []
        committing = False
        try:
            for name in sorted(names) if len(names) > 1 else names:
                file = self._files.get(name) or self._open(name, create=True)
                file.execute("BEGIN IMMEDIATE")
                begun.append(file)
            revs = self._write(target, changes)
            if target:
                self._commits += 1
                if self._commits % sqlite_log.EVERY == 0:
                    sqlite_log.make_room(f"{self.folder}/{target}.db-wal")
                committing = True
                self._files[target].execute("COMMIT")
            return revs
        except apsw.Error as error:
            raise self._translated(error, target or min(names), committing=committing) from error
        finally:
            for file in reversed(begun):
                if file.connection.in_transaction:
                    file.execute("ROLLBACK")

    def _write(self, target: str, changes: Sequence[Change | Check]) -> list[Rev]:
        """Apply the changes. An entry's Rev follows its last one; a new entry's follows the highest that was ever
        deleted, which alone is kept apart: so no Rev returns, and a plain write touches no page but its own.
        No key occurs twice, so what a change finds does not depend on those before it. Raises Conflict."""
        file = self._files[target] if target else None
        high: Rev = ABSENT if file is None else file.execute(_HIGH).get
        gone: Rev = ABSENT
        leased = False
        revs: list[Rev] = []
        failed: list[str] = []
        for change in changes:
            rev = ABSENT
            if file is not None and isinstance(change, Change):
                rev = file.put(change, high)
            if rev == ABSENT:
                found, stored = self._rev(change.key)
                if not holds(change.expect, found):
                    failed.append(change.key)
                    continue
                if isinstance(change, Check):
                    rev = found
                else:
                    rev = self._change(change, stored or high)
                    leased = leased or change.lease is not None
                    gone = max(gone, stored if change.value is None else ABSENT)
            revs.append(rev)
        if failed:
            raise Conflict("the store changed meanwhile", keys=failed)
        if leased:
            gone = max(gone, self._sweep(target))
        if gone > high and file is not None:
            file.execute(_RAISE, (gone,))
        return revs

    def _change(self, change: Change, last: Rev) -> Rev:
        """Put after ``last``, or delete; the new Rev."""
        namespace, _, name = change.key.partition(SEP)
        file = self._files[namespace]
        if change.value is None:
            file.execute(_DELETE, (name,))
            return ABSENT
        boot, until = None, None
        if change.lease is not None:
            clock = self._lease_clock()
            boot, until = clock.boot, clock.now() + change.lease
        file.execute(_PUT, (name, last + 1, change.value, boot, until))
        return last + 1

    def _sweep(self, target: str) -> Rev:
        """Delete what has outlived its lease; the highest Rev among it."""
        clock = self._lease_clock()
        rows = self._files[target].execute(_SWEEP, (clock.boot, clock.now()))
        return max((row[0] for row in rows), default=ABSENT)

    def _rev(self, key: str) -> tuple[Rev, Rev]:
        """The entry's Rev as others see it, and the one that is stored: they differ once its lease has ended."""
        namespace, _, name = key.partition(SEP)
        row = self._files[namespace].execute(_REV, (name,)).get
        if row is None:
            return ABSENT, ABSENT
        return ABSENT if row[1] is not None and self._ended(row[1], row[2]) else row[0], row[0]

    def _scan_one(
        self, namespace: str, prefix: str, after: str, limit: int | None, reverse: bool
    ) -> Iterator[Entry]:
        file, start = self._existing(namespace), namespace + SEP
        wanted = select(namespace, prefix, after, reverse=reverse)
        if file is None or wanted is None:
            return
        try:
            # A snapshot must not hold a read transaction while its reader takes its time: fetched at once,
            # unless it is limited.
            cursor = file.connection.execute(*wanted)
            rows: Iterable[Any] = cursor.fetchall() if limit is None else cursor
            for name, rev, value, boot, until in rows:
                if boot is None or not self._ended(boot, until):
                    yield Entry(start + name, value, rev)
        except apsw.Error as error:
            raise self._translated(error, namespace) from error

    def _lease_clock(self) -> LeaseClock:
        self._clock = self._clock or system_clock()
        return self._clock

    def _ended(self, boot: str, until: float) -> bool:
        clock = self._lease_clock()
        return boot != clock.boot or until <= clock.now()

    def _path(self, namespace: str) -> Path:
        if namespace not in _OWN:
            check_agent_name(namespace)
        return self.folder / f"{namespace}.db"

    def _existing(self, namespace: str) -> sqlite_file.File | None:
        """The open file, opened for reading and writing if it exists; None if there is none."""
        file = self._files.get(namespace)
        if file is not None:
            return file
        path = self._path(namespace)
        return self._open(namespace, create=False) if sqlite_file.size_of(path) else None

    def _file(self, namespace: str) -> apsw.Connection:
        """The open file, made if there is none."""
        return (self._files.get(namespace) or self._open(namespace, create=True)).connection

    def _open(self, namespace: str, *, create: bool) -> sqlite_file.File:
        connection = sqlite_file.open_file(self._path(namespace), self._patience, create=create)
        file = self._files[namespace] = sqlite_file.File(connection, connection.cursor().execute)
        return file

    def _translated(self, error: apsw.Error, namespace: str, *, committing: bool = False) -> SlothError:
        return sqlite_file.translated(error, self._path(namespace), committing=committing)


def open_store(url: str, options: Options) -> SQLiteStore:
    """A handle on the files in ``sqlite:///a/folder``, or in the folder that is the default."""
    folder = url.partition("://")[2]
    return SQLiteStore(Path(folder) if folder else options.folder, patience=options.patience)
