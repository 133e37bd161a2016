"""What a snapshot, a bulk change and a copy of a SQLite namespace promise."""

from __future__ import annotations

import threading
from pathlib import Path

import apsw
import pytest

from sloth_runner.errors import BadName, Busy, Conflict, StoreDown, TooLarge
from sloth_runner.state.backends.bootclock import LeaseClock
from sloth_runner.state.backends.sqlite import MAX_VALUE, SQLiteStore
from sloth_runner.state.store import ABSENT, ANY, Change
from tests.state.kit import Clock


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


def test_a_change_is_applied_whole(store: SQLiteStore) -> None:
    store.commit([Change(key("a"), b"1"), Change(key("b"), b"1")])
    change(store, {"a": b"2", "c": b"\x00\xff\x00", "ü": b""}, ("b", "nothing"))
    assert rows(store) == {key("a"): b"2", key("c"): b"\x00\xff\x00", key("ü"): b""}


def test_an_exception_leaves_everything_as_it_was(store: SQLiteStore) -> None:
    store.commit([Change(key("a"), b"1")])
    before = list(store.scan())
    make = store.traits.bulk
    assert make is not None
    with pytest.raises(ZeroDivisionError), make("local") as bulk:
        bulk.put([(key("a"), b"2"), (key("b"), b"2")])
        bulk.delete([key("a")])
        raise ZeroDivisionError
    assert list(store.scan()) == before
    store.commit([Change(key("a"), b"3", before[0].rev)])


def test_no_rev_returns(store: SQLiteStore) -> None:
    seen: set[int] = set()
    for number in range(4):
        change(store, {"a": b"%d" % number})
        entry = store.get(key("a"))
        assert entry is not None and entry.rev not in seen
        seen.add(entry.rev)
        if number % 2:
            change(store, {}, ("a",))
            assert store.get(key("a")) is None
    (rev,) = store.commit([Change(key("a"), b"x", ABSENT)])
    assert rev not in seen


def test_what_a_change_reads_is_what_was_before(store: SQLiteStore) -> None:
    store.commit([Change(key("a"), b"1")])
    make = store.traits.bulk
    assert make is not None
    with make("local") as bulk:
        bulk.put([(key("a"), b"2"), (key("b"), b"2")])
        assert [(e.key, e.value) for e in bulk.scan("local\x1f")] == [(key("a"), b"1")]
        assert bulk.get(key("b")) is None
        assert store.get(key("b")) is None, "others don't see it yet"


def test_a_change_makes_leased_entries_permanent_and_knows_which_have_ended(tmp_path: Path) -> None:
    clock = Clock()
    store = SQLiteStore(tmp_path, lease_clock=LeaseClock("boot", clock))
    store.commit([Change(key("a"), b"1", ANY, 10), Change(key("b"), b"1", ANY, 10)])
    change(store, {"a": b"2"})
    clock.now += 20
    assert rows(store) == {key("a"): b"2"}
    snapshot = store.traits.snapshot
    assert snapshot is not None
    with snapshot("local") as view:
        assert [e.key for e in view.scan("local\x1f")] == [key("a")]
        assert view.get(key("b")) is None
    store.close()


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


def test_a_snapshot_stays_as_it_was(store: SQLiteStore) -> None:
    store.commit([Change(key(name), b"1") for name in "abc"])
    snapshot = store.traits.snapshot
    assert snapshot is not None
    with snapshot("local") as view:
        store.commit([Change(key("a"), None), Change(key("b"), b"2"), Change(key("d"), b"1")])
        assert [(e.key[-1], e.value) for e in view.scan("local\x1f")] == [
            ("a", b"1"),
            ("b", b"1"),
            ("c", b"1"),
        ]
        assert [e.key[-1] for e in view.scan("local\x1fk\x1f", after=key("a"), limit=1)] == ["b"]
        assert [e.key[-1] for e in view.scan("local\x1f", after=key("c"), reverse=True)] == ["b", "a"]
        assert (entry := view.get(key("b"))) is not None and entry.value == b"1"
        assert view.get("other\x1fk\x1fa") is None and list(view.scan("other\x1f")) == []
    with snapshot("nothing") as view:
        assert list(view.scan("nothing\x1f")) == [] and view.get("nothing\x1fk\x1fa") is None
    assert not (store.folder / "nothing.db").exists()
    with pytest.raises(BadName), snapshot("../x"):
        pass


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
