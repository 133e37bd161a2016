"""Why: who follows keys is told each revision once and in order, whatever happens between two looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from sloth_runner.cli.purging import purge
from sloth_runner.documents.keys import own_view
from sloth_runner.errors import Forbidden, StoreDown
from sloth_runner.state import reseal, tags
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import HEAD, SHARED, place, store_key
from sloth_runner.state.patience import Contact, Patience
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.state import State
from sloth_runner.state.store import Doorbell, Store
from sloth_runner.state.value import decode
from sloth_runner.state.watching import Change, Gap, Item, Purged, Scope, Watching, follow, scopes_of
from tests.state.kit import Clock, key_source, make_state, memory


def watching(state: State, *scopes: Scope) -> Watching:
    """Someone who follows a namespace, or these keys, from now on."""
    assert isinstance(state.writer.clock, Clock)
    found = Watching(lambda: scopes or [Scope(state.namespace)], state.writer.clock)
    found.begin(state.store)
    return found


def told(items: Iterator[Item]) -> list[tuple[Any, ...]]:
    """In short: key, number, operation, old and new value; or what else it is."""
    rows: list[tuple[Any, ...]] = []
    for item in items:
        if isinstance(item, Change):
            record = item.revision.record
            rows.append((item.key, record.number, record.op, item.revision.old, item.revision.new))
        else:
            rows.append((type(item).__name__, *item[1:]))
    return rows


def test_each_revision_is_told_once_with_what_was_there_before() -> None:
    state = make_state()
    state.set("a", 0)
    seen = watching(state)
    for number in range(1, 4):
        state.set("a", number)
    state.set("b", "x" * 100_000)
    state.set("b", "y" * 100_000)
    state.delete("a")
    state.rollback("a", 2)
    assert told(seen.look(state.store)) == [
        ("a", 2, "set", 0, 1), ("a", 3, "set", 1, 2), ("a", 4, "set", 2, 3),
        ("a", 5, "delete", 3, None), ("a", 6, "rollback", None, 1),
        ("b", 1, "set", None, "x" * 100_000), ("b", 2, "set", "x" * 100_000, "y" * 100_000),
    ]  # fmt: skip
    assert told(seen.look(state.store)) == []
    state.set("a", 9)
    assert told(seen.look(state.store)) == [("a", 7, "set", 1, 9)]


def test_keys_are_told_in_the_order_of_time() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    seen = watching(state)
    for number, key in enumerate("babca"):
        clock.now += 1
        state.set(key, number)
    assert [row[0] for row in told(seen.look(state.store))] == list("babca")


def test_what_makes_no_revision_is_not_told() -> None:
    state = make_state()
    state.set("a", 1)
    seen = watching(state)
    state.set("a", 1)
    state.set("a", 1, ttl=60)
    state.set("a", 1, sensitive=True)
    assert told(seen.look(state.store)) == []


def test_only_what_is_meant_is_told() -> None:
    state = make_state()
    exact, prefix = watching(state, Scope("local", "a", True)), watching(state, Scope("local", "a"))
    for key in ("a", "ab", "b"):
        state.set(key, 1)
    state.agent("web1").set("a", 1)
    rung = [store_key(name, HEAD, key) for name in ("local", "web1") for key in ("a", "ab", "b")]
    assert [row[0] for row in told(exact.look(state.store, rung))] == ["a"]
    assert [row[0] for row in told(prefix.look(state.store, [*rung, store_key("local", "h", "a", 1)]))] == [
        "a",
        "ab",
    ]


def test_an_expiry_is_told_when_its_time_has_come_and_not_again_when_it_is_written() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("old", 0, ttl=1)
    clock.now += 2
    seen = watching(state)
    assert seen.due() is None
    state.set("a", 1, ttl=60)
    assert told(seen.look(state.store)) == [("a", 1, "set", None, 1)]
    assert seen.due() == clock.now + 60
    clock.now += 59
    assert told(seen.look(state.store)) == []
    clock.now += 2
    (item,) = seen.look(state.store, ())
    assert isinstance(item, Change) and not item.written
    assert (item.revision.record.op, item.revision.old, item.revision.new) == ("expire", 1, None)
    assert item.revision.record.time == clock.now - 1 and item.revision.record.by.user == ""
    assert seen.due() is None
    assert told(seen.look(state.store)) == []
    state.set("a", 2)
    state.set("old", 1)
    assert told(seen.look(state.store)) == [("a", 3, "set", None, 2), ("old", 3, "set", None, 1)]


def test_an_expiry_that_was_written_before_one_looked_is_told_as_it_is_written() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("a", 1, ttl=60)
    seen = watching(state)
    clock.now += 61
    state.set("a", 2)
    assert told(seen.look(state.store)) == [("a", 2, "expire", 1, None), ("a", 3, "set", None, 2)]


def test_a_time_that_was_moved_is_waited_for() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("a", 1, ttl=60)
    seen = watching(state)
    clock.now += 50
    state.set("a", 1, ttl=60)
    clock.now += 20
    assert told(seen.look(state.store, ())) == [], "nothing rang, and the head was looked at all the same"
    assert seen.due() == clock.now + 40
    state.set("a", 1)
    assert told(seen.look(state.store)) == []
    assert seen.due() is None


@pytest.mark.parametrize("sealed", [False, True])
def test_what_is_sensitive_is_marked_also_if_it_became_so_later(sealed: bool) -> None:
    clock = Clock()
    state = make_state(memory(clock, sealed=sealed), clock)
    seen = watching(state)
    state.set("a", "plain")
    state.set("a", "secret", sensitive=True)
    state.set("a", "open", sensitive=False)
    found = [item.revision for item in seen.look(state.store) if isinstance(item, Change)]
    assert [(one.secret, one.old_secret) for one in found] == [(True, True), (True, True), (False, True)]
    state.set("a", "again", sensitive=True, ttl=5)
    assert len(told(seen.look(state.store))) == 1
    clock.now += 6
    (item,) = seen.look(state.store, ())
    assert isinstance(item, Change) and item.revision.secret and item.revision.old_secret


def test_what_the_history_no_longer_keeps_is_told_as_a_gap() -> None:
    state = make_state(retention=Retention(keep=2, days=0, most=2))
    state.set("a", 0)
    seen = watching(state)
    for number in range(1, 10):
        state.writer.clock.now += 1  # type: ignore[attr-defined] # a Clock
        state.set("a", number)
        state.set("b", number)
    rows = told(seen.look(state.store))
    first = state.history("a")[-1].record.number
    assert first > 3
    assert rows[0] == ("Gap", "a", 2, first - 1)
    assert [row for row in rows if row[0] == "a"] == [
        ("a", number, "set", None if number == first else number - 2, number - 1)
        for number in range(first, 11)
    ]
    assert told(seen.look(state.store)) == []


def test_what_tags_keep_of_a_gap_is_told() -> None:
    state = make_state(retention=Retention(keep=1, days=0, most=1))
    seen = watching(state)
    state.set("a", 1)
    state.set("a", 2)
    tags.make(state.store, "local", "t", state.by, state.writer.clock())
    for number in range(3, 9):
        state.writer.clock.now += 1  # type: ignore[attr-defined] # a Clock
        state.set("a", number)
    rows = told(seen.look(state.store))
    assert rows[:2] == [("Gap", "a", 1, 1), ("a", 2, "set", None, 2)]
    assert rows[-1][:2] == ("a", 8)


def test_a_key_that_was_purged_begins_anew() -> None:
    state = make_state()
    for key in "abc":
        state.set(key, 1)
        state.set(key, 2)
    seen = watching(state)
    purge(state)
    assert sorted(told(seen.look(state.store))) == [("Purged", "a"), ("Purged", "b"), ("Purged", "c")]
    assert told(seen.look(state.store)) == []
    state.set("a", 3)
    assert told(seen.look(state.store)) == [("a", 1, "set", None, 3)]
    purge(state)
    state.set("a", 4)
    assert told(seen.look(state.store)) == [("Purged", "a"), ("a", 1, "set", None, 4)]
    purge(state)
    state.set("a", 5)
    state.set("a", 6)
    rung = [store_key("local", HEAD, "a")]
    assert told(seen.look(state.store, rung)) == [
        ("Purged", "a"), ("a", 1, "set", None, 5), ("a", 2, "set", 5, 6),
    ]  # fmt: skip
    purge(state)
    assert told(seen.look(state.store, rung)) == [("Purged", "a")]


def test_keys_that_were_sealed_anew_are_not_told() -> None:
    store = Sealed(MemoryStore(), key_source())
    state = make_state(store)
    state.set("a", 1)
    seen = watching(state)
    reseal.rekey(store, lambda count: b"\1" * count, lambda count: None)
    assert told(seen.look(store)) == []
    state.set("a", 2)
    assert told(seen.look(store)) == [("a", 2, "set", 1, 2)]


def test_many_keys_at_once() -> None:
    state = make_state()
    state.set("k0000", -1)
    seen = watching(state)
    for number in range(600):
        state.set(f"k{number:04}", number)
    rows = told(seen.look(state.store))
    assert sorted(row[0] for row in rows) == [f"k{number:04}" for number in range(600)]
    assert told(seen.look(state.store, [store_key("local", HEAD, f"k{n:04}") for n in range(600)])) == []


def test_what_was_taken_is_not_told_again_if_the_rest_is_not_asked_for() -> None:
    state = make_state()
    seen = watching(state)
    for number in range(3):
        state.set("a", number)
    assert [row[1] for row in told(islice(seen.look(state.store), 2))] == [1, 2]
    assert [row[1] for row in told(seen.look(state.store))] == [2, 3], (
        "of the last one it is not known that it was used"
    )


def test_a_view_names_its_own_keys_and_shared_ones() -> None:
    state = State(
        make_state().writer, "web1", make_state().by, shared_prefixes=("cluster:", "cluster:a", "all:")
    )
    assert scopes_of(state, "") == [Scope("web1"), Scope(SHARED, "all:"), Scope(SHARED, "cluster:")]
    assert scopes_of(state, "cl") == [Scope("web1", "cl"), Scope(SHARED, "cluster:")]
    assert scopes_of(state, "cluster:x") == [Scope(SHARED, "cluster:x")]
    assert scopes_of(state, "app") == [Scope("web1", "app")]
    assert scopes_of(state.shared, "app") == [Scope(SHARED, "app")]
    assert scopes_of(own_view(state), "") == [Scope("web1")]


class Following:
    """Someone who follows and never waits for anything: ``now`` is what has happened since."""

    def __init__(self, store: Store, clock: Clock, scopes: Callable[[], Sequence[Scope]]) -> None:
        self._items = follow(store, scopes, clock, lambda: 0.0, sleep=lambda seconds: None)
        assert next(self._items) is None

    def now(self) -> list[tuple[Any, ...]]:
        """All up to the next pause."""
        found: list[Item] = []
        while (item := next(self._items)) is not None:
            found.append(item)
        return told(iter(found))


@pytest.mark.parametrize("sealed", [False, True])
def test_it_follows_what_the_bell_says(sealed: bool) -> None:
    clock = Clock()
    store = memory(clock, sealed=sealed)
    state = make_state(store, clock)
    state.set("a", 0)
    following = Following(store, clock, lambda: scopes_of(state, ""))
    assert following.now() == []
    state.set("a", 1, ttl=5)
    state.set("cluster:b", 2)
    assert following.now() == [("a", 2, "set", 0, 1), ("cluster:b", 1, "set", None, 2)]
    clock.now += 6
    assert following.now() == [("a", 2, "expire", 1, None)]


def test_namespaces_may_be_added() -> None:
    clock = Clock()
    store = memory(clock, sealed=False)
    state = make_state(store, clock)

    def scopes() -> list[Scope]:
        return [Scope(name) for name in sorted({place(entry.key).namespace for entry in store.scan()})]

    following = Following(store, clock, scopes)
    state.set("a", 1)
    state.agent("web1").set("a", 2)
    assert following.now() == [("a", 1, "set", None, 1), ("a", 1, "set", None, 2)]


class Faulty:
    """A store whose bell, or whose reading, fails as often as is said."""

    def __init__(self, inner: Store, patience: Patience | None) -> None:
        self.inner = inner
        self.traits = inner.traits._replace(watch=self._watch, patience=patience)
        self.get, self.commit, self.close = inner.get, inner.commit, inner.close
        self.bell = self.reading = self.opening = 0
        self.error: StoreDown = StoreDown("away")

    def scan(self, prefix: str = "", **more: object) -> Iterator[object]:
        """See Store; fails after its first entry."""
        for entry in self.inner.scan(prefix, **more):  # type: ignore[arg-type] # as it is
            yield entry
            if self.reading:
                self.reading -= 1
                raise self.error

    @contextmanager
    def _watch(self, prefix: str) -> Iterator[Doorbell]:
        if self.opening:
            self.opening -= 1
            raise self.error
        assert self.inner.traits.watch is not None
        with self.inner.traits.watch(prefix) as inner:

            def bell(seconds: float) -> Sequence[str] | None:
                heard = inner(seconds)
                if self.bell:
                    self.bell -= 1
                    raise self.error  # what was heard is lost
                return heard

            yield bell


def faulty(outage: float) -> tuple[Faulty, State, Clock]:
    """A store with a patience of so many seconds, of which each pause takes one."""
    clock = Clock()
    contact = Contact()
    contact.reached = True

    def sleep(seconds: float) -> None:
        clock.now += 1

    store = Faulty(MemoryStore(clock), Patience(outage, outage, contact=contact, clock=clock, sleep=sleep))
    return store, make_state(store.inner, clock), clock


def test_a_store_that_is_away_for_a_moment_is_waited_for() -> None:
    store, state, clock = faulty(30)
    store.opening = 3
    following = Following(store, clock, lambda: [Scope("local")])  # type: ignore[arg-type] # close enough to one
    state.set("a", 1)
    store.bell = 5
    assert following.now() == [("a", 1, "set", None, 1)]
    for key in "bcd":
        state.set(key, 1)
    store.bell = store.reading = 1
    assert [row[0] for row in following.now()] == ["b", "c", "d"]


@pytest.mark.parametrize("error", [StoreDown("away"), Forbidden("no")])
def test_a_store_that_stays_away_is_an_error(error: StoreDown) -> None:
    store, _, clock = faulty(5)
    following = Following(store, clock, lambda: [Scope("local")])  # type: ignore[arg-type] # close enough to one
    store.error, store.bell = error, 1_000_000
    begun = clock.now
    with pytest.raises(type(error)):
        following.now()
    assert (clock.now - begun >= 5) is not isinstance(error, Forbidden)


def test_a_store_that_has_no_bell_is_looked_at_again_and_again() -> None:
    clock = Clock()
    inner = MemoryStore(clock)
    inner.traits = inner.traits._replace(watch=None)
    state = make_state(inner, clock)
    items = follow(inner, lambda: [Scope("local")], clock)
    assert next(items) is None
    state.set("a", 1)
    item = next(items)
    assert isinstance(item, Change) and item.key == "a"


KEYS = st.sampled_from(["a", "b", "c:1", "c:2"])


class Laws(RuleBasedStateMachine):
    """Writers of several kinds, and someone who looks now and then."""

    retention = Retention()

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = memory(self.clock, sealed=False)
        self.states = [make_state(self.store, self.clock, retention=self.retention) for _ in range(2)]
        self.truth: dict[str, list[tuple[int, str, object]]] = {}
        self.told: dict[str, list[Change | Gap]] = {}
        self.ended: set[tuple[str, int]] = set()
        assert self.store.traits.watch is not None
        self.bell = self.store.traits.watch("").__enter__()
        self.watching = Watching(lambda: [Scope("local")], self.clock)
        self.watching.begin(self.store)

    def wrote(self, key: str) -> None:
        """Take down what was just written."""
        have = self.truth.setdefault(key, [])
        records = [one.record for one in self.states[0].history(key, 3)]
        for record in reversed(records):
            if not have or record.number > have[-1][0]:
                have.append((record.number, record.op, None if record.text is None else decode(record.text)))

    @rule(key=KEYS, value=st.integers(0, 3), ttl=st.sampled_from([None, None, 5.0]), who=st.integers(0, 1))
    def set(self, key: str, value: int, ttl: float | None, who: int) -> None:
        self.states[who].set(key, value, ttl=ttl)
        self.wrote(key)

    @rule(key=KEYS, who=st.integers(0, 1))
    def delete(self, key: str, who: int) -> None:
        self.states[who].delete(key)
        self.wrote(key)

    @rule(key=KEYS, count=st.integers(2, 8))
    def count(self, key: str, count: int) -> None:
        for _ in range(count):
            self.states[0].increment(key)
            self.wrote(key)

    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0]))
    def later(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(says=st.booleans())
    def look(self, says: bool) -> None:
        heard = self.bell(0)
        for item in self.watching.look(self.store, heard if says else None):
            assert not isinstance(item, Purged)
            if isinstance(item, Change) and not item.written:
                number = item.revision.record.number
                assert (item.key, number) not in self.ended
                assert self.truth[item.key][number - 1][2] == item.revision.old
                self.ended.add((item.key, number))
            else:
                self.told.setdefault(item.key, []).append(item)

    def teardown(self) -> None:
        self.look(says=False)
        for key, truth in self.truth.items():
            number = 0
            for item in self.told.get(key, []):
                if isinstance(item, Gap):
                    assert item.first == self.next_after(key, number) or item.first == number + 1
                    number = item.last
                    continue
                record = item.revision.record
                assert record.number == self.next_after(key, number)
                value = None if record.text is None else decode(record.text)
                assert (record.number, record.op, value) == truth[record.number - 1]
                number = record.number
            assert self.next_after(key, number) == len(truth) + 1, "nothing was left out"

    def next_after(self, key: str, number: int) -> int:
        """The revision that is told after this one: not an expiry that was told when it happened."""
        truth = self.truth[key]
        skip = (key, number) in self.ended and number < len(truth) and truth[number][1] == "expire"
        return number + (2 if skip else 1)

    @precondition(lambda self: self.retention == Retention())
    @rule()
    def there_are_no_gaps(self) -> None:
        assert not any(isinstance(item, Gap) for items in self.told.values() for item in items)


class Forgetful(Laws):
    """The same with a history that keeps little."""

    retention = Retention(keep=2, days=0, most=2)


@pytest.mark.parametrize("machine", [Laws, Forgetful])
def test_the_laws_of_watching(machine: type[Laws]) -> None:
    assert settings.default is not None
    few = settings(max_examples=settings.default.max_examples // 3)
    run_state_machine_as_test(machine, settings=few)
