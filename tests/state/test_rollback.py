"""Going back restores exactly what was there, is undone by going back again, and is all or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sloth_runner.errors import Compacted, Conflict, Indeterminate, StoreDown, TooLarge
from sloth_runner.state import rollback, tags
from sloth_runner.state.backends.memory import TRAITS, MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import HISTORY, prefix_of
from sloth_runner.state.rollback import Step, Target
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Check, Store
from sloth_runner.state.verify import verify
from tests.state.kit import BY, Clock, key_source, make_state

HAND = BY._replace(run=None, task=None)
Picture = dict[str, object]


class Small(MemoryStore):
    """Takes few changes at once; loses the reply of every commit with an odd number if told to."""

    traits = TRAITS._replace(max_changes=15)
    lossy = False
    commits = 0

    def commit(self, changes: Sequence[Change | Check]) -> list[int]:
        self.commits += 1
        done = super().commit(changes)
        if self.lossy and self.commits % 2:
            raise Indeterminate("no reply")
        return done


class Machine(RuleBasedStateMachine):
    """Runs write; each one's end, and some moments and tags, are remembered by a model; going back must give them."""

    keys = st.sampled_from(["a", "b", "c", "d", "e", "f", "long"])
    values = st.one_of(st.integers(-3, 3), st.text(max_size=3), st.booleans(), st.just([1, {"x": 2}]))

    @initialize(small=st.booleans(), lossy=st.booleans(), sealed=st.booleans())
    def begin(self, small: bool, lossy: bool, sealed: bool) -> None:
        self.clock = Clock()
        inner = Small(self.clock) if small else MemoryStore(self.clock)
        if isinstance(inner, Small):
            inner.lossy = lossy
        self.store: Store = Sealed(inner, key_source()) if sealed else inner
        self.state = make_state(self.store, self.clock)
        self.marks: list[tuple[Target, Picture]] = []
        self.number = 0

    def picture(self) -> Picture:
        return {key: repr(value) for key, value in self.state.items()}

    @rule(
        writes=st.lists(st.tuples(keys, st.sampled_from(["set", "ttl", "del", "push"]), values), max_size=6),
        pause=st.integers(0, 5),
    )
    def run(self, writes: list[tuple[str, str, int]], pause: int) -> None:
        self.number += 1
        run = f"run{self.number}"
        state = State(self.state.writer, "local", BY._replace(run=run), shared_prefixes=())
        for key, what, value in writes:
            self.clock.now += 1
            if key == "long":
                state.set(key, f"{value}" * 70_000)
            elif what == "set":
                state.set(key, value)
            elif what == "ttl":
                state.set(key, value, ttl=3)
            elif what == "del":
                state.delete(key)
            else:
                state.set(key, [self.number])
        self.marks.append((Target(self.clock.now, run), self.picture()))
        self.clock.now += pause + 1

    @rule()
    def remember_this_moment(self) -> None:
        self.marks.append((Target(self.clock.now), self.picture()))
        self.clock.now += 1

    @rule()
    def tag(self) -> None:
        name = f"t{len(self.marks)}"
        made = tags.make(self.store, "local", name, BY, self.clock.now)
        self.marks.append((Target(made.time, tag=name), self.picture()))
        self.clock.now += 1

    @precondition(lambda self: self.marks)
    @rule(index=st.integers(0, 100), undo=st.booleans())
    def go_back(self, index: int, undo: bool) -> None:
        target, wanted = self.marks[index % len(self.marks)]
        self.clock.now += 1
        before = self.picture()
        untouched = {key for key in before if before.get(key) == wanted.get(key)}
        numbers = {key: self.state.history(key)[0].record.number for key in untouched}
        began = self.clock.now
        steps, newest = rollback.plan(self.store, "local", target, began)
        assert newest <= began
        assert {step.key for step in steps} == {
            k for k in {*before, *wanted} if before.get(k) != wanted.get(k)
        }
        self.clock.now += 0.5
        rollback.apply(self.state.writer, "local", steps, HAND)
        assert self.picture() == wanted
        assert numbers == {key: self.state.history(key)[0].record.number for key in untouched}
        assert not rollback.plan(self.store, "local", target, self.clock.now)[0]
        assert verify(self.store, "local").ok
        if undo:
            self.clock.now += 0.25
            steps, _ = rollback.plan(self.store, "local", Target(began), self.clock.now)
            rollback.apply(self.state.writer, "local", steps, HAND)
            assert self.picture() == before
        self.clock.now = began + 1


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def _filled(store: MemoryStore, clock: Clock, keys: int, retention: Retention | None = None) -> State:
    state = make_state(store, clock, retention=retention)
    for value in ("old", "new"):
        clock.now += 1
        for number in range(keys):
            state.set(f"k{number:02d}", value)
    return state


def _values(state: State) -> set[object]:
    return {value for _, value in state.items()}


def test_what_one_commit_holds_goes_in_one() -> None:
    clock = Clock()
    store = Small(clock)
    state = _filled(store, clock, 3)
    store.commits = 0
    steps, _ = rollback.plan(store, "local", Target(clock.now - 1), clock.now)
    assert rollback.commits(state.writer, steps) == 1
    assert rollback.apply(state.writer, "local", steps, HAND) == 1 == store.commits
    assert _values(state) == {"old"}


@pytest.mark.parametrize("retention", [Retention(), Retention(1, 90, 2)])
def test_a_large_one_that_was_interrupted_is_finished_by_the_same_command(retention: Retention) -> None:
    class Breaking(Small):
        left = 1000

        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            self.left -= 1
            if self.left < 0:
                raise StoreDown("the disk is gone")
            return super().commit(changes)

    clock = Clock()
    store = Breaking(clock)
    state = _filled(store, clock, 20, retention)
    target = Target(clock.now - 1)
    clock.now += 1
    steps, _ = rollback.plan(store, "local", target, clock.now)
    assert rollback.commits(state.writer, steps) == 7
    store.left = 3
    with pytest.raises(StoreDown) as caught:
        rollback.apply(state.writer, "local", steps, HAND)
    assert caught.value.changed == ["9 keys went back before; run the same command again to finish"]
    assert _values(state) == {"old", "new"}
    store.left = 1000
    rest, _ = rollback.plan(store, "local", target, clock.now)
    assert len(rest) == 11
    rollback.apply(state.writer, "local", rest, BY)
    assert _values(state) == {"old"}


def test_what_a_store_finds_too_large_is_halved() -> None:
    class Narrow(MemoryStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            if len(changes) > 5:
                raise TooLarge("too much at once")
            return super().commit(changes)

    clock = Clock()
    state = _filled(Narrow(clock), clock, 9)
    steps, _ = rollback.plan(state.writer.store, "local", Target(clock.now - 1), clock.now)
    assert rollback.apply(state.writer, "local", steps, HAND) > 1
    assert _values(state) == {"old"}


def test_a_key_changed_since_the_plan_stops_all_of_it() -> None:
    clock = Clock()
    state = _filled(MemoryStore(clock), clock, 5)
    steps, _ = rollback.plan(state.writer.store, "local", Target(clock.now - 1), clock.now)
    state.set("k03", "newest")
    with pytest.raises(Conflict, match="'k03' was changed by others since the plan"):
        rollback.apply(state.writer, "local", steps, HAND)
    assert _values(state) == {"new", "newest"}


def test_compacted_keys_are_named_and_nothing_is_changed() -> None:
    clock = Clock()
    state = make_state(clock=clock, retention=Retention(1, 90, 2))
    for key in ("busy", "calm", "hasty"):
        state.set(key, "old")
    then = clock.now
    clock.now += 1
    for value in range(5):
        for key in ("busy", "hasty"):
            state.set(key, value)
    state.set("calm", "new")
    before = list(state.writer.store.scan())
    with pytest.raises(Compacted, match="2 of the keys held then is compacted: busy, hasty"):
        rollback.plan(state.writer.store, "local", Target(then), clock.now)
    assert list(state.writer.store.scan()) == before


def test_only_what_differs_gets_a_revision_marked_as_such() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    for key in ("same", "changed", "gone"):
        state.set(key, 1)
    then = clock.now
    clock.now += 1
    state.set("changed", 2)
    state.delete("gone")
    state.set("fresh", 1)
    clock.now += 1
    steps, newest = rollback.plan(state.writer.store, "local", Target(then), clock.now)
    assert steps == [Step("changed", 2, 1), Step("fresh", 1, 0), Step("gone", 2, 1)]
    assert newest == clock.now - 1
    rollback.apply(state.writer, "local", steps, BY._replace(user="zoe"))
    last = {key: state.history(key)[0].record for key in ("same", "changed", "gone", "fresh")}
    assert {key: (record.number, record.op) for key, record in last.items()} == {
        "same": (1, "set"),
        "changed": (3, "rollback"),
        "gone": (3, "rollback"),
        "fresh": (2, "rollback"),
    }
    assert last["gone"].by.user == "zoe"
    assert len(list(state.writer.store.scan(prefix_of("local", HISTORY)))) == 9


def test_a_secret_stays_one() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("k", "early")
    then = clock.now
    clock.now += 1
    state.set("k", "late", sensitive=True)
    steps, _ = rollback.plan(state.writer.store, "local", Target(then), clock.now)
    rollback.apply(state.writer, "local", steps, HAND)
    row = state.row("k")
    assert row is not None and (row.value, row.record.sensitive) == ("early", True)


def test_what_a_run_wrote_before_the_clock_was_put_back_is_its_own() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    run = State(state.writer, "local", BY._replace(run="run2"), shared_prefixes=())
    clock.now += 100
    run.set("k", "of the run")
    clock.now -= 50
    end = clock.now
    clock.now += 10
    state.set("k", "later")
    for target, value in ((Target(end, "run2"), "of the run"), (Target(end), None)):
        steps, _ = rollback.plan(state.writer.store, "local", target, clock.now)
        rollback.apply(state.writer, "local", steps, HAND)
        assert state.get("k") == value
