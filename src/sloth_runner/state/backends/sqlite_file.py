"""Why: opening a database file is where most can be wrong: version, form, owner, file system, damage.

Entries stand in a table with a rowid. Without one, SQLite keeps values in the tree of their keys, where who looks for
a key reads whole each value that it passes (https://www.sqlite.org/withoutrowid.html): kept contents of a megabyte.
Files made in that form before go on in it; each statement means the same in both.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import apsw

from sloth_runner.errors import (
    FILES_LACK,
    MORE_FILES,
    Busy,
    Corrupt,
    Foreign,
    Indeterminate,
    KeyWrong,
    SlothError,
    StoreDown,
    lacks_files,
)
from sloth_runner.folders import make_private
from sloth_runner.plain import NamedTuple
from sloth_runner.room import require_files
from sloth_runner.state.backends.sqlite_log import CHECKPOINT
from sloth_runner.state.layout import SEP
from sloth_runner.state.store import ABSENT, Change, Rev

APPLICATION = 0x510C4001
FORMAT = 1
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs", "davfs"}
)

_REPLACE = "UPDATE entry SET rev = rev + 1, value = ? WHERE key = ? AND rev = ? AND lease_boot IS NULL"
_ADD = "INSERT OR IGNORE INTO entry (key, rev, value) VALUES (?, ?, ?)"
SCHEMA = """
CREATE TABLE entry (
  key TEXT PRIMARY KEY NOT NULL, rev INTEGER NOT NULL, value BLOB NOT NULL, lease_boot TEXT, lease_until REAL
);
CREATE INDEX entry_lease ON entry (lease_until) WHERE lease_until IS NOT NULL;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('rev', 0);
CREATE VIEW state_keys AS
  SELECT substr(key, 3) AS key, r ->> 'n' AS revision,
         CASE WHEN r IS NULL THEN '(sealed)' WHEN r ->> 's' = 1 THEN '(sensitive)' WHEN r ->> 'b' THEN '(long)'
              ELSE r -> 'v' END AS value,
         datetime(r ->> 't', 'unixepoch') AS time, r ->> 'u' AS user, r ->> 'm' AS host,
         r ->> 'r' AS run, r ->> 'k' AS task, datetime(r ->> 'x', 'unixepoch') AS expires
  FROM (SELECT key, CASE WHEN substr(value, 1, 1) <> x'ff' THEN CAST(value AS TEXT) END AS r FROM entry
        WHERE key >= 'k' || char(31) AND key < 'k' || char(32))
  WHERE r IS NULL OR r -> 'v' IS NOT NULL OR r ->> 'b' IS NOT NULL;
CREATE VIEW state_history AS
  SELECT substr(key, 3, length(key) - 15) AS key, CAST(substr(key, -12) AS INTEGER) AS revision,
         r ->> 'o' AS operation,
         CASE WHEN r IS NULL THEN '(sealed)' WHEN r ->> 's' = 1 THEN '(sensitive)' WHEN r ->> 'b' THEN '(long)'
              ELSE r -> 'v' END AS value,
         datetime(r ->> 't', 'unixepoch') AS time, r ->> 'u' AS user, r ->> 'm' AS host,
         r ->> 'r' AS run, r ->> 'k' AS task
  FROM (SELECT key, CASE WHEN substr(value, 1, 1) <> x'ff' THEN CAST(value AS TEXT) END AS r FROM entry
        WHERE key >= 'h' || char(31) AND key < 'h' || char(32));
"""


class File(NamedTuple):
    """An open file. ``execute`` is that of a cursor which is kept, for statements that are over at once: to make one
    for each is a quarter of their cost."""

    connection: apsw.Connection
    execute: Callable[..., apsw.Cursor]

    def put(self, change: Change, high: Rev) -> Rev:
        """Put with the expectation folded into the statement; the new Rev, or ABSENT: another form is needed, or the
        expectation does not hold."""
        key, value, expect, lease = change
        if value is None or lease is not None or expect < 0:
            return ABSENT
        name = key.partition(SEP)[2]
        if expect == ABSENT:
            self.execute(_ADD, (name, high + 1, value))
        else:
            self.execute(_REPLACE, (value, name, expect))
        return (expect or high) + 1 if self.connection.changes() else ABSENT


def make_folder(folder: Path) -> None:
    """Make the state's folder, 0700, if it is not there; and so those above it that are missing."""
    try:
        make_private(folder)
    except OSError as error:
        raise unreachable(folder, error) from error


def size_of(path: Path) -> int | None:
    """Bytes of a file; None if there is none. A folder that can't be looked into is not an empty one: StoreDown."""
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreachable(path, error) from error


def open_file(path: Path, patience: float, *, create: bool) -> apsw.Connection:
    """Open (or make) one database file and prove that it is ours, sound, private and durable.

    Raises StoreDown, Busy, Corrupt, Foreign. A file that is refused is not touched.
    """
    _check_library()
    if create:
        make_folder(path.parent)
    _check_place(path)
    if create:
        _make_private(path)
    flags = (
        apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW | (apsw.SQLITE_OPEN_CREATE if create else 0)
    )
    try:
        file = apsw.Connection(str(path), flags=flags, statementcachesize=32)
    except apsw.Error as error:
        raise translated(error, path) from error
    try:
        file.set_busy_timeout(int(patience * 1000))
        _recognise(file, path)
        _make_durable(file, path)
    except BaseException as error:
        file.close()
        if isinstance(error, apsw.Error):
            raise translated(error, path) from error
        raise
    return file


def translated(error: apsw.Error, path: Path, *, committing: bool = False) -> SlothError:
    """The project's error for SQLite's. ``committing``: it came from COMMIT, so the outcome may be unknown."""
    system = f"{type(error).__name__}: {error}"
    if isinstance(error, apsw.ConstraintError):
        from sloth_runner.state.backends.sqlite_moved import refused

        moved = refused(error)
        if moved is not None:
            return moved
    if isinstance(error, apsw.ConstraintError) and "is sealed" in str(error):
        return KeyWrong(
            f"the state in {path} was sealed while this program used it, and takes no plaintext any more",
            unchanged=["nothing was changed"],
            next=["start it again with [state.encryption] configured"],
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Busy(
            f"the database {path} is locked by another program and was not free in time",
            system=system,
            unchanged=["nothing was changed"],
            next=["close other programs that have it open (a database shell?) and try again"],
        )
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Corrupt(
            f"the file {path} is damaged or no database",
            system=system,
            unchanged=["nothing was changed"],
            next=["keep a copy of it, then restore it from a backup"],
        )
    if isinstance(error, apsw.FullError) or (not committing and _is_full(error, path.parent)):
        return StoreDown(
            f"the disk that holds {path} is full",
            system=system,
            unchanged=["nothing was changed"],
            next=["make room and try again"],
        )
    if committing and isinstance(error, apsw.IOError):
        return Indeterminate(
            f"the disk did not confirm a write to {path}: it may or may not be there",
            system=system,
            next=["check the disk, then see what is there: sloth-runner state show KEY"],
        )
    return unreachable(path, error)


FILES = 3
"""Files that a connection has open: the database, its log, and the index of that."""


def _is_full(error: apsw.Error, folder: Path) -> bool:
    """Whether a failure to read, write or open has no better reason than that no byte is free. (A log or its
    shared memory that can't be made longer is reported like a broken disk.)"""
    if not isinstance(error, apsw.IOError | apsw.CantOpenError):
        return False
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False


def unreachable(path: Path, error: Exception) -> StoreDown:
    """The state can't be read or written at all."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    step = "check owner and mode of the folder, and whether its file system is mounted read-only"
    if isinstance(error, NotADirectoryError | FileExistsError):
        step = "a file stands where a folder is needed: move it away, or choose another SLOTH_RUNNER_HOME"
    elif _lacks_files(error):
        why, step = FILES_LACK, MORE_FILES
    return StoreDown(
        f"the state in {path} can't be used: {why}",
        system=f"{type(error).__name__}: {error}",
        unchanged=["nothing was changed"],
        next=[step],
    )


def _lacks_files(error: Exception) -> bool:
    """Whether that is since no more files may be open; SQLite, which needs several, doesn't say."""
    if isinstance(error, apsw.CantOpenError):
        try:
            require_files(FILES)
        except OSError as failure:
            return lacks_files(failure)
    return lacks_files(error)


def on_network(folder: Path, kind: str) -> StoreDown:
    """SQLite's locks, and the shared memory of WAL, need one machine and its own disk."""
    return StoreDown(
        f"{folder} is on a network file system ({kind}), where SQLite's locks can't be trusted",
        unchanged=["nothing was written"],
        next=["put SLOTH_RUNNER_HOME on a local disk"],
    )


def library_version() -> str:
    """The version of SQLite that is used (apsw brings its own)."""
    return apsw.sqlite_lib_version()


def driver_version() -> str:
    """The version of apsw."""
    return apsw.apsw_version()


def _check_library() -> None:
    """SQLite 3.7.0 to 3.51.2 can corrupt a WAL that two connections reset (fixed there and in two older lines)."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if not fixed:
        raise StoreDown(
            f"this SQLite ({apsw.sqlite_lib_version()}) can corrupt databases; 3.51.3 or later is needed",
            unchanged=["nothing was read or written"],
            next=["pip install --upgrade apsw"],
        )


def _check_place(path: Path) -> None:
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        kind = _file_system(path.parent)
        if kind in NETWORK:
            raise on_network(path.parent, kind) from None
        return
    except OSError as error:
        raise unreachable(path, error) from error
    if not stat.S_ISREG(info.st_mode):
        raise Foreign(f"{path} is no regular file", unchanged=["nothing was read or written"])
    if info.st_mode & 0o077 and info.st_uid == os.geteuid():
        try:
            path.chmod(0o600)
        except OSError as error:
            raise unreachable(path, error) from error


def _make_private(path: Path) -> None:
    """Make the file, empty and 0600, before SQLite does: its side files take their mode from it. Never done to a
    file that exists: closing it again would drop SQLite's locks in this process."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise unreachable(path, error) from error


def _file_system(folder: Path) -> str:
    """The kind of file system ``folder`` is on, by the longest mount point above it; "" where unknown."""
    best, kind = "", ""
    real = os.path.realpath(folder)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                left, _, right = line.partition(" - ")
                point = left.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
                above = real == point or real.startswith(point.rstrip("/") + "/")
                if above and len(point) >= len(best):
                    best, kind = point, right.split()[0]
    except OSError:
        return ""
    return kind


def _recognise(file: apsw.Connection, path: Path) -> None:
    if file.pragma("application_id") == APPLICATION and file.pragma("user_version") == FORMAT:
        return
    # Somebody else may be making it just now: only what one snapshot says belongs together.
    file.execute("BEGIN")
    application = file.pragma("application_id")
    version = file.pragma("user_version")
    tables = file.execute("SELECT count(*) FROM sqlite_master").get
    file.execute("COMMIT")
    if application == APPLICATION and version == FORMAT:
        return
    if application == APPLICATION and version != 0:
        raise Foreign(
            f"{path} has format {version}; this version of sloth-runner reads format {FORMAT}",
            unchanged=["nothing was read or written"],
            next=["use the version of sloth-runner that wrote it, or a newer one"],
        )
    if application != 0 or tables:
        raise Foreign(
            f"{path} is a database of another program",
            unchanged=["nothing was read or written"],
            next=["move it away, or choose another SLOTH_RUNNER_HOME"],
        )
    _create(file)


def _create(file: apsw.Connection) -> None:
    file.pragma("journal_mode", "wal")
    file.execute("BEGIN EXCLUSIVE")
    try:
        if file.pragma("application_id") == 0:
            file.execute(SCHEMA)
            file.pragma("application_id", APPLICATION)
            file.pragma("user_version", FORMAT)
        file.execute("COMMIT")
    finally:
        if file.in_transaction:
            file.execute("ROLLBACK")


def _make_durable(file: apsw.Connection, path: Path) -> None:
    file.execute("PRAGMA synchronous = FULL")
    file.wal_autocheckpoint(CHECKPOINT)
    mode = file.pragma("journal_mode")
    level = file.pragma("synchronous")
    if mode != "wal" or level != 2:
        raise StoreDown(
            f"{path} can't be written safely (journal mode {mode}, synchronous {level})",
            unchanged=["nothing was changed"],
            next=["close other programs that have it open"],
        )
