"""A store that is far away: who waits for whom, what is seen when, and what is known in the end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from sloth_runner.errors import Interrupted, LockLost, NotANumber, StoreDown, TimedOut
from sloth_runner.model import Call
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import place
from tests.engine.far import LONG, Distance
from tests.engine.kit import Bench, call

Steps = Generator[Call, Any, Any]


def far(clock: Callable[[], float] = time.monotonic) -> tuple[Bench, Distance]:
    """A bench whose store is far away."""
    distance = Distance(MemoryStore())
    return Bench(distance.handle(), fresh=distance.handle, clock=clock), distance


def heads(about: object) -> set[str]:
    """The keys that a commit puts heads of."""
    return {place(c.key).name for c in about if place(c.key).kind == "k"}  # type: ignore[attr-defined] # a commit


def test_reads_of_many_tasks_are_under_way_together() -> None:
    bench, distance = far()
    together = threading.Barrier(16)
    distance.before = lambda verb, about: together.wait(LONG)

    def body() -> Steps:
        return (yield call("state.get", "a", "none"))

    assert set(bench.run(**{f"t{i}": body for i in range(16)}).values()) == {"none"}
    assert distance.most == 16
    assert distance.closed == distance.opened - 1


def test_a_hundred_tasks_write_side_by_side_and_in_few_commits() -> None:
    bench, distance = far()

    def body(number: int) -> Any:
        def steps() -> Steps:
            yield call("state.set", f"k{number}", number)
            return (yield call("state.get", f"k{number}"))

        return steps

    results = bench.run(**{f"t{i}": body(i) for i in range(100)})
    assert results == {f"t{i}": i for i in range(100)}
    assert len(distance.commits) <= 16


def test_one_key_is_written_in_order_and_others_meanwhile() -> None:
    """While a commit of ``a`` is under way, a second change of ``a`` waits for it, and one of ``b`` does not."""
    bench, distance = far()
    b_is_there = threading.Event()
    under_way: set[str] = set()

    def before(verb: str, about: object) -> None:
        if verb == "commit":
            names = heads(about)
            assert not names & under_way
            under_way.update(names)
            if "a" in names:
                assert b_is_there.wait(LONG)

    def after(verb: str, about: object) -> None:
        if verb == "commit":
            under_way.difference_update(heads(about))
            if "b" in heads(about):
                b_is_there.set()

    distance.before, distance.after = before, after

    def a() -> Steps:
        return (yield call("state.increment", "a"))

    def b() -> Steps:
        yield call("sleep", 0.01)
        return (yield call("state.increment", "b"))

    results = bench.run(a1=a, a2=a, b=b, a3=a)
    assert sorted(int(str(results[name])) for name in ("a1", "a2", "a3")) == [1, 2, 3]
    assert results["b"] == 1


def test_a_write_waits_for_a_connection_and_gets_it_when_reading_ends() -> None:
    """All connections are busy with reads when it comes; nothing is written after it."""
    bench, distance = far()
    together = threading.Barrier(17)

    def before(verb: str, about: object) -> None:
        if verb == "get" and str(about).endswith("held"):
            together.wait(LONG)

    distance.before = before

    def reader() -> Steps:
        yield call("state.get", "held")

    def writer() -> Steps:
        yield call("sleep", 0.01)
        threading.Timer(0.05, lambda: together.wait(LONG)).start()
        return (yield call("state.set", "a", 1))

    results = bench.run(writer=writer, **{f"t{i}": reader for i in range(16)})
    assert results["writer"] is True


def test_what_was_written_is_seen_by_any_call_begun_later() -> None:
    bench, _ = far()
    written: list[str] = []

    def writer() -> Steps:
        for number in range(20):
            yield call("state.set", "a", number)
            written.append(str(number))

    def reader() -> Steps:
        while len(written) < 20:
            before = len(written)
            assert (yield call("state.get", "a", -1)) >= before - 1

    bench.run(writer=writer, one=reader, two=reader, three=reader)


def test_many_tasks_count_exactly_in_shared_commits() -> None:
    bench, distance = far()

    def body() -> Steps:
        for _ in range(5):
            yield call("state.increment", "n")

    bench.run(**{f"t{i}": body for i in range(40)})
    assert bench.state.get("n") == 200
    assert len(distance.commits) < 100


def test_a_bad_mutation_fails_its_own_task_only() -> None:
    bench, _ = far()
    bench.state.set("word", "x")

    def good() -> Steps:
        return (yield call("state.set", "a", 1))

    def bad() -> Steps:
        try:
            yield call("state.increment", "word")
        except NotANumber:
            return "caught"

    assert bench.run(good=good, bad=bad) == {"good": True, "bad": "caught"}


def test_transactions_of_many_tasks_lose_nothing() -> None:
    bench, _ = far()

    def body() -> Steps:
        for _ in range(500):
            yield call("state.txn_begin")
            value = yield call("state.get", "n", 0)
            yield call("state.set", "n", value + 1)
            verdict = yield call("state.txn_end", 1, True)
            if verdict == "done":
                return None

    bench.run(**{f"t{i}": body for i in range(8)})
    assert bench.state.get("n") == 8


def test_a_commit_under_way_comes_to_its_end_though_its_task_is_stopped() -> None:
    """The time of the task is up while its write is on the wire: the write is done, and is told."""
    now = 0.0
    bench, distance = far(lambda: now)
    waiting = threading.Event()

    def before(verb: str, about: object) -> None:
        if verb == "commit":
            waiting.set()
            stopped.wait(LONG)

    stopped = threading.Event()
    distance.before = before

    def body() -> Steps:
        yield call("engine.deadline", True, 60)
        try:
            yield call("state.set", "a", 1)
        except TimedOut:
            yield call("engine.deadline", False, None)
            return "stopped"

    def other() -> Steps:
        nonlocal now
        while not waiting.is_set():
            yield call("sleep", 0.001)
        now = 60.0
        stopped.set()

    assert bench.run(body=body, other=other)["body"] == "stopped"
    assert bench.state.get("a") == 1


@pytest.mark.parametrize("force", [False, True])
def test_an_interrupt_waits_for_the_reply_and_for_nothing_else(force: bool) -> None:
    bench, distance = far()
    error = Interrupted("interrupted")

    def before(verb: str, about: object) -> None:
        if verb == "commit":
            bench.pump.post(lambda: bench.pump.interrupt(error, force=force))

    distance.before = before

    def body() -> Steps:
        yield call("state.set", "a", 1)
        yield call("state.set", "b", 1)

    def sleeper() -> Steps:
        yield call("sleep", 1000)

    with pytest.raises(Interrupted):
        bench.run(body=body, sleeper=sleeper)
    assert set(bench.errors) == {"body", "sleeper"}
    assert (bench.state.get("a"), bench.state.get("b")) == (1, None)


def test_locks_exclude_wait_and_are_given_back() -> None:
    bench, _ = far()
    inside = 0

    def body() -> Steps:
        nonlocal inside
        entered = yield call("state.lock_enter", "l", None, 30)
        inside += 1
        assert inside == 1
        yield call("state.increment", "n")
        yield call("sleep", 0.001)
        inside -= 1
        yield call("state.lock_exit", entered.values[1], True)

    bench.run(**{f"t{i}": body for i in range(10)})
    assert bench.state.get("n") == 10
    assert not bench.desk.store.get("local\x1fl\x1fl")


def test_a_lock_that_is_left_is_released_with_a_warning() -> None:
    bench, _ = far()

    def body() -> Steps:
        return (yield call("state.lock", "left", 30))

    def other() -> Steps:
        return (yield call("sleep", 0.01))

    bench.run(body=body, other=other)
    assert not bench.desk.store.get("local\x1fl\x1fleft")
    assert any("still held at the end" in line for line in bench.output())


def test_a_write_under_a_lost_lock_is_refused() -> None:
    distance = Distance(MemoryStore(lambda: now[0]))
    now = [0.0]
    bench = Bench(distance.handle(), fresh=distance.handle)

    def body() -> Steps:
        yield call("state.lock", "l", 30)
        now[0] = 100.0
        yield call("state.set", "a", 1)

    def other() -> Steps:
        return (yield call("sleep", 0.01))

    with pytest.raises(LockLost):
        bench.run(body=body, other=other)
    assert bench.state.get("a") is None


def test_a_server_that_is_gone_is_told_once_and_asked_no_more() -> None:
    bench, distance = far()
    asked = 0

    def before(verb: str, about: object) -> None:
        nonlocal asked
        asked += 1
        raise StoreDown("127.0.0.1:1 does not answer")

    distance.before = before
    seen: list[str] = []

    def body() -> Steps:
        for number in range(10):
            for name in ("state.get", "state.increment"):
                try:
                    yield call(name, "a")
                except StoreDown as error:
                    seen.append(f"{number}{name}{error.message}")

    bench.run(**{f"t{i}": body for i in range(20)})
    assert len(bench.downs) == 1
    assert len(seen) == 400
    assert asked <= 20


def test_one_task_alone_needs_no_thread_and_no_event_loop() -> None:
    code = (
        "import sys, threading\n"
        "from tests.engine.far import Distance\n"
        "from tests.engine.kit import Bench, call\n"
        "from sloth_runner.state.backends.memory import MemoryStore\n"
        "distance = Distance(MemoryStore())\n"
        "bench = Bench(distance.handle(), fresh=distance.handle)\n"
        "def body():\n"
        "    yield call('state.set', 'a', 1)\n"
        "    token = yield call('state.lock', 'l', 30)\n"
        "    assert (yield call('state.get', 'a')) == 1\n"
        "bench.run(a=body)\n"
        "print('asyncio' in sys.modules, threading.active_count(), distance.opened)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "1", "1"]
