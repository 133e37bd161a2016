"""Checkpoints: made whole or not at all, of any size, and what they name stays."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.errors import BadName, Conflict, KeyMissing, StoreDown
from sloth_runner.state import tags
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import HEAD, TAG, place, prefix_of
from sloth_runner.state.record import decode_record, digest
from sloth_runner.state.store import Change, Check, Store
from tests.state.kit import BY, Clock, make_state


class Failing(MemoryStore):
    """Goes down at the commit with this number (0: never)."""

    fails_at = 0
    commits = 0

    def commit(self, changes: Sequence[Change | Check]) -> list[int]:
        self.commits += 1
        if self.commits == self.fails_at:
            raise StoreDown("the disk is gone")
        return super().commit(changes)


def _heads(store: Store) -> list[tags.Row]:
    found = [
        (place(entry.key).name, decode_record(entry.value)) for entry in store.scan(prefix_of("local", HEAD))
    ]
    return [tags.Row(key, record.number, digest(record)) for key, record in found]


@settings(max_examples=30, deadline=None)
@given(keys=st.lists(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=60), max_size=60))
def test_a_tag_holds_the_head_of_every_key(keys: list[str]) -> None:
    state = make_state()
    for key in [*keys, *keys[::2]]:
        state.increment(key)
    for key in keys[::3]:
        state.delete(key)
    store = state.writer.store
    made = tags.make(store, "local", "v1", BY, 5.0)
    assert list(tags.rows(store, "local", "v1")) == _heads(store)
    assert (made.keys, made.status, made.time, made.by) == (len(set(keys)), tags.DONE, 5.0, BY)
    assert list(tags.every(store, "local")) == [made]
    for row in _heads(store):
        assert tags.pins(store, "local", row.key, row.number) is tags.Pin.YES
        assert tags.pins(store, "local", row.key, row.number + 1) is tags.Pin.NO
    assert tags.pins(store, "local", "no such key", 1) is tags.Pin.NO


def test_many_keys_are_many_chunks_that_any_store_takes() -> None:
    state = make_state()
    for number in range(1500):
        state.set(f"a-rather-long-key/{number:05d}" * 4, number)
    store = state.writer.store
    made = tags.make(store, "local", "v-1", BY, 1.0)
    tags.make(store, "local", "v-1.1", BY, 1.0)
    assert made.keys == 1500
    chunks = [entry for entry in store.scan(prefix_of("local", TAG)) if "v-1\x1f" in entry.key]
    assert len(chunks) > 5
    assert all(len(entry.value) < 32 * 1024 for entry in chunks)
    assert [tag.name for tag in tags.every(store, "local")] == ["v-1", "v-1.1"]
    assert tags.pins(store, "local", f"a-rather-long-key/{700:05d}" * 4, 1) is tags.Pin.YES


def test_the_digest_depends_on_every_row() -> None:
    def made(*writes: tuple[str, int]) -> str:
        state = make_state()
        for key, value in writes:
            state.set(key, value)
        return tags.make(state.writer.store, "local", "t", BY, 1.0).digest

    assert made(("a", 1), ("b", 2)) == made(("a", 1), ("b", 2))
    assert len({made(), made(("a", 1)), made(("a", 2)), made(("b", 1)), made(("a", 1), ("b", 1))}) == 5


def test_names_are_checked_and_never_taken_twice() -> None:
    state = make_state()
    store = state.writer.store
    for name in ("", "-x", "a b", "a/b", "ä", "x" * 129, "a\x1fb", ".."):
        with pytest.raises(BadName):
            tags.make(store, "local", name, BY, 1.0)
    tags.make(store, "local", "v1.2_3-x", BY, 1.0)
    with pytest.raises(BadName, match="already"):
        tags.make(store, "local", "v1.2_3-x", BY, 1.0)
    with pytest.raises(KeyMissing, match="no tag 'v1'"):
        tags.drop(store, "local", "v1")


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_tag_that_was_not_finished_stops_pruning_and_is_made_anew(at: int) -> None:
    store = Failing()
    state = make_state(store, retention=Retention(1, 90, 2))
    for number in range(700):
        state.set(f"key/{number:04d}/with/a/long/name", 1)
    store.commits, store.fails_at = 0, at
    with pytest.raises(StoreDown):
        tags.make(store, "local", "v1", BY, 1.0)
    key = "key/0001/with/a/long/name"
    for _ in range(5):
        state.increment(key)
    unfinished = tags.find(store, "local", "v1")
    if at == 1:
        assert unfinished is None
        assert len(state.history(key)) == 2
    else:
        assert unfinished is not None and unfinished.status == tags.MAKING
        assert len(state.history(key)) == 6
    made = tags.make(store, "local", "v1", BY, 2.0)
    assert list(tags.rows(store, "local", "v1")) == _heads(store)
    assert made.keys == 700
    for _ in range(5):
        state.increment(key)
    assert [found.record.number for found in state.history(key)] == [11, 10, 6]


def test_two_who_make_one_tag_do_not_mix() -> None:
    class Meddling(MemoryStore):
        meddled = False

        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            if not self.meddled and any("\x1f=" in change.key for change in changes):
                self.meddled = True
                tags.make(self, "local", "v1", BY, 9.0)
            return super().commit(changes)

    state = make_state(Meddling())
    state.set("a", 1)
    store = state.writer.store
    with pytest.raises(Conflict, match="by another process"):
        tags.make(store, "local", "v1", BY, 1.0)
    (tag,) = tags.every(store, "local")
    assert (tag.time, tag.status) == (9.0, tags.DONE)
    assert list(tags.rows(store, "local", "v1")) == _heads(store)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_what_only_a_deleted_tag_kept_goes_with_it(at: int) -> None:
    clock = Clock()
    store = Failing(clock)
    state = make_state(store, clock, retention=Retention(1, 90, 2))
    state.set("a", "x" * 70_000)
    state.set("b", 1)
    tags.make(store, "local", "v1", BY, 1.0)
    state.set("b", 2)
    tags.make(store, "local", "v2", BY, 1.0)
    for value in range(5):
        state.set("a", value)
        state.set("b", 10 + value)
    before = len(list(store.scan()))
    assert [found.record.number for found in state.history("a")] == [6, 5, 1]
    assert [found.record.number for found in state.history("b")] == [7, 6, 2, 1]
    store.commits, store.fails_at = 0, at
    if at:
        with pytest.raises(StoreDown):
            tags.drop(store, "local", "v1")
        assert len(list(store.scan())) <= before
    tags.drop(store, "local", "v1")
    assert [found.record.number for found in state.history("a")] == [6, 5, 1], "v2 keeps it, too"
    assert [found.record.number for found in state.history("b")] == [7, 6, 2]
    tags.drop(store, "local", "v2")
    assert [found.record.number for found in state.history("a")] == [6, 5]
    assert not list(store.scan(prefix_of("local", TAG)))
    assert not [entry for entry in store.scan(prefix_of("local", "b")) if "\x1fa\x1f" in entry.key]
