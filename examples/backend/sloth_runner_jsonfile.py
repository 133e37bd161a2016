"""Why: an example of a store that another package brings. It keeps everything in one JSON file, for ``jq`` to read.

    [state] store = "jsonfile:///var/lib/sloth/state.json"

It is right before it is fast: each commit reads and writes the whole file, under a lock, and syncs it. Which makes it
good for a few hundred keys on one machine, and for showing what a store has to do.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from sloth_runner.errors import BadConfig, Conflict, Corrupt, StoreDown
from sloth_runner.state.backends import Options
from sloth_runner.state.backends.bootclock import LeaseClock, system_clock
from sloth_runner.state.store import ABSENT, Change, Check, Entry, Rev, Traits, check_commit, holds


class Row(NamedTuple):
    """An entry as it stands in the file: its value in base64, and its lease's end, by a clock of one boot."""

    rev: Rev
    value: str
    boot: str | None = None
    until: float | None = None


Rows = dict[str, Row]


class JsonFile:
    """The store in the file ``path``. Any number of processes of one machine may use it."""

    def __init__(self, path: Path, clock: LeaseClock) -> None:
        self._path = path
        self._clock = clock
        self.traits = Traits(embedded=False, concurrency=4, max_changes=1000, max_value=1 << 20)

    def get(self, key: str) -> Entry | None:
        """See Store. (The file is replaced whole, so that reading takes no lock.)"""
        row = self._read()[1].get(key)
        return None if row is None or self._has_ended(row) else _entry(key, row)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store; a snapshot."""
        rows = {key: row for key, row in self._read()[1].items() if not self._has_ended(row)}
        keys = sorted((key for key in rows if key.startswith(prefix)), reverse=reverse)
        if after:
            keys = [key for key in keys if (key < after if reverse else key > after)]
        return (_entry(key, rows[key]) for key in keys[:limit])

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        check_commit(changes, self.traits)
        with self._turn():
            last, rows = self._read()
            rows = {key: row for key, row in rows.items() if not self._has_ended(row)}
            found = [rows[change.key].rev if change.key in rows else ABSENT for change in changes]
            failed = [c.key for c, rev in zip(changes, found, strict=True) if not holds(c.expect, rev)]
            if failed:
                raise Conflict("the store changed meanwhile", keys=failed)
            out: list[Rev] = []
            for change, rev in zip(changes, found, strict=True):
                if isinstance(change, Check):
                    out.append(rev)
                elif change.value is None:
                    rows.pop(change.key, None)
                    out.append(ABSENT)
                else:
                    last += 1
                    rows[change.key] = self._row(last, change.value, change.lease)
                    out.append(last)
            self._write(last, rows)
        return out

    def close(self) -> None:
        """See Store."""

    def _row(self, rev: Rev, value: bytes, lease: float | None) -> Row:
        text = base64.b64encode(value).decode()
        return (
            Row(rev, text) if lease is None else Row(rev, text, self._clock.boot, self._clock.now() + lease)
        )

    def _has_ended(self, row: Row) -> bool:
        return row.until is not None and (row.boot != self._clock.boot or row.until <= self._clock.now())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise StoreDown(f"{self._path} can't be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> tuple[Rev, Rows]:
        """The last Rev that was given, and all entries."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return 0, {}
        except OSError as error:
            raise StoreDown(f"{self._path} can't be read: {error.strerror}") from error
        try:
            document: dict[str, Any] = json.loads(text)
            return int(document["last"]), {key: Row(*row) for key, row in document["entries"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"{self._path} is not what this store wrote: {error}") from error

    def _write(self, last: Rev, rows: Rows) -> None:
        """Put another file into its place, once that is safely on the disk."""
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            with open(part, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(json.dumps({"last": last, "entries": rows}, indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StoreDown(f"{self._path} can't be written: {error.strerror}") from error


def _entry(key: str, row: Row) -> Entry:
    return Entry(key, base64.b64decode(row.value), row.rev)


def open_store(url: str, options: Options) -> JsonFile:
    """What the entry point names: a handle on the store that ``url`` names. Raises BadConfig."""
    path = unquote(url.partition("://")[2])
    if not path.startswith("/") or path.endswith("/"):
        raise BadConfig(f"a file's whole path is needed: jsonfile:///PATH, not {url!r}")
    return JsonFile(Path(path), system_clock())
