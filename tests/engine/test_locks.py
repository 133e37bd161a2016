"""Locks as Lua sees them: who owns, who waits, what is fenced, what is released."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

from sloth_runner.engine.holding import Holding, Renewer
from sloth_runner.errors import (
    BadArgument,
    BadName,
    LockHeld,
    LockLost,
    LockOwner,
    NotANumber,
    SlothError,
    TaskFailed,
)
from sloth_runner.model import Call, Returned
from sloth_runner.state import locks
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import LEASE, store_key
from tests.engine.kit import Bench, call
from tests.state.kit import BY, Clock

Steps = Generator[Call, Any, Any]


def broken(store: MemoryStore, name: str) -> None:
    """Take a lock away from whoever has it."""
    info = locks.info(store, "local", name)
    assert info is not None and locks.break_lock(store, info, BY, "stuck", 0.0)


def other_process(store: MemoryStore, name: str, ttl: float = 60.0) -> locks.Held:
    owner = locks.Owner("task-123", "task-123\x1frun2\x1fp2\x1ft@local\x1f", BY._replace(run="run2"))
    held = locks.acquire(store, "local", name, owner, ttl, 0.0)
    assert isinstance(held, locks.Held)
    return held


def test_lock_and_unlock_as_on_the_page() -> None:
    bench = Bench()

    def body() -> Steps:
        token = yield call("state.lock", "deployment", "task-123", 300)
        locked = yield call("state.is_locked", "deployment")
        yield call("state.set", "deployment:status", "in-progress")
        freed = yield call("state.unlock", "deployment", "task-123")
        return [token, locked, freed, (yield call("state.is_locked", "deployment"))]

    assert bench.run(body=body)["body"] == [1, Returned((True, "task-123")), True, False]
    assert bench.output() == []


def test_two_runs_of_the_same_holder_exclude_each_other() -> None:
    store = MemoryStore()
    other_process(store, "deployment")
    bench = Bench(store)

    def body() -> Steps:
        assert (yield call("state.try_lock", "deployment", "task-123", 5)) is False
        yield call("state.lock", "deployment", "task-123", 5)

    with pytest.raises(LockHeld, match="task-123"):
        bench.run(body=body)


def test_the_same_branch_may_take_it_again_and_only_the_outermost_release_frees() -> None:
    bench = Bench()

    def body() -> Steps:
        first = yield call("state.lock", "a", "h", 60)
        second = yield call("state.lock", "a", "h", 60)
        yield call("state.unlock", "a")
        still = yield call("state.is_locked", "a")
        yield call("state.unlock", "a")
        return [first == second, still, (yield call("state.is_locked", "a"))]

    assert bench.run(body=body)["body"] == [True, Returned((True, "h")), False]


def test_branches_of_one_task_exclude_each_other() -> None:
    bench = Bench()

    def branch() -> Steps:
        token = yield call("state.try_lock", "a", "h", 60)
        yield call("sleep", 0.01)
        return token

    def body() -> Steps:
        return (yield call("parallel", [1, 2], [branch, branch]))

    assert bench.run(body=body)["body"] == [1, False]


def test_a_write_under_an_expired_lease_is_refused() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    bench = Bench(store)

    def body() -> Steps:
        yield call("state.lock", "a", "h", 30)
        yield call("state.set", "k", "good")
        clock.now += 31
        yield call("state.set", "k", "too late")

    with pytest.raises(LockLost, match="was not written"):
        bench.run(body=body)
    assert bench.state.get("k") == "good"


@pytest.mark.parametrize("later", ["free", "taken", "taken and free"])
@pytest.mark.parametrize("step", ["write", "transaction", "leave"])
def test_whoever_lost_a_lock_that_was_broken_hears_by_whom_and_why(step: str, later: str) -> None:
    store = MemoryStore()
    bench = Bench(store)

    def taken_away() -> None:
        info = locks.info(store, "local", "a")
        assert info is not None and locks.break_lock(store, info, BY, "it is stuck", 0.0)
        if later != "free":
            held = other_process(store, "a")
            assert later == "taken" or locks.release(store, held, 1.0)

    def inside() -> Steps:
        number = (yield call("state.txn_begin")) if step == "transaction" else None
        if step != "leave":
            yield call("state.set", "k", 1)
        if number is not None:
            yield call("state.txn_end", number, True, False)

    def body() -> Steps:
        _, handle = (yield call("state.lock_enter", "a", "h", 30, None)).values
        taken_away()
        yield from inside()
        yield call("state.lock_exit", handle, True)

    words = f"it was broken by {BY.user}@{BY.host} at 1970-01-01T00:00:00.000Z: it is stuck"
    with pytest.raises(LockLost, match=re.escape(words)) as caught:
        bench.run(body=body)
    assert not any("with_lock" in line for line in caught.value.next)
    assert bench.state.get("k") is None


def test_whose_lease_had_ended_is_not_told_of_a_later_break() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    bench = Bench(store)

    def body() -> Steps:
        yield call("state.lock", "a", "h", 30)
        clock.now += 31
        other_process(store, "a")
        broken(store, "a")
        yield call("state.set", "k", "zombie")

    with pytest.raises(LockLost, match="its lease ended"):
        bench.run(body=body)


def test_what_can_not_be_known_any_more_is_not_told_as_a_fact() -> None:
    store = MemoryStore()
    bench = Bench(store)

    def body() -> Steps:
        yield call("state.lock", "a", "h", 30)
        broken(store, "a")
        for _ in range(2):
            assert locks.release(store, other_process(store, "a"), 1.0)
        yield call("state.set", "k", "zombie")

    with pytest.raises(
        LockLost, match="its lease ended, or it was broken; others may have had it since"
    ) as caught:
        bench.run(body=body)
    assert caught.value.next == ["see who has it now: sloth-runner lock list"]


def test_who_has_its_lock_renewed_is_not_told_to_have_it_renewed() -> None:
    clock = Clock()
    bench = Bench(MemoryStore(clock))

    def body() -> Steps:
        yield call("state.lock_enter", "a", "h", 300, None)
        clock.now += 301
        yield call("state.set", "k", "zombie")

    with pytest.raises(LockLost, match="its lease ended") as caught:
        bench.run(body=body)
    assert "with_lock" not in caught.value.next[0] and "stopped" in caught.value.next[0]


def test_a_lock_that_was_lost_is_not_said_to_be_released_in_the_end() -> None:
    store = MemoryStore()
    bench = Bench(store)

    def body() -> Steps:
        yield call("state.lock", "a", "h", 30)
        broken(store, "a")
        other_process(store, "a")

    bench.run(body=body)
    assert bench.output() == [
        f"the lock 'a' was lost before the task ended: it was broken by {BY.user}@{BY.host} at "
        "1970-01-01T00:00:00.000Z: stuck"
    ]
    assert locks.info(store, "local", "a") is not None


def test_a_lock_broken_and_taken_by_another_fences_writes() -> None:
    store = MemoryStore()
    bench = Bench(store)

    def body() -> Steps:
        yield call("state.lock", "a", "h", 30)
        info = locks.info(store, "local", "a")
        assert info is not None
        assert locks.break_lock(store, info, BY, "stuck", 0.0)
        assert other_process(store, "a").token == 3
        yield call("state.set", "k", "zombie")

    with pytest.raises(LockLost):
        bench.run(body=body)
    assert bench.state.get("k") is None


def test_what_a_task_leaves_locked_is_released_with_a_warning_unless_kept() -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("state.lock", "a", "h", 60)
        yield call("state.lock", "b", "h", 60, {"keep": True})

    bench.run(body=body)
    assert locks.info(bench.store, "local", "a") is None
    assert locks.info(bench.store, "local", "b") is not None
    assert bench.output() == ["the lock 'a' was still held at the end: released"]


def test_a_later_task_of_the_run_may_unlock_what_an_ended_one_kept() -> None:
    bench = Bench()

    def first() -> Steps:
        yield call("state.lock", "a", "h", 60, {"keep": True})

    def second() -> Steps:
        yield call("sleep", 0.01)
        return (yield call("state.unlock", "a", "h"))

    assert bench.run(first=first, second=second)["second"] is True


def test_what_an_ended_task_kept_is_another_holders_until_it_is_let_go() -> None:
    bench = Bench()

    def first() -> Steps:
        return (yield call("state.lock", "a", "h", 60, {"keep": True}))

    def second() -> Steps:
        yield call("sleep", 0.01)
        refused = yield call("state.try_lock", "a", "other", 60)
        token = yield call("state.try_lock", "a", "h", 60)
        yield call("state.set", "k", 1)
        return refused, token

    results = bench.run(first=first, second=second)
    assert results["second"] == (False, results["first"])
    assert locks.info(bench.store, "local", "a") is None


def test_another_holder_is_another_even_in_the_same_task() -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("state.lock", "a", "h", 60)
        refused = yield call("state.try_lock", "a", "other", 60)
        try:
            yield call("state.unlock", "a", "other")
        except LockOwner:
            return refused, (yield call("state.unlock", "a", "h"))

    assert bench.run(body=body)["body"] == (False, True)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("state.lock", ("", "h", 5)),
        ("state.lock", ("a", "h", "soon")),
        ("state.try_lock", ("a\nb", "h", 5)),
        ("state.lock_enter", ("a", "h", 5, {"keep": True})),
        ("state.lock_enter", ("x" * 513, "h", 5, None)),
        ("state.unlock", ("", "h")),
        ("state.unlock", ("a", 5)),
        ("state.is_locked", ("",)),
    ],
)
def test_what_names_no_lock_or_holder_is_refused(name: str, args: tuple[object, ...]) -> None:
    bench = Bench()

    def body() -> Steps:
        yield call(name, *args)

    with pytest.raises((BadArgument, BadName)):
        bench.run(body=body)
    assert list(bench.store.scan()) == []


def test_only_the_owner_unlocks() -> None:
    store = MemoryStore()
    other_process(store, "a")
    bench = Bench(store)

    def body() -> Steps:
        assert (yield call("state.unlock", "nothing")) is False
        yield call("state.unlock", "a", "task-123")

    with pytest.raises(LockOwner, match="only its owner"):
        bench.run(body=body)
    assert bench.output() == ["unlock: nobody holds the lock 'nothing' (it may have expired)"]


def test_a_holder_that_is_no_text_is_refused_by_unlock() -> None:
    def body() -> Steps:
        yield call("state.unlock", "nothing", 60)

    with pytest.raises(BadArgument, match="the holder"):
        Bench().run(body=body)


def test_waiting_for_a_lock() -> None:
    bench = Bench()
    order: list[str] = []

    def holder() -> Steps:
        yield call("state.lock", "a", "one", 60)
        yield call("sleep", 0.05)
        order.append("freed")
        yield call("state.unlock", "a")

    def waiter() -> Steps:
        yield call("state.lock", "a", "two", 60, {"wait": "10s"})
        order.append("taken")
        yield call("state.unlock", "a")

    bench.run(holder=holder, waiter=waiter)
    assert order == ["freed", "taken"]


def test_waiting_ends() -> None:
    store = MemoryStore()
    other_process(store, "a")
    bench = Bench(store)

    def body() -> Steps:
        yield call("state.lock", "a", "h", 60, {"wait": 0.02})

    with pytest.raises(LockHeld, match="after waiting"):
        bench.run(body=body)


def with_lock(name: str, ttl: float, body: Steps) -> Steps:
    """What the prelude does for ``state.with_lock``."""
    entered = yield call("state.lock_enter", name, "h", ttl, None)
    handle = entered.values[1]
    try:
        result = yield from body
    except SlothError:
        yield call("state.lock_exit", handle, False)
        raise
    yield call("state.lock_exit", handle, True)
    return result


def test_with_lock_outlives_its_ttl_by_renewing() -> None:
    """By a clock that goes on when the lease was renewed, however slow this machine is."""
    clock = Clock()
    bench = Bench(MemoryStore(clock))

    def lease() -> int:
        entry = bench.store.get(store_key("local", LEASE, "a"))
        assert entry is not None
        return entry.rev

    def long_work() -> Steps:
        for number in range(8):
            before = lease()
            while lease() == before:
                yield call("sleep", 0.001)
            clock.now += 0.1
            yield call("state.set", "k", number)
        return "done"

    def body() -> Steps:
        return (yield from with_lock("a", 0.15, long_work()))

    assert bench.run(body=body)["body"] == "done"
    assert locks.info(bench.store, "local", "a") is None


def test_with_lock_releases_after_an_error() -> None:
    bench = Bench()

    def failing() -> Steps:
        yield call("state.set", "k", "word")
        yield call("state.increment", "k")

    def body() -> Steps:
        return (yield from with_lock("a", 60, failing()))

    with pytest.raises(NotANumber):
        bench.run(body=body)
    assert locks.info(bench.store, "local", "a") is None


def test_losing_a_renewed_lock_cancels_what_is_under_way() -> None:
    store = MemoryStore(Clock())
    bench = Bench(store)

    def work() -> Steps:
        info = locks.info(store, "local", "a")
        assert info is not None
        locks.break_lock(store, info, BY, "test", 0.0)
        yield call("sleep", 60)

    def body() -> Steps:
        return (yield from with_lock("a", 0.09, work()))

    with pytest.raises(LockLost):
        bench.run(body=body)


class Noted(Renewer):
    """Renews nothing, and keeps what it was to renew."""

    def __init__(self) -> None:
        super().__init__(lambda seconds: MemoryStore(), lambda: 0.0)
        self.kept: list[Holding] = []

    def add(self, holding: Holding) -> None:
        """See Renewer."""
        self.kept.append(holding)


def test_a_loss_that_is_heard_of_after_the_function_has_ended_ends_nothing() -> None:
    renewer = Noted()
    bench = Bench(renewer=renewer)

    def work() -> Steps:
        yield call("state.set", "k", 1)

    def body() -> Steps:
        yield from with_lock("a", 60, work())
        (holding,) = renewer.kept
        assert holding.on_lost is not None
        holding.on_lost(LockLost("too late"))
        yield call("sleep", 0.001)
        return "done"

    assert bench.run(body=body)["body"] == "done"


@pytest.mark.parametrize(
    "args",
    [("a", "h", 0), ("a", "h", -1), ("a", "h", "soon"), ("a", "h", float("nan")), ("a", 5, {"kep": True})],
)
def test_bad_arguments(args: tuple[object, ...]) -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("state.lock", *args)

    with pytest.raises((BadArgument, SlothError)) as caught:
        bench.run(body=body)
    assert caught.value.code in ("E-ARGUMENT", "E-FIELD")


def transaction(script: Steps) -> Steps:
    number = yield call("state.txn_begin")
    result = yield from script
    assert (yield call("state.txn_end", number, True, False)) == "done"
    return result


def test_a_transaction_is_all_or_nothing_and_sees_itself() -> None:
    bench = Bench()
    bench.state.set("a", 1)

    def inside() -> Steps:
        yield call("state.set", "a", 2)
        yield call("state.set", "b", 1)
        assert bench.state.get("a") == 1
        return [(yield call("state.get", "a")), (yield call("state.increment", "b"))]

    def body() -> Steps:
        return (yield from transaction(inside()))

    assert bench.run(body=body)["body"] == [2, 2]
    assert bench.state.items() == [("a", 2), ("b", 2)]
    assert [r.record.number for r in bench.state.history("b")] == [2, 1]


def test_a_transaction_reruns_when_what_it_read_was_changed() -> None:
    bench = Bench()
    bench.state.set("a", 1)

    def body() -> Steps:
        number = yield call("state.txn_begin")
        value = yield call("state.get", "a")
        assert (yield call("state.get", "missing")) is None
        yield call("state.set", "copy", value)
        bench.state.set("a", 2)
        verdict = yield call("state.txn_end", number, True, False)
        return [verdict, bench.state.get("copy")]

    assert bench.run(body=body)["body"] == ["again", None]


def test_a_transaction_refuses_what_it_can_not_undo() -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("state.txn_begin")
        for refused in (
            call("sleep", 1),
            call("state.lock", "a"),
            call("state.txn_begin"),
            call("parallel", [], []),
        ):
            with pytest.raises(TaskFailed, match="transaction"):
                yield refused
        with pytest.raises(SlothError, match="one namespace") as caught:
            yield call("state.set", "own", 1)
            yield call("state.set", "cluster:x", 1)
        yield call("state.txn_end", 1, False, False)
        return caught.value.code

    assert bench.run(body=body)["body"] == "E-TXN-SPAN"


def test_a_transaction_under_a_lock_is_fenced() -> None:
    clock = Clock()
    bench = Bench(MemoryStore(clock))

    def body() -> Steps:
        yield call("state.lock", "a", "h", 30)
        number = yield call("state.txn_begin")
        yield call("state.set", "k", 1)
        clock.now += 31
        yield call("state.txn_end", number, True, False)

    with pytest.raises(LockLost):
        bench.run(body=body)
    assert bench.state.get("k") is None


def test_a_lease_that_is_too_short_for_the_store_is_longer_and_said_to_be() -> None:
    store = MemoryStore()
    store.traits = store.traits._replace(shortest_lease=10.0)
    bench = Bench(store)

    def body() -> Steps:
        yield call("state.lock", "short", "h", 3)
        yield call("state.lock", "short", "h", 2)
        yield call("state.lock", "long", "h", 30)
        found = locks.info(store, "local", "short")
        assert found is not None
        return found.ttl, found.expires - found.acquired >= 10

    assert bench.run(body=body)["body"] == (10.0, True)
    (line,) = [line for line in bench.output() if "the least" in line]
    assert (
        "the lease of the lock 'short' lasts 10 s, the least that this store gives; 3 s were asked for"
        in line
    )
