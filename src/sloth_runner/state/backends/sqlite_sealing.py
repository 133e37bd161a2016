"""Why: encryption asks two things of a database file: that it take no plaintext, and that it keep no traces."""

from __future__ import annotations

from pathlib import Path

import apsw

from sloth_runner.errors import Busy

REFUSED = "this state is sealed, and takes no plaintext: configure [state.encryption]"


def guard(file: apsw.Connection, mark: bytes) -> None:
    """Refuse values that don't begin with ``mark`` (b"": take any), from every connection of every process."""
    file.execute("BEGIN IMMEDIATE")
    try:
        set_guard(file, mark)
        file.execute("COMMIT")
    finally:
        if file.in_transaction:
            file.execute("ROLLBACK")


def set_guard(file: apsw.Connection, mark: bytes) -> None:
    """The same as a part of the transaction that is under way."""
    begun = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    for event in ("insert", "update"):
        if f"sealed_{event}" in begun:
            file.execute(f"DROP TRIGGER sealed_{event}")
        if mark:
            file.execute(
                f"CREATE TRIGGER sealed_{event} BEFORE {event} ON entry "
                f"WHEN substr(NEW.value, 1, {len(mark)}) <> x'{mark.hex()}' "
                f"AND NEW.key <> 'm' || char(31) || 'seal' BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END"
            )


def scrub(file: apsw.Connection, path: Path) -> None:
    """Write the file anew without its free pages, and empty its write-ahead log. Raises Busy."""
    file.execute("VACUUM")
    busy, _, _ = next(iter(file.execute("PRAGMA wal_checkpoint(TRUNCATE)")))
    if busy:
        raise Busy(
            f"another program reads {path}: traces of earlier values are still in its write-ahead log",
            changed=["all records are as they should be; only the traces are left"],
            next=["end that program, then run the same command again"],
        )
