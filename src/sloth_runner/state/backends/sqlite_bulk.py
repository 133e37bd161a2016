"""Why: a million keys go out of one file, or into it, as one: read as of one moment, written whole or not at all.

Both use connections of their own. A snapshot is a read transaction: while it is open the write-ahead log can't be
emptied, so its user doesn't linger. A bulk change is one write transaction in the namespace's turn: it stands in the
log alone until its last frame, the commit, so a process killed before that has changed nothing. Only where there is
no file yet, and so no handle on it, is one made aside and linked into its place, which halves what is written.
Rows are handed to SQLite by the thousand (``carray``), which costs a fifth of binding each and, since no Python is
asked meanwhile, goes on in a thread while the next thousand are got ready.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import apsw

from sloth_runner.errors import Conflict, StoreDown, TooLarge
from sloth_runner.state.backends import sqlite_file
from sloth_runner.state.backends.bootclock import LeaseClock
from sloth_runner.state.layout import SEP
from sloth_runner.state.store import Bulk, Entry, Reader, as_entry, beyond

CACHE = 48 << 10
"""KiB of pages a bulk change keeps before it writes them to the log; without it full pages are written again."""
MAX_VALUE = 16 << 20
ASIDE = ".part"

_COLUMNS = "key, rev, value, lease_boot, lease_until"
_ENTRY = (
    "SELECT ?1 || key, value, rev FROM entry "
    "WHERE (lease_until IS NULL OR (lease_boot = ?2 AND lease_until > ?3))"
)
_HIGH = "SELECT value FROM meta WHERE name = 'rev'"
_RAISE = "UPDATE meta SET value = max(value, ?) WHERE name = 'rev'"
# A row is key, NUL, value: a key holds no NUL, and carray has one column.
_PUT = (
    f"INSERT INTO entry ({_COLUMNS}) "  # noqa: S608 - fixed parts
    "SELECT CAST(substr(value, 1, instr(value, x'00') - 1) AS TEXT), ?2, substr(value, instr(value, x'00') + 1), "
    "NULL, NULL FROM carray(?1) WHERE true "
    "ON CONFLICT (key) DO UPDATE SET rev = entry.rev + 1, value = excluded.value, lease_boot = NULL, "
    "lease_until = NULL"
)
_DELETE = "DELETE FROM entry WHERE key = ? RETURNING rev"


class SQLiteReader:
    """One namespace through one connection, in one transaction; a connection that is None has no entries."""

    def __init__(self, namespace: str, path: Path, file: apsw.Connection | None, clock: LeaseClock) -> None:
        self._start = namespace + SEP
        self._path = path
        self._file = file
        self._clock = clock

    def get(self, key: str) -> Entry | None:
        """See Store."""
        if self._file is None or not key.startswith(self._start):
            return None
        return next(self._entries("AND key = ?4", key[len(self._start) :]), None)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store, of this namespace: ``prefix`` names it; rows are read as they are asked for."""
        start = self._start
        if self._file is None or not prefix.startswith(start):
            return iter(())
        inside = prefix[len(start) :]
        where, bindings = "AND key >= ?4", [inside]
        if inside:
            where += " AND key < ?5"
            bindings.append(beyond(inside))
        if after:
            where += f" AND key {'<' if reverse else '>'} ?{len(bindings) + 4}"
            bindings.append(after[len(start) :])
        where += f" ORDER BY key{' DESC' if reverse else ''}{'' if limit is None else f' LIMIT {int(limit)}'}"
        return self._entries(where, *bindings)

    def _entries(self, where: str, *bindings: str) -> Iterator[Entry]:
        assert self._file is not None
        clock = self._clock
        try:
            found = self._file.execute(f"{_ENTRY} {where}", (self._start, clock.boot, clock.now(), *bindings))
            yield from map(as_entry, found)
        except apsw.Error as error:
            raise sqlite_file.translated(error, self._path) from error


class SQLiteBulk(SQLiteReader):
    """See Bulk: reads by one connection, which sees what was there before, writes by another."""

    def __init__(
        self,
        namespace: str,
        path: Path,
        before: apsw.Connection | None,
        writing: apsw.Connection,
        clock: LeaseClock,
    ) -> None:
        super().__init__(namespace, path, before, clock)
        self._writing = writing
        self._thread = ThreadPoolExecutor(1, "bulk")
        self._running: Future[None] | None = None
        self._next = int(writing.execute(_HIGH).get) + 1
        self._gone = 0
        self._guard: bytes | None = None

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """See Bulk."""
        if not rows:
            return
        skip = len(self._start)
        packed = tuple([b"%b\0%b" % (key[skip:].encode(), value) for key, value in rows])
        if max(map(len, packed)) > MAX_VALUE:
            _check_values(rows)
        self._settle()
        self._running = self._thread.submit(self._put, packed)

    def delete(self, keys: Sequence[str]) -> None:
        """See Bulk."""
        self._settle()
        for key in keys:
            for (rev,) in self._run(_DELETE, (key[len(self._start) :],)):
                self._gone = max(self._gone, rev)

    def guard(self, mark: bytes) -> None:
        """See Bulk."""
        self._guard = mark

    def finish(self) -> None:
        """What a commit leaves: no Rev of a deleted entry returns. And the guard, which saw none of this."""
        self._settle()
        if self._gone:
            self._run(_RAISE, (self._gone,))
        if self._guard is not None:
            from sloth_runner.state.backends.sqlite_sealing import set_guard

            try:
                set_guard(self._writing, self._guard)
            except apsw.Error as error:
                raise sqlite_file.translated(error, self._path) from error

    def stop(self) -> None:
        """Let the writing come to rest, whatever became of it."""
        self._thread.shutdown()

    def _settle(self) -> None:
        """Wait for what is being written; its error is ours."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def _put(self, packed: tuple[bytes, ...]) -> None:
        self._run(_PUT, (apsw.carray(packed), self._next))

    def _run(self, sql: str, bindings: tuple[object, ...]) -> apsw.Cursor:
        try:
            return self._writing.execute(sql, bindings)  # type: ignore[arg-type, unused-ignore] # carray's binding
        except apsw.Error as error:
            raise sqlite_file.translated(error, self._path) from error


@contextmanager
def snapshot(namespace: str, path: Path, patience: float, clock: LeaseClock) -> Iterator[Reader]:
    """See Traits. A namespace without a file has no entries, and gets no file."""
    if not sqlite_file.size_of(path):
        yield SQLiteReader(namespace, path, None, clock)
        return
    file = sqlite_file.open_file(path, patience, create=False)
    try:
        _begin_reading(file, path)
        yield SQLiteReader(namespace, path, file, clock)
    finally:
        file.close()


@contextmanager
def bulk(
    namespace: str,
    path: Path,
    patience: float,
    clock: LeaseClock,
    turn: AbstractContextManager[None],
    check: Callable[[], None],
) -> Iterator[Bulk]:
    """See Traits. A namespace that has no file yet gets one that is made aside: what nobody can have open needs no
    log, and appears whole. ``check`` says, in the turn, whether it may be made."""
    with turn:
        if not os.path.lexists(path):
            check()
        for left in path.parent.glob(f".{namespace}~*{ASIDE}*"):
            left.unlink()  # of a process that was killed: nobody else is at it in our turn
        log = path.with_name(f"{path.name}-wal")
        made = _aside if not os.path.lexists(path) and not os.path.lexists(log) else _in_place
        with made(namespace, path, patience, clock) as change:
            yield change


@contextmanager
def _in_place(namespace: str, path: Path, patience: float, clock: LeaseClock) -> Iterator[Bulk]:
    writing = sqlite_file.open_file(path, patience, create=True)
    before = change = None
    try:
        before = sqlite_file.open_file(path, patience, create=False)
        _begin(writing, path)
        _begin_reading(before, path)
        change = SQLiteBulk(namespace, path, before, writing, clock)
        yield change
        change.finish()
        before.close()  # its read transaction would keep the log from being emptied
        _commit(writing, path)
    finally:
        if change is not None:
            change.stop()
        if before is not None:
            before.close()
        if writing.in_transaction:
            writing.execute("ROLLBACK")
        writing.close()


@contextmanager
def _aside(namespace: str, path: Path, patience: float, clock: LeaseClock) -> Iterator[Bulk]:
    """A file beside the place of the real one: made, synced, and then linked there if nothing is there still."""
    sqlite_file.make_folder(path.parent)
    part = path.with_name(f".{namespace}~{os.getpid()}{ASIDE}")
    writing = sqlite_file.open_file(part, patience, create=True)
    change = None
    try:
        _begin(writing, part, logged=False)
        change = SQLiteBulk(namespace, path, None, writing, clock)
        yield change
        change.finish()
        try:
            writing.execute("COMMIT")
            writing.pragma("journal_mode", "wal")
            writing.close()
            _publish(part, path)
        except apsw.Error as error:
            raise sqlite_file.translated(error, path) from error
    finally:
        if change is not None:
            change.stop()
        writing.close()
        part.unlink(missing_ok=True)


def _publish(part: Path, path: Path) -> None:
    try:
        _sync(part, os.O_RDONLY)
        os.link(part, path, follow_symlinks=False)
        _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileExistsError as error:
        raise Conflict(f"{path} was made by another program meanwhile", next=["import again"]) from error
    except OSError as error:
        raise sqlite_file.unreachable(path, error) from error


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy(path: Path, target: Path, patience: float) -> None:
    """Copy the database into ``target``, a new file, 0600, durable when this returns (SQLite's backup API)."""
    source = sqlite_file.open_file(path, patience, create=False)
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        made = apsw.Connection(str(target))
        try:
            with made.backup("main", source, "main") as running:
                running.step()
        finally:
            made.close()
    except OSError as error:
        raise sqlite_file.unreachable(target, error) from error
    except apsw.Error as error:
        raise StoreDown(
            f"the copy {target} can't be made: {error}",
            system=f"{type(error).__name__}: {error}",
            unchanged=["nothing was changed"],
        ) from error
    finally:
        source.close()


def _begin(file: apsw.Connection, path: Path, *, logged: bool = True) -> None:
    try:
        file.pragma("cache_size", -CACHE)
        file.wal_autocheckpoint(0)
        if not logged:
            file.pragma("journal_mode", "off")
            file.pragma("synchronous", "off")
        file.execute("BEGIN IMMEDIATE")
    except apsw.Error as error:
        raise sqlite_file.translated(error, path) from error


def _begin_reading(file: apsw.Connection, path: Path) -> None:
    try:
        file.execute("BEGIN")
        file.execute(_HIGH).get  # noqa: B018 - the first read fixes the moment
    except apsw.Error as error:
        raise sqlite_file.translated(error, path) from error


def _commit(file: apsw.Connection, path: Path) -> None:
    try:
        file.execute("COMMIT")
    except apsw.Error as error:
        raise sqlite_file.translated(error, path, committing=True) from error
    file.set_busy_timeout(0)
    try:
        file.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.Error:
        pass  # others read: the log is emptied by whoever comes later


def _check_values(rows: Sequence[tuple[str, bytes]]) -> None:
    for key, value in rows:
        if len(value) > MAX_VALUE:
            raise TooLarge(
                f"the record {key!r} has {len(value):,} bytes; this store takes {MAX_VALUE:,}",
                unchanged=["nothing was stored"],
            )
