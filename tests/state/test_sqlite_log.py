"""Whoever commits again and again makes the log longer beforehand, nobody else does, and no reader minds."""

from __future__ import annotations

import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.state.backends import sqlite_log
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.store import ABSENT, Change

FRAME = 24 + 4096


def put(store: SQLiteStore, first: int, count: int, size: int = 100) -> None:
    """Commits of one entry each."""
    for number in range(first, first + count):
        store.commit([Change(f"local\x1fk\x1fkey{number:05d}", b"v" * size, ABSENT)])


def written(log: Path) -> int:
    """The frames in a log."""
    data = log.read_bytes()
    return sum(any(data[at : at + 24]) for at in range(32, len(data), FRAME))


@settings(max_examples=30)
@given(st.integers(1, 24), st.integers(1, 20_000))
def test_a_log_with_room_is_read_like_any(count: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        store = SQLiteStore(folder / "state")
        put(store, 0, count, size)
        log = folder / "state" / "local.db-wal"
        room = log.stat().st_size - 32 - FRAME * written(log)
        assert room % FRAME == 0
        assert room == 0 or count >= sqlite_log.EVERY
        assert room > 0 or count % sqlite_log.EVERY or log.stat().st_size >= sqlite_log.MOST
        # As a machine leaves it that is switched off: SQLite has to find the log's end by itself.
        (folder / "crashed").mkdir()
        for name in ("local.db", "local.db-wal"):
            shutil.copy(folder / "state" / name, folder / "crashed" / name)
        store.close()
        again = SQLiteStore(folder / "crashed")
        assert again.integrity("local") == []
        assert sum(1 for _ in again.scan("local\x1fk\x1f")) == count
        put(again, count, count, size)
        again.close()
        assert not (folder / "crashed" / "local.db-wal").exists()


def test_few_commits_leave_the_log_as_long_as_it_is(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    put(store, 0, sqlite_log.EVERY - 1)
    log = tmp_path / "local.db-wal"
    assert log.stat().st_size == 32 + FRAME * written(log)
    store.close()


def test_a_log_is_seldom_made_longer_by_a_commit_and_ends_where_it_is_begun_anew(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    log = tmp_path / "local.db-wal"
    put(store, 0, sqlite_log.EVERY)
    sizes = []
    for number in range(600):
        put(store, 1000 + number, 1, 1500)
        sizes.append(log.stat().st_size)
    assert max(sizes) <= sqlite_log.MOST
    changes = [now - before for before, now in pairwise(sizes) if now != before]
    assert all(change >= 64 * FRAME for change in changes[:-1])  # all of it is room, and none a commit's
    store.close()


def test_several_that_write_make_no_more_room_than_one(tmp_path: Path) -> None:
    stores = [SQLiteStore(tmp_path) for _ in range(6)]
    for turn in range(sqlite_log.EVERY):
        for number, store in enumerate(stores):
            put(store, 100 * number + turn, 1)
    log = tmp_path / "local.db-wal"
    assert log.stat().st_size <= 32 + 2 * FRAME * (written(log) + 32)
    for store in stores:
        store.close()


def test_room_is_never_made_over_what_others_wrote_meanwhile(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path)
    put(store, 0, 3)
    log = os.open(tmp_path / "local.db-wal", sqlite_log.FLAGS)
    end = os.fstat(log).st_size
    shell = apsw.Connection(str(tmp_path / "local.db"))
    shell.execute("INSERT INTO entry (key, rev, value) VALUES ('shell', 1, zeroblob(50000))")
    assert os.fstat(log).st_size > end
    os.write(log, bytes(64 * FRAME))
    os.close(log)
    assert SQLiteStore(tmp_path).integrity("local") == []
    put(store, 3, 100)
    shell.close()
    store.close()
    again = SQLiteStore(tmp_path)
    assert again.integrity("local") == []
    assert sum(1 for _ in again.scan("local\x1fk\x1f")) == 103
    again.close()
