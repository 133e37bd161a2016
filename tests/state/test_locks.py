"""Who looks at a lock late, or is told why it was lost, is told the truth; what was shown is all that is acted on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import LockLost
from sloth_runner.state import locks
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.locks import Held, Info, Owner
from tests.state.kit import BY, Clock
from tests.state.lossy import Line


class Lock:
    """One lock, and those who take it one after the other."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)

    def take(self, who: str) -> Held:
        """Take it for a minute."""
        held = locks.acquire(self.store, "local", "lock", Owner(who, who, BY, "boot", 9), 60, self.clock.now)
        assert isinstance(held, Held)
        return held

    def shown(self) -> Info:
        """Who has it."""
        info = locks.info(self.store, "local", "lock")
        assert info is not None
        return info

    def lose(self, how: str) -> None:
        """Whoever has it loses it."""
        if how == "broken":
            assert locks.break_lock(self.store, self.shown(), BY, "", self.clock.now)
        else:
            self.clock.now += 61


LOSSES = st.lists(st.sampled_from(["ended", "broken"]), max_size=3)


@given(earlier=LOSSES, how=st.sampled_from(["ended", "broken"]), later=LOSSES, held=st.booleans())
def test_why_it_was_lost_is_true_or_said_to_be_unknown(
    earlier: list[str], how: str, later: list[str], held: bool
) -> None:
    lock = Lock()
    for way in earlier:
        lock.take("other")
        lock.lose(way)
    mine = lock.take("me")
    lock.lose(how)
    for way in later:
        lock.take("other")
        lock.lose(way)
    if held:
        lock.take("other")
    loss = locks.why_lost(lock.store, "local", "lock", mine.token)
    assert loss.broken in (how == "broken", None)
    steps = [how, *later].count("broken") + len(later) + held
    assert (loss.broken is None) is (steps > 2)  # the next two who take it, or take it away, keep what tells
    words = {True: "it was broken by ann@host1 at ", False: "its lease ended", None: "its lease ended, or "}
    assert loss.words.startswith(words[loss.broken])
    assert not loss.broken or loss.words.endswith(": no reason was given")
    advice = {True: "whoever broke it", False: "which renews", None: "lock list"}
    assert advice[loss.broken] in loss.advice(renewed=False)


@pytest.mark.parametrize("how", ["ended", "broken"])
def test_without_a_token_only_a_break_that_nobody_followed_is_told(how: str) -> None:
    lock = Lock()
    lock.take("me")
    lock.lose(how)
    assert locks.why_lost(lock.store, "local", "lock").broken is (True if how == "broken" else None)
    lock.take("other")
    assert locks.why_lost(lock.store, "local", "lock").broken is None


def test_a_lock_that_another_has_by_now_is_neither_adopted_nor_broken() -> None:
    lock = Lock()
    lock.take("me")
    shown = lock.shown()
    lock.lose("ended")
    other = lock.take("other")
    assert locks.adopt(lock.store, shown) is None
    assert not locks.break_lock(lock.store, shown, BY, "stuck", lock.clock.now)
    assert lock.shown().owner == other.owner
    assert locks.adopt(lock.store, lock.shown()) == other


def test_a_lock_that_is_broken_while_the_reply_to_its_renewal_is_missing_is_lost() -> None:
    line = Line(sealed=False)
    mine = locks.acquire(line.direct, "local", "lock", Owner("me", "me", BY), 60, line.clock.now)
    shown = locks.info(line.direct, "local", "lock")
    assert isinstance(mine, Held) and shown is not None
    line.suffer(
        ["lost after, then rival"], lambda: locks.break_lock(line.direct, shown, BY, "stuck", line.clock.now)
    )
    with pytest.raises(LockLost, match="stuck"):
        locks.renew(line.store, mine, line.clock.now)


@pytest.mark.parametrize(
    ("host", "boot", "started", "stale"),
    [
        (BY.host, "boot", 9, False),
        (BY.host, "boot", None, True),  # no such process
        (BY.host, "boot", 10, True),  # another one has its number
        (BY.host, "later boot", 9, True),
        (BY.host, "", None, False),  # nothing is known of this machine
        ("elsewhere", "boot", None, False),
        ("elsewhere", "later boot", None, False),
    ],
)
def test_a_holder_is_said_to_be_dead_only_where_that_can_be_seen(
    host: str, boot: str, started: int | None, stale: bool
) -> None:
    lock = Lock()
    lock.take("me")
    assert locks.is_stale(lock.shown(), host, boot, started) is stale
