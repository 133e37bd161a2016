"""Why: one moment to read a whole namespace, one step to change it: whoever offers that keeps the same promises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

from sloth_runner.errors import BadName
from sloth_runner.state.layout import store_key
from sloth_runner.state.store import ABSENT, ANY, Bulk, Change, Store

if TYPE_CHECKING:
    from tests.conformance.suite import Opener

Begin = Callable[[], AbstractContextManager[Bulk]]

SPACE = "local\x1f"


def key(name: str) -> str:
    """A store key of the namespace that is changed."""
    return store_key("local", "k", name)


def rows(store: Store) -> dict[str, bytes]:
    """What the namespace holds."""
    return {entry.key: entry.value for entry in store.scan(SPACE)}


def change(begin: Begin, puts: dict[str, bytes], gone: tuple[str, ...] = ()) -> None:
    """One bulk change."""
    with begin() as bulk:
        bulk.put([(key(name), value) for name, value in puts.items()])
        bulk.delete([key(name) for name in gone])


class BulkLaws:
    """A part of the suite, for stores with ``bulk`` in their traits."""

    @pytest.fixture
    def begin(self, store: Store) -> Begin:
        bulk = store.traits.bulk
        assert bulk is not None
        return lambda: bulk("local")

    def test_a_snapshot_stays_as_it_was(self, store: Store) -> None:
        snapshot = store.traits.snapshot
        if snapshot is None:
            pytest.skip("this store has no snapshots")
        with snapshot("local") as view:
            assert list(view.scan(SPACE)) == [] and view.get(key("a")) is None
        store.commit([Change(key(name), b"1") for name in "abc"])
        with snapshot("local") as view:
            store.commit([Change(key("a"), None), Change(key("b"), b"2"), Change(key("d"), b"1")])
            assert [(e.key, e.value) for e in view.scan(SPACE)] == [(key(name), b"1") for name in "abc"]
            assert [e.key for e in view.scan(key(""), after=key("a"), limit=1)] == [key("b")]
            assert [e.key for e in view.scan(SPACE, after=key("c"), reverse=True)] == [key("b"), key("a")]
            assert (entry := view.get(key("b"))) is not None and entry.value == b"1"
            assert view.get("other\x1fk\x1fa") is None and list(view.scan("other\x1f")) == []
        with pytest.raises(BadName), snapshot("../x"):
            pass

    def test_a_bulk_change_is_applied_whole(self, store: Store, begin: Begin) -> None:
        store.commit([Change(key("a"), b"1"), Change(key("b"), b"1")])
        change(begin, {"a": b"2", "c": b"\x00\xff\x00", "ü": b""}, ("b", "nothing"))
        assert rows(store) == {key("a"): b"2", key("c"): b"\x00\xff\x00", key("ü"): b""}

    def test_a_bulk_change_may_be_the_first(self, store: Store, begin: Begin) -> None:
        change(begin, {})
        change(begin, {"a": b"1"})
        assert rows(store) == {key("a"): b"1"}

    def test_of_a_key_that_a_bulk_change_puts_twice_the_last_stays(self, store: Store, begin: Begin) -> None:
        with begin() as bulk:
            bulk.put([(key("a"), b"1"), (key("a"), b"2")])
            bulk.put([(key("a"), b"3")])
        assert rows(store) == {key("a"): b"3"}

    def test_an_exception_in_a_bulk_change_leaves_everything_as_it_was(
        self, store: Store, begin: Begin
    ) -> None:
        store.commit([Change(key("a"), b"1")])
        before = list(store.scan())
        with pytest.raises(ZeroDivisionError), begin() as bulk:
            bulk.put([(key("a"), b"2"), (key("b"), b"2")])
            bulk.delete([key("a")])
            raise ZeroDivisionError
        assert list(store.scan()) == before
        store.commit([Change(key("a"), b"3", before[0].rev)])

    def test_no_rev_of_a_bulk_change_returns(self, store: Store, begin: Begin) -> None:
        seen: set[int] = set()
        for number in range(4):
            change(begin, {"a": b"%d" % number})
            entry = store.get(key("a"))
            assert entry is not None and entry.rev not in seen
            seen.add(entry.rev)
            if number % 2:
                change(begin, {}, ("a",))
                assert store.get(key("a")) is None
        (rev,) = store.commit([Change(key("a"), b"x", ABSENT)])
        assert rev not in seen

    def test_what_a_bulk_change_reads_is_what_was_before(self, store: Store, begin: Begin) -> None:
        store.commit([Change(key("a"), b"1")])
        with begin() as bulk:
            bulk.put([(key("a"), b"2"), (key("b"), b"2")])
            assert [(e.key, e.value) for e in bulk.scan(SPACE)] == [(key("a"), b"1")]
            assert bulk.get(key("b")) is None
            assert store.get(key("b")) is None, "others don't see it yet"

    def test_a_bulk_change_makes_leased_entries_permanent(
        self, opener: Opener, store: Store, begin: Begin
    ) -> None:
        assert opener.advance is not None
        store.commit([Change(key(name), b"1", ANY, opener.ttl) for name in "ab"])
        change(begin, {"a": b"2"})
        opener.advance(1.2 * opener.ttl + opener.lag)
        assert rows(store) == {key("a"): b"2"}
        if store.traits.snapshot is not None:
            with store.traits.snapshot("local") as view:
                assert [e.key for e in view.scan(SPACE)] == [key("a")]
                assert view.get(key("b")) is None
