"""What the State API promises, on the memory store; the stores' own laws are in the conformance suite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sloth_runner.errors import (
    BadName,
    BadValue,
    Compacted,
    Conflict,
    Corrupt,
    Indeterminate,
    KeyMissing,
    NotANumber,
    StoreDown,
    TooLarge,
)
from sloth_runner.state import edits
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import HEAD, HISTORY, revisions_of, store_key
from sloth_runner.state.record import decode_record, digest
from sloth_runner.state.store import Change, Check, Entry
from tests.state.kit import Clock, make_state

if TYPE_CHECKING:
    from sloth_runner.model import Value


def test_set_get_delete() -> None:
    state = make_state()
    assert state.get("a") is None
    assert state.get("a", 5) == 5
    assert state.set("a", "1")
    assert not state.set("a", "1")
    assert state.get("a") == "1"
    assert state.delete("a")
    assert not state.delete("a")
    assert not state.exists("a")


def test_false_is_a_value() -> None:
    state = make_state()
    state.set("a", False)
    assert state.get("a", True) is False
    assert state.exists("a")


def test_numbers_of_revisions_go_on_after_delete() -> None:
    state = make_state()
    for value in ("1", "2"):
        state.set("a", value)
    state.delete("a")
    state.set("a", "3")
    assert [(r.record.number, r.record.op, r.old, r.new) for r in state.history("a")] == [
        (4, "set", None, "3"),
        (3, "delete", "2", None),
        (2, "set", "1", "2"),
        (1, "set", None, "1"),
    ]


def test_equal_values_make_no_revision_nor_does_a_changed_ttl_or_flag() -> None:
    state = make_state()
    state.set("a", 5)
    assert state.set("a", 5, ttl=10)
    assert state.set("a", 5, ttl=10, sensitive=True)
    assert [r.record.number for r in state.history("a")] == [1]
    assert state.ttl("a") == 10
    state.set("a", 5.0)
    assert [r.record.number for r in state.history("a")] == [2, 1]


def test_set_removes_an_expiry_unless_asked_to_keep_it() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("a", 1, ttl=10)
    state.set("a", 2, keep_ttl=True)
    assert state.ttl("a") == 10
    state.set("a", 3)
    assert (state.ttl("a"), state.ttl("b")) == (-1, -2)


def test_an_expired_key_is_absent_and_its_end_stands_in_the_history() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    state.set("a", 1, ttl=10)
    clock.now += 10
    assert state.get("a") is None
    assert not state.exists("a")
    assert state.items() == []
    assert not state.delete("a")
    assert state.increment("a") == 1
    assert [r.record.op for r in state.history("a")] == ["set", "expire", "set"]


def test_sensitivity_stays_until_it_is_taken_away() -> None:
    state = make_state()
    told: list[object] = []
    state.on_secret = told.append
    state.set("a", "hidden", sensitive=True)
    state.set("a", "still hidden")
    assert state.get("a") == "still hidden"
    state.set("a", "open", sensitive=False)
    state.get("a")
    assert told == ["still hidden"]


@pytest.mark.parametrize(
    ("start", "delta", "result"),
    [
        (None, 1, 1),
        (5, -7, -2),
        ("5", 1, 6),
        ("-5", 1, -4),
        ("1.5", 1, 2.5),
        (1.5, 1, 2.5),
        (2, 0.5, 2.5),
        ((1 << 63) - 2, 1, (1 << 63) - 1),
        (1 - (1 << 63), -1, -(1 << 63)),
    ],
)
def test_increment(start: str | int | float | None, delta: int | float, result: int | float) -> None:
    state = make_state()
    if start is not None:
        state.set("a", start, ttl=50)
    got = state.increment("a", delta)
    assert (got, type(got)) == (result, type(result))
    assert state.get("a") == result
    assert state.ttl("a") == (-1 if start is None else 50)


@pytest.mark.parametrize(
    ("start", "delta"),
    [
        ("x", 1),
        (" 5", 1),
        ("5e3", 1),
        ("9" * 5000, 1),
        ("0x10", 1),
        (True, 1),
        ({}, 1),
        ((1 << 63) - 1, 1),
        (-(1 << 63), -1),
        (1e308, 1e308),
        (1, float("nan")),
    ],
)
def test_increment_refuses_what_is_no_number_and_changes_nothing(start: object, delta: float) -> None:
    state = make_state()
    state.set("a", start)  # type: ignore[arg-type] # parametrized
    with pytest.raises(NotANumber):
        state.increment("a", delta)
    assert [r.record.number for r in state.history("a")] == [1]


@pytest.mark.parametrize("secret", [True, False])
def test_what_can_t_be_added_to_is_told_unless_it_is_secret(secret: bool) -> None:
    state = make_state()
    for value in ("s3cr3t", 9223372036854775807, "1e3"):
        state.set("a", value, sensitive=secret)
        with pytest.raises(NotANumber, match="'a'") as caught:
            state.increment("a")
        assert (str(value) in str(caught.value)) is not secret
        assert ("••••" in str(caught.value)) is secret


@pytest.mark.parametrize(
    ("value", "size"), [("abc", 3), ("a\nb", 3), ("é", 2), ("\x00", 1), (12, 2), ([1], 3)]
)
def test_the_size_of_a_value_is_that_of_a_string_itself(value: Value, size: int) -> None:
    state = make_state()
    state.set("a", value)
    assert state.history("a")[0].record.size == size


def test_lists_and_strings() -> None:
    state = make_state()
    state.set("l", ["a"], ttl=10)
    state.set("s", "", ttl=10)
    assert state.apply("l", edits.push({"b": 1})) == 2
    assert state.apply("l", edits.push("c")) == 3
    assert state.apply("l", edits.pop()) == "c"
    assert state.apply("l", edits.pop("first")) == "a"
    assert state.apply("l", edits.pop()) == {"b": 1}
    assert state.apply("l", edits.pop()) is None
    assert (state.get("l"), state.ttl("l")) == ({}, 10)
    assert state.apply("s", edits.append("\udcc3")) == 1
    assert state.apply("s", edits.append("\udca9")) == 2
    assert (state.get("s"), state.ttl("s")) == ("é", 10)
    with pytest.raises(BadValue, match="not a list"):
        state.apply("s", edits.push(1))
    with pytest.raises(BadValue, match="not a string"):
        state.apply("l", edits.append("x"))


def test_compare_and_swap() -> None:
    state = make_state()
    state.set("a", 1, ttl=10)
    assert state.apply("a", edits.swap(1, 1)) is True
    assert state.apply("a", edits.swap(None, 2)) is False
    assert state.apply("a", edits.swap(1.0, 2)) is False
    assert state.apply("a", edits.swap(1, 2)) is True
    assert state.ttl("a") == 10
    assert state.apply("a", edits.swap(2, None)) is True
    assert not state.exists("a")
    assert state.apply("a", edits.swap(None, None)) is True
    assert state.apply("a", edits.swap(None, 1)) is True
    assert [(r.record.op, r.record.text) for r in state.history("a")] == [
        ("set", "1"),
        ("delete", None),
        ("set", "2"),
        ("set", "1"),
    ]


def test_only_what_is_absent_is_set() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    told: list[object] = []
    state.on_secret = told.append
    assert state.apply("a", edits.put_if_absent("first", ttl=10, sensitive=True)) is True
    assert state.apply("a", edits.put_if_absent("second", ttl=20, sensitive=False)) is False
    assert (state.get("a"), state.ttl("a"), told) == ("first", 10, ["first"])
    clock.now += 10
    assert state.apply("a", edits.put_if_absent("second", sensitive=False)) is True
    assert (state.get("a"), state.ttl("a"), told) == ("second", -1, ["first"])


def test_shared_keys_are_the_same_from_everywhere() -> None:
    here = make_state()
    web = here.agent("web1")
    web.set("cluster:leader", "web1")
    web.set("own", 1)
    assert here.get("cluster:leader") == "web1"
    assert here.get("own") is None
    assert here.shared.items() == [("cluster:leader", "web1")]
    assert web.items() == [("cluster:leader", "web1"), ("own", 1)]
    assert web.items("clu") == web.items("cluster:l") == [("cluster:leader", "web1")]
    assert web.items("o") == [("own", 1)]


def test_prefixes_are_literal_and_lists_are_in_key_order() -> None:
    state = make_state()
    for key in ("a_b", "aXb", "a%b", "ä", "a", "b"):
        state.set(key, key)
    assert state.keys("a_") == ["a_b"]
    assert state.keys("a%") == ["a%b"]
    assert state.keys() == sorted(["a_b", "aXb", "a%b", "ä", "a", "b"])


@pytest.mark.parametrize("key", ["", "a\x00b", "a\nb", "x" * 513, "\udcff", "\x7f", "a\x85"])
def test_bad_keys_are_refused_everywhere(key: str) -> None:
    state = make_state()
    for action in (state.get, state.exists, state.delete, state.increment, state.history, state.ttl):
        with pytest.raises(BadName):
            action(key)


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 64, "ä", "_shared", "a\x1fb"])
def test_bad_agent_names_are_refused(name: str) -> None:
    with pytest.raises(BadName):
        make_state().agent(name)


def test_going_back_to_a_secret_does_not_show_it() -> None:
    state = make_state()
    state.set("a", "hidden", sensitive=True)
    state.set("a", "public", sensitive=False)
    state.rollback("a", 1)
    row = state.row("a")
    assert row is not None and row.value == "hidden" and row.record.sensitive
    state.rollback("a", 2)
    row = state.row("a")
    assert row is not None and row.value == "public" and row.record.sensitive  # until it is said not to be


def test_rollback_makes_a_revision_and_old_ones_can_be_read() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    for value in ("1", "2", "3"):
        state.set("a", value)
        clock.now += 10
    assert state.rollback("a", 1) == 4
    assert state.get("a") == "1"
    assert state.rollback("a", 1) == 4
    before = state.at("a", clock.now - 25)
    assert before is not None
    assert before.text == '"1"'
    assert state.at("a", clock.now - 1000) is None
    with pytest.raises(KeyMissing, match="its last is 4"):
        state.revision("a", 9)
    with pytest.raises(KeyMissing):
        state.revision("nothing", 1)


def test_long_values_stand_beside_their_record() -> None:
    store = MemoryStore()
    state = make_state(store)
    long = "x" * 300_000
    state.set("a", long)
    state.set("a", "short")
    assert state.history("a")[0].old == long
    assert state.rollback("a", 1) == 3
    assert state.get("a") == long
    assert state.items() == [("a", long)]
    assert not state.set("a", long)


def test_history_is_kept_by_number_age_and_count() -> None:
    clock = Clock()
    state = make_state(clock=clock, retention=Retention(keep=3, days=1, most=6))
    for number in range(1, 21):
        state.set("a", number)
    assert [r.record.number for r in state.history("a")] == [20, 19, 18, 17, 16, 15]
    with pytest.raises(Compacted, match="15 is the oldest"):
        state.revision("a", 14)
    clock.now += 2 * 86400
    for number in range(21, 26):
        state.set("a", number)
    assert [r.record.number for r in state.history("a")] == [25, 24, 23, 22, 21]


def test_the_chain_of_hashes_holds_also_after_a_changed_ttl() -> None:
    state = make_state()
    for number in range(5):
        state.set("a", number)
        state.set("a", number, ttl=100, sensitive=bool(number % 2))
    entries = state.writer.store.scan(revisions_of("local", HISTORY, "a"))
    records = [decode_record(entry.value) for entry in entries]
    assert records[0].previous == ""
    assert [r.previous for r in records[1:]] == [digest(r) for r in records[:-1]]


def test_many_mutations_share_a_commit_and_a_bad_one_fails_alone() -> None:
    commits: list[int] = []

    class Counting(MemoryStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            commits.append(1)
            return super().commit(changes)

    state = make_state(Counting())
    state.set("bad", "x")
    commits.clear()
    mutations = [state.edit("n", edits.add(1)) for _ in range(5)]
    mutations.insert(2, state.edit("bad", edits.add(1)))
    results = state.writer.apply(mutations)
    assert isinstance(results.pop(2), NotANumber)
    assert results == [1, 2, 3, 4, 5]
    assert len(commits) == 1
    assert len(state.history("n")) == 5


def test_what_is_too_much_together_goes_alone_and_what_is_too_much_fails_alone() -> None:
    class Narrow(MemoryStore):
        """Takes few bytes at once, whatever one value may have."""

        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            if sum(len(c.value) for c in changes if isinstance(c, Change) and c.value is not None) > 4000:
                raise TooLarge("more than 4,000 bytes at once")
            return super().commit(changes)

    state = make_state(Narrow())
    values = ["a" * 500, "b" * 500, "c" * 5000, "d" * 500]
    results = state.writer.apply([state.edit(v[0], edits.put(v)) for v in values])
    assert isinstance(results[2], TooLarge)
    assert [state.get(v[0]) for v in values] == [values[0], values[1], None, values[3]]


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("back", ["never", "after the retry", "soon"])
def test_a_lost_reply_is_never_taken_for_a_refusal(applied: bool, back: str) -> None:
    class Leaving(MemoryStore):
        """Loses a reply, and is down afterwards: for good, for the look that follows the retry, or not at all."""

        lost = down = False

        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            if not self.lost:
                self.lost = True
                if applied:
                    super().commit(changes)
                raise Indeterminate("no reply")
            if back == "never":
                raise StoreDown("gone")
            self.down = back == "after the retry" and applied
            return super().commit(changes)

        def get(self, key: str) -> Entry | None:
            if self.down:
                raise StoreDown("gone")
            return super().get(key)

    store = Leaving()
    state = make_state(store)
    if back == "never" or (back == "after the retry" and applied):
        with pytest.raises(Indeterminate):
            state.set("a", "x")
        store.down = False
    else:
        state.set("a", "x")
    there = applied or back != "never"
    assert [h.new for h in state.history("a")] == (["x"] if there else [])


def test_stats() -> None:
    state = make_state()
    state.set("a", "12345")
    state.set("b", 1)
    state.set("b", 2)
    state.set("c", 1)
    state.delete("c")
    stats = state.stats()
    assert (stats.keys, stats.bytes, stats.revisions) == (2, 6, 5)


class Machine(RuleBasedStateMachine):
    """State is a dict with a memory: any order of calls agrees with a plain model."""

    keys = st.sampled_from(["a", "b", "cluster:a", "ä"])
    values = st.one_of(st.integers(-5, 5), st.text(max_size=3), st.booleans(), st.just([1]))

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.state = make_state(clock=self.clock)
        self.model: dict[str, object] = {}
        self.numbers: dict[str, int] = {}

    def changed(self, key: str, value: object) -> None:
        if value is None:
            self.model.pop(key, None)
        else:
            self.model[key] = value
        self.numbers[key] = self.numbers.get(key, 0) + 1

    @rule(key=keys, value=values)
    def set(self, key: str, value: int | str) -> None:
        same = key in self.model and (type(self.model[key]), self.model[key]) == (type(value), value)
        assert self.state.set(key, value) is not same
        if not same:
            self.changed(key, value)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        assert self.state.delete(key) is (key in self.model)
        if key in self.model:
            self.changed(key, None)

    @rule(key=keys, back=st.integers(0, 3))
    def rollback(self, key: str, back: int) -> None:
        last = self.numbers.get(key, 0)
        if last - back >= 1:
            record = self.state.revision(key, last - back)
            number = self.state.rollback(key, last - back)
            self.numbers[key] = number
            value = self.state.get(key)
            self.changed(key, value)
            self.numbers[key] = number
            assert (record.text is None) == (value is None)

    @invariant()
    def agrees(self) -> None:
        assert dict(self.state.items()) == self.model
        for key, number in self.numbers.items():
            assert [r.record.number for r in self.state.history(key)] == list(range(number, 0, -1))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_conflict_that_never_ends_is_said() -> None:
    class Restless(MemoryStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            raise Conflict("again", keys=[changes[0].key])

    with pytest.raises(Conflict, match="changed by others each time"):
        make_state(Restless()).set("a", 1)


@pytest.mark.parametrize("data", [b"x", b"\xff", b"[]", b"{}"])
def test_a_record_that_is_none_is_said_to_be_damaged(data: bytes) -> None:
    state = make_state()
    state.writer.store.commit([Change(store_key("local", HEAD, "a"), data)])
    for read in (lambda: state.row("a"), lambda: state.exists("a"), lambda: state.set("a", 1)):
        with pytest.raises(Corrupt, match="can't be read"):
            read()
    if data != b"{}":
        with pytest.raises(Corrupt, match="can't be read"):
            state.get("a")


def test_a_value_that_was_marked_sensitive_stays_masked_in_its_history() -> None:
    state = make_state()
    state.set("k", "secret")
    state.set("k", "secret", sensitive=True)
    state.set("k", "public", sensitive=False)
    assert [(r.record.number, r.record.sensitive) for r in state.history("k")] == [(2, False), (1, True)]
