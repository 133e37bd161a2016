"""Questions about the past: answered from what is kept, and refused, not guessed, where it is compacted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.errors import Compacted
from sloth_runner.state import history, tags
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.edits import set_ttl
from sloth_runner.state.history import Filter, Mark
from sloth_runner.state.layout import BLOB, HISTORY, prefix_of, revisions_of
from sloth_runner.state.record import decode_record
from sloth_runner.state.state import State
from sloth_runner.state.store import Entry
from tests.state.kit import BY, Clock, make_state, memory

KEYS = ["a", "a:b", "b", "ä"]
WRITES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 2), st.sampled_from(["ann", "bob"])), max_size=40
)


def _someone(state: State, user: str) -> State:
    return State(state.writer, state.namespace, BY._replace(user=user, run=f"run-of-{user}"))


def _numbers(state: State, key: str) -> list[int]:
    return [found.record.number for found in state.history(key)]


def _written(writes: list[tuple[str, int, str]], *, sealed: bool) -> tuple[State, list[tuple[Mark, str]]]:
    """A state, and all of its revisions in the order of the list, with who made them."""
    clock = Clock()
    state = make_state(memory(clock, sealed=sealed), clock)
    made: list[tuple[Mark, str]] = []
    for index, (key, pause, user) in enumerate(writes):
        clock.now += pause
        _someone(state, user).set(key, index)
        made.append((Mark(clock.now, key, _numbers(state, key)[0]), user))
    return state, sorted(made, key=lambda one: one[0].rank)


@settings(max_examples=60, deadline=None)
@given(
    writes=WRITES,
    limit=st.integers(1, 7),
    prefix=st.sampled_from(["", "a", "b", "c"]),
    by=st.sampled_from([None, "ann", "bob@host1", "run-of-bob", "nobody"]),
    since=st.integers(-1, 20),
    until=st.integers(0, 30),
    sealed=st.booleans(),
)
def test_the_newest_changes_of_all_keys_page_by_page(
    writes: list[tuple[str, int, str]],
    limit: int,
    prefix: str,
    by: str | None,
    since: int,
    until: int,
    sealed: bool,
) -> None:
    state, made = _written(writes, sealed=sealed)
    start = Clock().now
    wanted = Filter(start + since, start + until, frozenset() if by is None else frozenset({by}))
    right = [
        mark
        for mark, user in made
        if mark.key.startswith(prefix)
        and start + since <= mark.time <= start + until
        and (by is None or by in (user, f"{user}@host1", f"run-of-{user}"))
    ]
    found: list[Mark] = []
    while True:
        after = found[-1] if found else None
        page = history.latest(state.writer.store, "local", prefix, wanted, limit, after)
        found += page
        if len(page) < limit:
            break
    assert found == right


def test_a_limited_question_does_not_read_what_is_older() -> None:
    class Counting(MemoryStore):
        read = 0

        def scan(
            self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
        ) -> Iterator[Entry]:
            for entry in super().scan(prefix, after=after, limit=limit, reverse=reverse):
                self.read += prefix.startswith(prefix_of("local", HISTORY))
                yield entry

    clock = Clock()
    store = Counting(clock)
    state = make_state(store, clock)
    for key in range(300, 0, -1):
        clock.now += 1
        for value in range(5):
            state.set(f"key{key:03d}", value)
    store.read = 0
    assert len(history.latest(store, "local", "", Filter(), 3)) == 3
    assert store.read < 100


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["set", "set ttl", "delete", "touch", "forever"]),
            st.integers(1, 4),
            st.integers(1, 6),
        ),
        max_size=15,
    ),
    sealed=st.booleans(),
)
def test_what_was_there_at_each_moment(steps: list[tuple[str, int, int]], sealed: bool) -> None:
    clock = Clock()
    state = make_state(memory(clock, sealed=sealed), clock)
    seen: list[tuple[float, object]] = [(clock.now, None)]
    for index, (what, pause, ttl) in enumerate(steps):
        clock.now += pause
        if what == "set":
            state.set("k", index)
        elif what == "set ttl":
            state.set("k", index, ttl=ttl)
        elif what == "delete":
            state.delete("k")
        else:
            state.apply("k", set_ttl(ttl if what == "touch" else None))
        for _ in range(3):
            seen.append((clock.now, state.get("k")))
            clock.now += 0.5
    for moment, value in seen:
        record = state.at("k", moment)
        assert (None if record is None else json.loads(record.text or "null")) == value, moment


def test_the_time_of_an_expiry_is_known_although_nobody_was_there() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("k", 1, ttl=10)
    clock.now += 100
    state.set("k", 2)
    assert [found.record.op for found in state.history("k")] == ["set", "expire", "set"]
    assert state.at("k", clock.now - 91) is not None
    assert state.at("k", clock.now - 90) is None


def test_long_values_are_pruned_by_their_bytes() -> None:
    clock = Clock()
    state = make_state(clock=clock, retention=Retention(2, 90, 1000, 150_000))
    for index in range(6):
        state.set("k", f"{index}" * 100_000)
    assert _numbers(state, "k") == [6, 5]
    store = state.writer.store
    blobs = [entry.key[-1] for entry in store.scan(revisions_of("local", BLOB, "k"))]
    assert blobs == ["5", "6"]
    state.set("k", "short")
    assert _numbers(state, "k") == [7, 6], "two of them are always kept"
    last = decode_record(next(store.scan(revisions_of("local", HISTORY, "k"), reverse=True)).value)
    assert last.kept == 100_000 + len("short")
    for _ in range(4):
        clock.now += 1
        state.set("k", str(clock.now))
    assert _numbers(state, "k")[-1] == 6, "what is small stays"


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    keep=st.integers(1, 5),
    most=st.integers(5, 12),
    total=st.integers(1, 300),
)
def test_no_more_is_kept_than_the_rule_says(sizes: list[int], keep: int, most: int, total: int) -> None:
    state = make_state(retention=Retention(keep, 90, most, total))
    model: list[int] = []
    for index, size in enumerate(sizes):
        state.set("k", f"{index:03d}".ljust(size + 3, "x"))
        model.append(size + 3)
        for _ in range(2):  # a write prunes at most two, and leaves the one before it
            if len(model) > 2 and (len(model) > most or (len(model) > keep and sum(model) > total)):
                del model[0]
        assert [len(str(found.new)) for found in state.history("k")] == model[::-1]
        last = history.head(state.writer.store, "local", "k")
        assert last is not None and last.kept == sum(model)


def test_a_tagged_revision_survives_and_what_was_between_is_compacted() -> None:
    clock = Clock()
    state = make_state(clock=clock, retention=Retention(2, 90, 3))
    for value in range(4):
        clock.now += 1
        state.set("k", value)
    tagged = clock.now
    tags.make(state.writer.store, "local", "v1", BY, clock.now)
    for value in range(4, 20):
        clock.now += 1
        state.set("k", value)
    assert _numbers(state, "k") == [20, 19, 18, 4]
    assert state.revision("k", 4).text == "3"
    shown = state.history("k")
    assert [found.old for found in shown] == [18, 17, None, None]
    for lost in (3, 5, 17):
        with pytest.raises(Compacted, match="18 is the oldest"):
            state.revision("k", lost)
    for moment in (tagged - 2, tagged, tagged + 1, clock.now - 3):
        with pytest.raises(Compacted, match="what 'k' held then is compacted"):
            state.at("k", moment)
    record = state.at("k", clock.now - 2)
    assert record is not None and record.number == 18


def test_a_secret_is_one_in_its_whole_history() -> None:
    state = make_state()
    told: list[object] = []
    state.on_secret = told.append
    state.set("k", "early")
    state.set("k", "late")
    state.set("k", "late", sensitive=True)
    assert [(found.secret, found.old_secret) for found in state.history("k")] == [
        (True, True),
        (True, True),
    ]
    assert set(told) == {"late", "early"}
    told.clear()
    assert state.revision("k", 1).sensitive
    assert told == ["early"]
    state.rollback("k", 1)
    row = state.row("k")
    assert row is not None and row.record.sensitive and row.value == "early"
