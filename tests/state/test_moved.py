"""Where a state has moved away nobody writes any more, whatever they opened before; on every kind of store."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sloth_runner.errors import Conflict, Corrupt, Moved
from sloth_runner.state import moved, reseal
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.keyring import SEALED
from sloth_runner.state.layout import ARRIVING, KEYRING, MOVED, STORE, store_key
from sloth_runner.state.moved import Note, Retiring
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import ABSENT, PRESENT, Change, Check, Over, Rev, Store
from tests.services import postgres
from tests.state.kit import BY, key_source, make_state

Open = Callable[[], Store]
KINDS = ("sqlite", "postgres", "others")


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    made: list[Store] = []
    memory = MemoryStore()

    def one() -> Store:
        if request.param == "others":
            return Retiring(memory)
        made.append(open_store(url, Options(tmp_path / "state", 10.0)))
        return made[-1]

    if request.param == "postgres":
        with postgres.schema() as url:
            yield one
            for store in made:
                store.close()
        return
    url = "sqlite"
    yield one
    for store in made:
        store.close()


def key(name: str, namespace: str = "local") -> str:
    return store_key(namespace, "k", name)


def note(*, done: bool = False) -> bytes:
    made = Note("1" * 32, "sqlite:///old", "postgres://new/db", BY.user, BY.host, 1_800_000_000.0)
    return moved.encode(made._replace(done=done))


def retire(store: Store, new: bytes, old: bytes = b"") -> None:
    assert store.traits.retire is not None
    store.traits.retire(new, old)


def test_nobody_writes_any_more_and_everybody_reads(opened: Open) -> None:
    store, other = opened(), opened()
    (rev, *_) = store.commit([Change(key("a"), b"1"), Change(key("b"), b"1")])
    other.commit([Change(key("c", "web1"), b"1")])
    retire(store, note())
    for handle in (other, store, opened()):
        refused: list[list[Change | Check]] = [
            [Change(key("a"), b"2", rev)],
            [Change(key("a"), b"2")],
            [Change(key("new"), b"2", ABSENT)],
            [Change(key("b"), None)],
            [Change(key("b"), None, PRESENT)],
            [Change(key("c", "web1"), b"2")],
            [Change(key("d", "web2"), b"a namespace that is not there yet")],
            [Change(key("a"), b"2", rev), Check(key("c", "web1"), PRESENT)],
        ]
        for changes in refused:
            with pytest.raises(Moved, match="is being moved to postgres://new/db: ann@host1") as caught:
                handle.commit(changes)
            assert caught.value.unchanged == ["nothing was written"]
            assert any("--abort" in line for line in caught.value.next)
        if handle.traits.bulk is not None:
            for namespace in ("local", "web3"):
                with pytest.raises(Moved), handle.traits.bulk(namespace) as bulk:
                    bulk.put([(key("x", namespace), b"1")])
            with pytest.raises(Moved), handle.traits.bulk("local") as bulk:
                bulk.delete([key("a")])
        found = [entry.key for entry in handle.scan() if not entry.key.startswith(STORE)]
        assert found == [key("a"), key("b"), key("c", "web1")]
        assert (entry := handle.get(key("a"))) is not None and entry.value == b"1"
        assert handle.commit([Check(key("a"), rev)]) == [rev]


def test_the_note_is_changed_by_who_knows_it_and_taken_back(opened: Open) -> None:
    store, other = opened(), opened()
    store.commit([Change(key("a"), b"1")])
    retire(store, note())
    retire(other, note())
    with pytest.raises(Conflict):
        retire(other, note(done=True))
    with pytest.raises(Conflict):
        retire(other, b"", note(done=True))
    retire(other, note(done=True), note())
    with pytest.raises(
        Moved, match=r"was moved to postgres://new/db by ann@host1 at 2027-01-15T08:00:00"
    ) as caught:
        store.commit([Change(key("a"), b"2")])
    assert caught.value.next == ['name it in sloth.toml: [state] store = "postgres://new/db"']
    found = moved.left(store)
    assert found is not None and found.done
    retire(store, b"", note(done=True))
    retire(store, b"")
    assert moved.left(other) is None
    other.commit([Change(key("a"), b"2"), Change(key("b"), b"2")])
    other.commit([Change(key("new", "web9"), b"2")])
    retire(store, note())
    with pytest.raises(Moved):
        other.commit([Change(key("new", "web9"), b"3")])


def test_a_store_without_anything_can_be_retired(opened: Open) -> None:
    retire(opened(), note())
    with pytest.raises(Moved):
        opened().commit([Change(key("a"), b"1")])


def test_no_commit_is_made_after_the_store_was_retired(opened: Open) -> None:
    """Whoever writes at that moment: either it is there when the call returns, or it is refused."""
    opened().commit([Change(key("a"), b"0")])
    acknowledged: list[str] = []
    odd: list[BaseException] = []

    def write(number: int) -> None:
        store = opened()
        try:
            for turn in range(100_000):
                name = key(str(turn), f"agent{number}-{turn // 7}")
                store.commit([Change(name, b"1", ABSENT)])
                acknowledged.append(name)
        except Moved:
            return
        except BaseException as error:
            odd.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    end = time.monotonic() + 60
    while len(acknowledged) < 40 and time.monotonic() < end:
        time.sleep(0.01)
    store = opened()
    retire(store, note())
    there = [entry.key for entry in store.scan() if not entry.key.startswith(STORE)]
    for writer in writers:
        writer.join()
    assert odd == []
    assert len(acknowledged) >= 40
    assert sorted([key("a"), *acknowledged]) == there
    assert [entry.key for entry in store.scan() if not entry.key.startswith(STORE)] == there


def test_what_is_sealed_is_refused_too_and_does_not_see_the_note(opened: Open) -> None:
    inner = opened()
    state = make_state(Sealed(inner, key_source()))
    state.set("a", 1)
    retire(inner, note())
    inner_again = opened()
    again = make_state(Sealed(inner_again, key_source()))
    for one in (state, again):
        with pytest.raises(Moved):
            one.set("a", 2)
        assert one.get("a") == 1
    assert [entry.key for entry in Sealed(inner_again, key_source()).scan() if STORE in entry.key] == []


def test_a_keyring_is_neither_made_nor_changed(opened: Open) -> None:
    """Else its records, that nobody may write any more, would not fit to it."""
    inner = opened()
    retire(inner, note())
    with pytest.raises(Moved):
        Sealed(inner, key_source()).begin()
    assert inner.get(KEYRING) is None
    retire(inner, b"", note())
    make_state(inner).set("a", 1)
    retire(inner, note())
    with pytest.raises(Moved):
        reseal.encrypt(Sealed(inner, key_source()), os.urandom, never)
    assert inner.get(KEYRING) is None
    retire(inner, b"", note())
    reseal.encrypt(Sealed(inner, key_source()), os.urandom, never)
    made = inner.get(KEYRING)
    retire(inner, note())
    again = Sealed(inner, key_source())
    for change in (
        lambda: reseal.rekey(again, os.urandom, never),
        lambda: reseal.rewrap(again, key_source(9), os.urandom),
        lambda: reseal.decrypt(again, os.urandom, never),
    ):
        with pytest.raises(Moved):
            change()
        assert inner.get(KEYRING) == made
    assert make_state(again).get("a") == 1


class Meanwhile(Over):
    """At the first commit a migration has begun, and it is given up before anybody asks where to."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.traits, self.get, self.scan, self.close = inner.traits, inner.get, inner.scan, inner.close
        self.met = False

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        if self.met:
            return self.inner.commit(changes)
        self.met = True
        retire(self.inner, note())
        try:
            return self.inner.commit(changes)
        finally:
            retire(self.inner, b"", note())


def test_a_migration_that_is_given_up_meanwhile_is_no_loss(opened: Open) -> None:
    store = Meanwhile(opened())
    assert Sealed(store, key_source()).begin().mode == SEALED
    assert store.met


def never(count: int) -> None:
    """Nothing is told of what is not begun."""


def test_files_whose_trigger_is_missing_get_it(tmp_path: Path) -> None:
    """Killed between two files, the command is run again."""
    store = SQLiteStore(tmp_path / "state")
    store.commit([Change(key("a"), b"1")])
    store.commit([Change(key("a", "web1"), b"1")])
    retire(store, note())
    file = store._files["web1"]
    for event in ("insert", "update", "delete"):
        file.execute(f"DROP TRIGGER moved_{event}")
    store.commit([Change(key("a", "web1"), b"2")])
    retire(store, note())
    with pytest.raises(Moved):
        store.commit([Change(key("a", "web1"), b"3")])
    store.close()


def test_a_note_that_cant_be_read_is_told_as_such() -> None:
    for data in (b"", b"{}", b"[1]", b"\xff"):
        with pytest.raises(Corrupt, match="moved to"):
            moved.refusal(data)


def test_what_is_arriving_is_told(tmp_path: Path) -> None:
    store = MemoryStore()
    assert moved.coming(store) is None
    store.commit([Change(ARRIVING, note())])
    found = moved.coming(store)
    assert found is not None and (found.source, found.target) == ("sqlite:///old", "postgres://new/db")
    assert "is not complete" in moved.unfinished(found).message
    assert store.get(MOVED) is None
