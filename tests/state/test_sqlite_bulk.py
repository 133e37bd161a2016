"""What a snapshot, a bulk change and a copy of a SQLite namespace promise."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from sloth_runner.errors import Busy, Conflict, StoreDown, TooLarge
from sloth_runner.state.backends.sqlite import MAX_VALUE, SQLiteStore
from sloth_runner.state.store import Change


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "state", patience=0.3)


def key(name: str) -> str:
    return f"local\x1fk\x1f{name}"


def rows(store: SQLiteStore) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.scan("local\x1f")}


def change(store: SQLiteStore, puts: dict[str, bytes], gone: tuple[str, ...] = ()) -> None:
    assert store.traits.bulk is not None
    with store.traits.bulk("local") as bulk:
        bulk.put([(key(name), value) for name, value in puts.items()])
        bulk.delete([key(name) for name in gone])


def test_others_wait_for_the_turn(store: SQLiteStore) -> None:
    other = SQLiteStore(store.folder, patience=0.1)
    make = store.traits.bulk
    assert make is not None
    store.commit([Change(key("c"), b"1")])
    with make("local") as bulk:
        bulk.put([(key("a"), b"1")])
        with pytest.raises(Busy):
            other.commit([Change(key("b"), b"1")])
        assert other.get(key("a")) is None
    other.commit([Change(key("b"), b"1")])
    assert set(rows(store)) == {key("a"), key("b"), key("c")}
    other.close()


def test_a_value_that_is_too_long_stops_the_change(store: SQLiteStore) -> None:
    with pytest.raises(TooLarge, match="16,777,216"):
        change(store, {"a": b"1", "b": b"x" * (MAX_VALUE + 1)})
    assert rows(store) == {}
    change(store, {"b": b"x" * MAX_VALUE})


def test_a_first_file_is_made_aside(store: SQLiteStore) -> None:
    left = store.folder / ".local~1.part"
    other = store.folder / ".local.x~1.part"
    make = store.traits.bulk
    assert make is not None
    store.folder.mkdir()
    left.write_bytes(b"of a process that was killed")
    other.write_bytes(b"another namespace's")
    with pytest.raises(ZeroDivisionError), make("local") as bulk:
        bulk.put([(key("a"), b"1")])
        assert not (store.folder / "local.db").exists()
        raise ZeroDivisionError
    assert [path.name for path in store.folder.iterdir() if path.is_file()] == [other.name]
    change(store, {"a": b"1"})
    store.commit([Change(key("b"), b"1")])
    assert set(rows(store)) == {key("a"), key("b")}
    files = {path.name: path.stat().st_mode & 0o777 for path in store.folder.iterdir() if path.is_file()}
    assert files.pop("local.db") == 0o600 and not any("local~" in name for name in files)


def test_a_file_that_appears_meanwhile_is_not_touched(store: SQLiteStore) -> None:
    make = store.traits.bulk
    assert make is not None
    with pytest.raises(Conflict), make("local") as bulk:
        bulk.put([(key("a"), b"1")])
        (store.folder / "local.db").write_bytes(b"somebody else's")
    assert (store.folder / "local.db").read_bytes() == b"somebody else's"


def test_the_log_is_emptied(store: SQLiteStore) -> None:
    store.commit([Change(key("a"), b"1")])
    change(store, {f"{number:05}": b"x" * 1000 for number in range(20_000)})
    log = store.folder / "local.db-wal"
    assert not log.exists() or log.stat().st_size == 0
    store.close()
    assert (store.folder / "local.db").stat().st_mode & 0o777 == 0o600


def test_an_error_of_the_writing_thread_is_the_changes_own(store: SQLiteStore) -> None:
    store.commit([Change(key("a"), b"1")])
    raw = apsw.Connection(str(store.folder / "local.db"))
    raw.execute("CREATE TRIGGER refuse BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'refused'); END")
    raw.close()
    with pytest.raises(StoreDown, match="refused"):
        change(store, {"b": b"1"})
    assert set(rows(store)) == {key("a")}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bulk")]


def test_a_snapshot_makes_no_file(store: SQLiteStore) -> None:
    snapshot = store.traits.snapshot
    assert snapshot is not None
    store.commit([Change(key("a"), b"1")])
    with snapshot("nothing") as view:
        assert list(view.scan("nothing\x1f")) == [] and view.get("nothing\x1fk\x1fa") is None
    assert not (store.folder / "nothing.db").exists()


def test_a_copy_is_a_database_of_its_own(store: SQLiteStore, tmp_path: Path) -> None:
    store.commit([Change(key("a"), b"1")])
    copy = store.traits.copy
    assert copy is not None
    (tmp_path / "copy").mkdir()
    target = tmp_path / "copy" / "local.db"
    copy("local", target)
    assert target.stat().st_mode & 0o777 == 0o600
    store.commit([Change(key("a"), b"2")])
    other = SQLiteStore(tmp_path / "copy")
    assert rows(other) == {key("a"): b"1"}
    assert other.integrity("local") == []
    other.close()
    with pytest.raises(StoreDown):
        copy("local", target)
