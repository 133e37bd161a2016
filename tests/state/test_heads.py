"""A handle that remembers what it wrote last must answer as one that always reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sloth_runner.state import edits
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.record import digest
from sloth_runner.state.store import Change, Check, Entry
from tests.state.kit import Clock, make_state


class Neighbours(RuleBasedStateMachine):
    """Two handles that remember what they wrote last answer as one that always reads."""

    keys = st.sampled_from(["a", "b"])
    who = st.sampled_from([0, 1])
    edit = st.one_of(
        st.builds(edits.put, st.integers(0, 2)),
        st.builds(edits.put, st.integers(0, 2), ttl=st.just(5.0)),
        st.builds(edits.swap, st.integers(0, 2), st.integers(0, 2)),
        st.builds(edits.add, st.integers(0, 1)),
        st.builds(edits.put_if_absent, st.integers(0, 2)),
        st.builds(edits.set_ttl, st.one_of(st.none(), st.just(5.0))),
        st.just(edits.delete),
        st.just(edits.append("x")),
    )

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        store = MemoryStore(self.clock)
        self.ours = [make_state(store, self.clock) for _ in range(2)]
        self.plain = MemoryStore(self.clock)

    @rule(pairs=st.lists(st.tuples(keys, edit), min_size=1, max_size=3), who=who)
    def apply(self, pairs: list[tuple[str, edits.Edit]], who: int) -> None:
        ours, fresh = self.ours[who], make_state(self.plain, self.clock)
        got = ours.writer.apply([ours.edit(key, edit) for key, edit in pairs])
        want = fresh.writer.apply([fresh.edit(key, edit) for key, edit in pairs])
        assert [repr(x) for x in got] == [repr(x) for x in want]

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def agree(self) -> None:
        fresh = make_state(self.plain, self.clock)
        for key in ("a", "b"):
            ours, theirs = self.ours[0].history(key), fresh.history(key)
            assert [(r.old, r.new, r.record.number, r.record.op, r.record.expires) for r in ours] == [
                (r.old, r.new, r.record.number, r.record.op, r.record.expires) for r in theirs
            ]
            for newer, older in pairwise(r.record for r in ours):
                assert newer.previous == digest(older)


TestNeighbours = Neighbours.TestCase
TestNeighbours.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_key_written_again_is_not_read_again() -> None:
    class Counting(MemoryStore):
        reads = 0

        def get(self, key: str) -> Entry | None:
            self.reads += 1
            return super().get(key)

        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            before = self.reads
            revs = super().commit(changes)
            self.reads = before  # its own looks don't count
            return revs

    store = Counting()
    state = make_state(store)
    for number in range(20):
        state.set("a", number)
    assert store.reads == 1
