"""What is written together is what it would be had it been written one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import Conflict, LockLost, SlothError, StoreDown
from sloth_runner.state import edits, locks
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import HEAD, HISTORY, place, prefix_of, store_key
from sloth_runner.state.record import decode_record
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Check
from tests.state.kit import BY, Clock, make_state

LONG = "x" * 9000
EDITS = {
    "one": edits.put(1),
    "two": edits.put("two"),
    "long": edits.put(LONG),
    "hide one": edits.put(1, sensitive=True),
    "show one": edits.put(1, sensitive=False),
    "one for a while": edits.put(1, ttl=15),
    "delete": edits.delete,
    "last for a while": edits.set_ttl(15),
    "stay": edits.set_ttl(None),
    "count": edits.add(1),
}
GROUPS = st.lists(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(sorted(EDITS))), min_size=1, max_size=6),
    max_size=5,
)


def on_record(state: State, key: str) -> list[tuple[object, ...]]:
    """What a key's revisions say, apart from the moments up to which they hold."""
    found = state.store.scan(prefix_of("local", HISTORY))
    records = [decode_record(entry.value) for entry in found if f"\x1f{key}\x1f" in entry.key]
    return [
        (r.number, r.op, r.blob or r.text, r.sensitive, r.time, r.created, r.size, r.kept) for r in records
    ]


@given(GROUPS)
def test_together_or_one_by_one(groups: list[list[tuple[str, str]]]) -> None:
    clock = Clock()
    together, apart = make_state(clock=clock), make_state(clock=clock)
    for group in groups:
        clock.now += 10
        told = together.writer.apply([together.edit(key, EDITS[name]) for key, name in group])
        one_by_one = [apart.writer.apply([apart.edit(key, EDITS[name])])[0] for key, name in group]
        assert list(map(str, told)) == list(map(str, one_by_one))
        for key in "ab":
            assert on_record(together, key) == on_record(apart, key)
            mine, other = together.row(key), apart.row(key)
            assert (mine is None) is (other is None)
            if mine is not None and other is not None:
                assert (mine.value, mine.record.expires) == (other.value, other.record.expires)


def test_each_namespace_has_a_commit_of_its_own_and_each_mutation_its_result() -> None:
    commits: list[set[str]] = []

    class Noting(MemoryStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            commits.append({place(change.key).namespace for change in changes})
            return super().commit(changes)

    state = make_state(Noting())
    keys = ("a", "cluster:a", "a", "b", "cluster:a", "cluster:a")
    told = state.writer.apply([state.edit(key, edits.add(n)) for n, key in enumerate(keys, 1)])
    assert told == [1, 2, 4, 4, 7, 13]
    assert commits == [{"local"}, {"_shared"}]
    assert dict(state.items()) == {"a": 4, "b": 4, "cluster:a": 13}


def test_who_goes_back_hears_the_last_number_and_others_their_results() -> None:
    state = make_state()
    state.set("a", 1)
    group = [("a", edits.put(2)), ("a", edits.restore("1", False)), ("b", edits.add(7)), ("a", edits.put(3))]
    assert state.writer.apply([state.edit(key, edit) for key, edit in group]) == [True, 4, 7, True]


def test_no_commit_is_larger_than_a_store_takes() -> None:
    sizes: list[int] = []

    class Narrow(MemoryStore):
        traits = MemoryStore.traits._replace(max_changes=16)

        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            sizes.append(len(changes))
            return super().commit(changes)

    state = make_state(Narrow(), retention=Retention(1, 90, 1))
    for times in (1, 2, 3):
        told = state.writer.apply([state.edit(key, edits.add(1)) for key in "abcde"])
        assert told == [times] * 5
    assert max(sizes) <= 16 and len(sizes) == 9


def test_what_fails_for_all_is_told_to_each_as_an_error_of_its_own() -> None:
    class Down(MemoryStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            raise StoreDown("it does not answer", unchanged=["nothing"])

    state = make_state(Down())
    told = state.writer.apply([state.edit(key, edits.put(1)) for key in ("a", "b", "cluster:c")])
    assert [str(one) for one in told if isinstance(one, StoreDown)] == ["it does not answer"] * 3
    assert len({id(one) for one in told}) == 3


@pytest.mark.parametrize("by", [Conflict, LockLost])
def test_what_can_t_be_written_now_keeps_nothing_else_waiting(by: type[SlothError]) -> None:
    hot, commits = store_key("local", HEAD, "hot"), []

    class Contended(MemoryStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            if by is Conflict and any(change.key == hot for change in changes):
                raise Conflict("others have changed it", keys=[hot])
            done = super().commit(changes)
            commits.append({place(change.key).name for change in changes})
            return done

    state = make_state(Contended())
    owner = locks.Owner("t", "t", BY)
    lock = locks.acquire(state.store, "local", "lock", owner, 60, 0.0)
    assert isinstance(lock, locks.Held)
    if by is LockLost:
        locks.release(state.store, lock, 1.0)
    commits.clear()
    group = [state.edit(key, edits.add(1)) for key in ("a", "hot", "b", "hot", "c", "a")]
    fences = {"hot": (lock.fence._replace(renewed=True),)}
    told = state.writer.apply([one._replace(fences=fences.get(one.key, ())) for one in group])
    assert [one if isinstance(one, int) else type(one) for one in told] == [1, by, 1, by, 1, 2]
    assert commits == [{"a", "b", "c"}]
    for one in told:
        assert not isinstance(one, LockLost) or (one.final and list(one.unchanged) == ["hot"])


def test_a_value_was_created_when_it_was_set_after_there_was_none() -> None:
    clock = Clock()
    state = make_state(clock=clock)
    created = []
    for step in ("set", "change", "delete", "set", "expire", "set", "change"):
        clock.now += 10
        if step == "delete":
            state.delete("a")
        elif step == "expire":
            state.set("a", clock.now, ttl=5)
        else:
            state.set("a", clock.now)
        row = state.row("a")
        created.append(None if row is None else clock.now - row.record.created)
    assert created == [0, 10, None, 0, 10, 0, 10]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 3))
def test_what_is_beyond_is_gone_and_nothing_else(groups: list[int], most: int) -> None:
    state = make_state(retention=Retention(1, 90, most))
    value = 0
    for size in groups:
        state.writer.apply([state.edit("a", edits.put(value + number)) for number in range(size)])
        value += size
        kept = [row[0] for row in on_record(state, "a")]
        row = state.row("a")
        assert row is not None and kept == list(range(row.record.first, value + 1))
