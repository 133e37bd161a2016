"""What a snapshot and a bulk change of a sealed namespace promise: never a byte in plaintext, whoever turns keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from sloth_runner.errors import Busy, Conflict, Corrupt, Foreign, KeyWrong, TooLarge
from sloth_runner.state import reseal
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import KEYRING, SEAL, STORE, store_key
from sloth_runner.state.reseal import Done
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.sealing import MARK, cleartext
from sloth_runner.state.store import Change, Entry, Store
from tests.state.bundle_kit import export_bytes, import_bytes
from tests.state.kit import key_source, make_state
from tests.state.test_reseal import CASES, Between, Killed

CANARY = "canary-5f0e9a"


class Place:
    """A folder, and handles on the sealed state in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[SQLiteStore] = []

    def open(self, patience: float = 60.0) -> Sealed:
        self._opened.append(SQLiteStore(self.folder, patience=patience))
        return Sealed(self._opened[-1], key_source())

    def close(self) -> None:
        for store in self._opened:
            store.close()

    def bytes(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())

    def pure(self) -> None:
        """All is sealed under one key, in its place, and each namespace's file guards itself."""
        store = self.open()
        found = reseal.status(store.inner)
        assert (found.left, found.plain, found.busy, len(found.counts)) == (0, 0, False, 1)
        assert CANARY.encode() not in self.bytes()
        for path in self.folder.glob("*.db"):
            if path.name == f"{STORE}.db":
                continue
            with (
                closing(apsw.Connection(str(path))) as file,
                pytest.raises(apsw.ConstraintError, match="sealed"),
            ):
                file.execute(
                    "INSERT INTO entry (key, rev, value) VALUES ('k' || char(31) || 'x', 9, x'7b7d')"
                )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "state")
    yield place
    place.close()


@pytest.fixture
def bundle() -> bytes:
    """Keys, revisions and more, all of them canaries."""
    state = make_state()
    for number in range(40):
        state.set(f"k{number}", f"{CANARY}-{number}")
        state.set(f"k{number}", f"{CANARY}-{number}", sensitive=True)
    state.set("k0", CANARY * 9000)
    state.writer.store.commit([Change(store_key("local", "r", "file:/x"), CANARY.encode())])
    return export_bytes(state, with_history=True)


def put(store: Sealed, rows: dict[str, str], namespace: str = "local") -> None:
    assert store.traits.bulk is not None
    with store.traits.bulk(namespace) as bulk:
        bulk.put([(store_key(namespace, "k", name), value.encode()) for name, value in rows.items()])


def names(entries: Iterator[Entry]) -> list[str]:
    return [entry.key.rpartition("\x1f")[2] for entry in entries]


def key_of(inner: Store, name: str) -> bytes:
    """The id of the data key that a record is under."""
    entry = inner.get(store_key("local", "k", name))
    assert entry is not None
    clear = cleartext(entry.value)
    assert clear is not None
    return clear.key_id


@pytest.mark.parametrize("there", [False, True])
def test_an_import_writes_no_plaintext(place: Place, bundle: bytes, there: bool) -> None:
    store = place.open()
    if there:
        make_state(store).set("here", CANARY)
    import_bytes(store, bundle, force=True)
    place.pure()
    state = make_state(place.open())
    assert state.get("k0") == CANARY * 9000
    assert state.get("k39") == f"{CANARY}-39"
    assert state.get("here") == (CANARY if there else None)
    put(store, {"other": CANARY}, "web1")
    place.pure()


def test_the_first_record_of_a_state_may_come_in_bulk(place: Place) -> None:
    put(place.open(), {"a": CANARY})
    place.pure()
    entry = place.open().get(store_key("local", "k", "a"))
    assert entry is not None and entry.value == CANARY.encode()


def test_a_bulk_that_breaks_off_leaves_nothing(place: Place) -> None:
    store = place.open()
    make_state(store).shared.set("cluster:a", 1)
    before = list(store.inner.scan())
    make = store.traits.bulk
    assert make is not None
    with pytest.raises(ZeroDivisionError), make("local") as bulk:
        bulk.put([(store_key("local", "k", "a"), CANARY.encode())])
        raise ZeroDivisionError
    assert list(store.inner.scan()) == before
    assert not (place.folder / "local.db").exists()


def test_what_a_bulk_reads_is_open_and_without_own_records(place: Place) -> None:
    store = place.open()
    store.commit([Change(store_key("local", "k", name), name.encode()) for name in "abc"])
    make = store.traits.bulk
    assert make is not None
    with make("local") as bulk:
        bulk.put([(store_key("local", "k", "a"), b"new")])
        bulk.delete([store_key("local", "k", "b")])
        assert names(bulk.scan("local\x1f")) == ["a", "b", "c"]
        assert (entry := bulk.get(store_key("local", "k", "a"))) is not None and entry.value == b"a"
        assert bulk.get("local" + SEAL) is None
    assert names(store.scan("local\x1f")) == ["a", "c"]
    assert (entry := store.get(store_key("local", "k", "a"))) is not None and entry.value == b"new"


def test_a_snapshot_is_open_without_own_records_and_stays(place: Place) -> None:
    store = place.open()
    store.commit([Change(store_key("local", kind, name), b"1") for kind in "kn" for name in "abc"])
    snapshot = store.traits.snapshot
    assert snapshot is not None
    with snapshot("local") as view:
        store.commit([Change(store_key("local", "k", "a"), b"2"), Change(store_key("local", "k", "d"), b"2")])
        with pytest.raises(Busy, match="traces of earlier values"):
            CASES["rekey"].work(place.open(0.1))
        assert [(e.key.split("\x1f")[1], e.key[-1], e.value) for e in view.scan("local\x1f")] == [
            (kind, name, b"1") for kind in "kn" for name in "abc"
        ]
        assert names(view.scan("local\x1f", after="local\x1fk\x1fc", limit=1)) == ["a"]
        assert names(view.scan("local\x1f", reverse=True, limit=4)) == ["c", "b", "a", "c"]
        assert (entry := view.get(store_key("local", "k", "a"))) is not None and entry.value == b"1"
        assert view.get("local" + SEAL) is None
        assert list(view.scan("local\x1fm\x1f")) == []
    with snapshot(STORE) as view:
        assert list(view.scan(f"{STORE}\x1f")) == [] and view.get(KEYRING) is None


def test_a_snapshot_names_what_was_tampered_with(place: Place) -> None:
    store = place.open()
    where = store_key("local", "k", "b")
    store.commit([Change(store_key("local", "k", name), b"1") for name in "abc"])
    entry = store.inner.get(where)
    other = store.inner.get(store_key("local", "k", "a"))
    snapshot = store.traits.snapshot
    assert entry is not None and other is not None and snapshot is not None
    flipped = entry.value[:-1] + bytes([entry.value[-1] ^ 1])
    for bad, error in ((flipped, Corrupt), (other.value, Corrupt), (entry.value[:70], Corrupt)):
        store.inner.commit([Change(where, bad)])
        with snapshot("local") as view, pytest.raises(error, match="'b'"):
            list(view.scan("local\x1fk\x1f"))


def test_a_value_that_is_too_long_sealed_is_refused(place: Place) -> None:
    store = place.open()
    with pytest.raises(TooLarge):
        put(store, {"a": "x" * (store.traits.max_value + 1)})
    put(store, {"a": "x" * store.traits.max_value})


def test_a_handle_from_before_a_rekey_writes_under_the_new_key(place: Place, bundle: bytes) -> None:
    old = place.open()
    put(old, {"a": CANARY})
    CASES["rekey"].work(place.open())
    put(old, {"b": CANARY})
    put(old, {"c": CANARY}, "web1")
    place.pure()
    CASES["rekey"].work(place.open())
    import_bytes(old, bundle, force=True)
    place.pure()


def test_keys_turn_over_before_or_after_a_bulk_and_not_within(place: Place) -> None:
    store, other = place.open(), place.open(0.1)
    put(store, {"a": CANARY})
    make = store.traits.bulk
    assert make is not None
    for namespace in ("local", "fresh"):
        with make(namespace) as bulk:
            bulk.put([(store_key(namespace, "k", "b"), CANARY.encode())])
            with pytest.raises(Busy):
                CASES["rekey"].work(other)
            bulk.put([(store_key(namespace, "k", "c"), CANARY.encode())])
        old = key_of(store.inner, "b")
        CASES["rekey"].work(other)
        place.pure()
        assert key_of(store.inner, "b") != old
        assert names(store.scan(f"{namespace}\x1fk")) == (
            ["a", "b", "c"] if namespace == "local" else ["b", "c"]
        )


def test_others_who_have_written_go_on_during_a_bulk_into_a_fresh_namespace(place: Place) -> None:
    store, other = place.open(), place.open(0.1)
    put(store, {"a": "1"}, "web1")
    make = store.traits.bulk
    assert make is not None
    with make("local") as bulk:
        bulk.put([(store_key("local", "k", "b"), CANARY.encode())])
        other.commit([Change(store_key("web1", "k", "b"), b"2")])
        with pytest.raises(Busy):
            other.commit([Change(store_key("web2", "k", "b"), b"2")])
    other.commit([Change(store_key("web2", "k", "b"), b"2")])


def test_a_bulk_is_in_plaintext_exactly_where_the_state_is_to_be(place: Place) -> None:
    old, fresh = place.open(), place.open()
    put(old, {"a": "1"})
    assert fresh.get(store_key("local", "k", "a")) is not None
    CASES["decrypt"].work(place.open())
    put(old, {"b": "2"})
    put(old, {"b": "2"}, "web1")
    assert {e.value for e in old.inner.scan("local\x1fk")} == {b"1", b"2"}
    assert old.inner.get("local" + SEAL) is None and old.inner.get("web1" + SEAL) is None
    CASES["encrypt"].work(place.open())
    put(old, {"c": CANARY})
    put(fresh, {"d": CANARY})
    put(fresh, {"d": CANARY}, "web2")
    place.pure()


@pytest.mark.parametrize("name", ["encrypt", "decrypt", "rekey"])
def test_a_bulk_amid_a_migration_that_was_killed(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    for at in range(1, 9):
        place = Place(tmp_path / f"{name}{at}")
        begun = place.open()
        target = begun if case.before else begun.inner
        make_state(target).set("a", CANARY)
        make_state(target).shared.set("a", CANARY)
        handles = [place.open() for _ in range(2)]
        if case.before:
            handles[0].get(store_key("local", "k", "a"))

        def kill(number: int, when: str, at: int = at) -> None:
            if (number, when) == (at, "after"):
                raise Killed

        try:
            case.work(Sealed(Between(begun.inner, kill), key_source()))
        except Killed:
            pass
        for number, handle in enumerate(handles):
            for namespace in ("local", f"new{number}"):
                put(handle, {f"bulk{number}": CANARY}, namespace)
                found = handle.get(store_key(namespace, "k", f"bulk{number}"))
                assert found is not None and found.value == CANARY.encode()
        done: Done = case.work(place.open())
        assert done.waiting == ()
        status = reseal.status(begun.inner)
        assert (status.left, status.busy) == (0, False)
        if case.after:
            place.pure()
        state = make_state(place.open() if case.after else place.open().inner)
        assert state.get("a") == CANARY
        place.close()


@pytest.mark.parametrize("mode", ["opening", "open", "sealing", "sealed"])
def test_a_forged_mark_makes_no_bulk_write_plaintext(place: Place, mode: str) -> None:
    store = place.open()
    put(store, {"a": CANARY})
    store.inner.commit([Change("local" + SEAL, json.dumps({"epoch": 0, "mode": mode}).encode())])
    put(store, {"b": CANARY})
    put(place.open(), {"c": CANARY})
    place.pure()
    store.inner.commit([Change("local" + SEAL, json.dumps({"epoch": 99, "mode": mode}).encode())])
    before = list(store.inner.scan())
    with pytest.raises(Corrupt, match="older than what was written"):
        put(store, {"d": CANARY})
    assert list(store.inner.scan()) == before


def test_a_lost_or_foreign_keyring_stops_a_bulk(place: Place, tmp_path: Path) -> None:
    store = place.open()
    put(store, {"a": CANARY})
    keyring = store.inner.get(KEYRING)
    assert keyring is not None
    other = Place(tmp_path / "other")
    put(other.open(), {"x": "1"})
    foreign = other.open().inner.get(KEYRING)
    assert foreign is not None
    other.close()
    for value in (None, foreign.value):
        store.inner.commit([Change(KEYRING, value)])
        if value is None:
            with pytest.raises(KeyWrong):
                put(place.open(), {"b": CANARY})
        for namespace in ("local", "web1"):
            with pytest.raises((Corrupt, Foreign, KeyWrong)):
                put(store, {"b": CANARY}, namespace)
    assert CANARY.encode() not in place.bytes()


def test_a_copy_is_sealed_as_it_is(place: Place, tmp_path: Path) -> None:
    store = place.open()
    put(store, {"a": CANARY})
    assert store.traits.copy is not None
    store.traits.copy("local", tmp_path / "copy.db")
    data = (tmp_path / "copy.db").read_bytes()
    assert MARK in data and CANARY.encode() not in data


def test_what_only_sealing_may_do_is_not_offered(place: Place) -> None:
    traits = place.open().traits
    assert (traits.guard, traits.scrub) == (None, None)
    memory = Sealed(MemoryStore(), key_source()).traits
    assert (memory.snapshot, memory.bulk, memory.copy) == (None, None, None)


def test_nonces_of_a_bulk_differ(place: Place) -> None:
    drawn: list[int] = []

    def random(count: int) -> bytes:
        drawn.append(count)
        return os.urandom(count)

    store = Sealed(place.open().inner, key_source(), random)
    put(store, {f"{number:04}": "same" for number in range(1000)})
    entries: Sequence[Entry] = list(store.inner.scan("local\x1fk"))
    assert len({entry.value[36:48] for entry in entries}) == 1000, "each record has a derived key of its own"
    assert len({entry.value[48:60] for entry in entries}) == 1000


def test_a_conflict_in_a_bulk_is_said(place: Place) -> None:
    store = place.open()
    make_state(store).shared.set("a", 1)
    make = store.traits.bulk
    assert make is not None
    with pytest.raises(Conflict), make("local") as bulk:
        bulk.put([(store_key("local", "k", "a"), b"1")])
        (place.folder / "local.db").write_bytes(b"somebody else's")
