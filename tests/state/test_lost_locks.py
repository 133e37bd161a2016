"""Whatever the network does: who takes a lock or lets it go is told the truth."""

from __future__ import annotations

import pytest

from sloth_runner.errors import Indeterminate, StoreDown
from sloth_runner.state import locks
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import LEASE, store_key
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.store import Entry
from tests.state.kit import BY, Clock
from tests.state.lossy import Line, Lossy


def test_the_same_process_takes_no_lock_for_its_own_that_another_of_its_tasks_has() -> None:
    """Both tasks try at the same moment; only the owner in the record tells them apart."""
    line = Line(sealed=False)
    other, mine = Owner("job", "first", BY), Owner("job", "second", BY)

    def rival() -> None:
        assert isinstance(locks.acquire(line.memory, "local", "lock", other, 60, line.clock.now), Held)

    line.suffer(["rival, then lost after"], rival)
    found = locks.acquire(line.store, "local", "lock", mine, 60, line.clock.now)
    assert not isinstance(found, Held)
    assert found.owner == other


def test_a_lease_that_ended_while_its_reply_was_missing_is_taken_anew() -> None:
    line = Line(sealed=False)

    def pass_time() -> None:
        line.clock.now += 100

    line.suffer(["lost after, then rival"], pass_time)
    found = locks.acquire(line.store, "local", "lock", Owner("t", "t", BY), 60, line.clock.now)
    assert isinstance(found, Held)
    assert found.token == 2
    assert line.memory.get(store_key("local", LEASE, "lock")) is not None


def test_a_lock_that_was_let_go_is_said_to_be_after_its_next_holder_let_it_go_too() -> None:
    line = Line(sealed=False)

    def taken(who: str) -> Held:
        found = locks.acquire(line.direct, "local", "lock", Owner(who, who, BY), 60, line.clock.now)
        assert isinstance(found, Held)
        line.clock.now += 1
        return found

    def passing() -> None:
        assert locks.release(line.direct, taken("next"), line.clock.now)

    mine = taken("first")
    line.suffer(["lost after, then rival"], passing)
    assert locks.release(line.store, mine, line.clock.now)
    mine, old = taken("second"), mine
    adopted = locks.adopt(line.direct, locks.info(line.direct, "local", "lock") or pytest.fail())
    assert adopted == mine
    line.suffer(["lost after, then rival"], passing)
    assert locks.release(line.store, mine, line.clock.now)
    assert not locks.release(line.store, old, line.clock.now)


@pytest.mark.parametrize("passes", [True, False])
def test_a_lock_is_let_go_once(passes: bool) -> None:
    """Who does it again is not told that it was done now, even if the next one knows that it was."""
    line = Line(sealed=False)
    mine = locks.acquire(line.direct, "local", "lock", Owner("first", "first", BY), 60, line.clock.now)
    assert isinstance(mine, Held)
    assert locks.release(line.direct, mine, line.clock.now)
    line.clock.now += 1
    if passes:
        locks.acquire(line.direct, "local", "lock", Owner("next", "next", BY), 60, line.clock.now)
    line.suffer(["lost before"], lambda: None)
    assert not locks.release(line.store, mine, line.clock.now)


@pytest.mark.parametrize("reads", range(6))
def test_a_lock_that_was_taken_is_never_said_not_to_be(reads: int) -> None:
    """The reply is lost, and after so many reads the line breaks, while what became of it is being found out."""
    memory = MemoryStore(Clock())

    class Breaking(Lossy):
        left = 2 + reads

        def get(self, key: str) -> Entry | None:
            self.left -= 1
            if self.left < 0:
                raise StoreDown("the server does not answer")
            return super().get(key)

    lossy = Breaking(memory)
    lossy.traits = memory.traits
    lossy.suffer(["lost after"])
    try:
        found = locks.acquire(lossy, "local", "lock", Owner("t", "t", BY), 60, 0.0)
    except StoreDown:
        found = None
    except Indeterminate:
        return
    assert (memory.get(store_key("local", LEASE, "lock")) is not None) is isinstance(found, Held)
