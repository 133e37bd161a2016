"""The scheduler: what is answered in place, what waits, what shares a commit, and how things end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from sloth_runner.engine.pump import Wait
from sloth_runner.engine.store_desk import QUICK
from sloth_runner.errors import Bug, Busy, Interrupted, NotANumber, TimedOut
from sloth_runner.model import Call
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.store import Change, Check
from tests.engine.kit import Bench, call

Steps = Generator[Call, Any, Any]


def test_state_calls_of_many_tasks_share_commits() -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("state.increment", "n")
        return (yield call("state.increment", "n"))

    results = bench.run(**{f"t{i}": body for i in range(64)})
    assert sorted(int(str(v)) for v in results.values()) == list(range(65, 129))
    assert bench.flushes == [64, 64]


def test_what_was_done_here_is_durable_before_state_says_anything() -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("state.get", "n")
        yield call("state.set", "n", 1)
        yield call("state.exists", "n")
        yield call("state.lock", "l")
        yield call("state.unlock", "l")

    bench.run(t=body)
    assert bench.settled[0] == 0, "before the first commit"
    assert len(bench.settled) == 3, "not for what only reads"


def test_a_signal_gets_through_to_a_body_that_only_writes() -> None:
    bench = Bench()

    def body() -> Steps:
        for number in range(20):
            if number == 3:
                bench.pump.post(lambda: bench.pump.interrupt(Interrupted("stop"), force=False))
            yield call("state.set", "a", number)

    with pytest.raises(Interrupted):
        bench.run(t=body)
    assert bench.state.get("a") == 3


def test_a_bad_mutation_fails_its_own_task_only() -> None:
    bench = Bench()

    def good() -> Steps:
        return (yield call("state.set", "a", 1))

    def bad() -> Steps:
        yield call("state.set", "word", "x")
        try:
            yield call("state.increment", "word")
        except NotANumber:
            return "caught"

    assert bench.run(good=good, bad=bad) == {"good": True, "bad": "caught"}


def test_what_nobody_expected_of_a_call_is_the_error_of_that_call_alone() -> None:
    bench = Bench()

    def surprised() -> Steps:
        try:
            yield Call("parallel", (None, [lambda: 1 / 0]))
        except Bug as error:
            return str(error)

    def good() -> Steps:
        yield call("state.set", "a", 1)
        return (yield call("state.get", "a"))

    results = bench.run(good=good, surprised=surprised)
    assert results == {"good": 1, "surprised": "ZeroDivisionError: division by zero"}


def test_what_was_written_is_seen_by_any_call_begun_later() -> None:
    bench = Bench()
    seen: list[object] = []

    def writer() -> Steps:
        yield call("state.set", "a", "new")
        seen.append("written")

    def reader() -> Steps:
        while True:
            value = yield call("state.get", "a", "old")
            if seen:
                return value

    assert bench.run(writer=writer, reader=reader)["reader"] == "new"


def test_sleepers_wait_together() -> None:
    bench = Bench()
    awake = 0
    most = 0

    def body() -> Steps:
        nonlocal awake, most
        awake += 1
        most = max(most, awake)
        yield call("sleep", 0.02)
        awake -= 1

    bench.run(**{f"t{i}": body for i in range(50)})
    assert most == 50


def test_a_run_that_never_waits_loads_no_event_loop() -> None:
    import subprocess

    code = (
        "import sys; from tests.engine.kit import Bench, call\n"
        "def body():\n    yield call('state.set', 'a', 1)\n    yield call('parallel', [1], [other])\n"
        "def other():\n    yield call('state.get', 'a')\n"
        "Bench().run(a=body); print('asyncio' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_parallel_gives_results_in_order_and_the_first_error() -> None:
    bench = Bench()

    def branch(value: object, delay: float) -> Any:
        def start() -> Steps:
            yield call("sleep", delay)
            if value is None:
                raise NotANumber("no value")
            return value

        return start

    def body() -> Steps:
        good = yield call("parallel", [1, 2, 3], [branch("a", 0.02), branch("b", 0), branch("c", 0.01)])
        try:
            yield call("parallel", [1, 2], [branch("a", 0), branch(None, 0)])
        except NotANumber:
            return good

    assert bench.run(body=body)["body"] == ["a", "b", "c"]


def test_a_deadline_ends_a_wait_and_leaves_time_to_clean_up() -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("engine.deadline", True, 0.02)
        try:
            yield call("sleep", 60)
        except TimedOut:
            yield call("engine.deadline", False, None)
            yield call("sleep", 0.01)
            return "cleaned up"

    assert bench.run(body=body)["body"] == "cleaned up"


def test_a_deadline_reaches_into_parallel_and_is_thrown_once() -> None:
    bench = Bench()
    thrown: list[str] = []

    def sleeper() -> Steps:
        try:
            yield call("sleep", 60)
        except TimedOut:
            thrown.append("branch")
            raise

    def body() -> Steps:
        yield call("engine.deadline", True, 0.02)
        try:
            yield call("parallel", [1], [sleeper])
        except TimedOut:
            thrown.append("task")
            yield call("state.set", "cleaned", True)
            return "done"

    assert bench.run(body=body)["body"] == "done"
    assert thrown == ["branch", "task"]


def test_the_time_of_a_call_in_a_branch_leaves_the_task_its_own() -> None:
    now = 0.0
    bench = Bench(clock=lambda: now)

    async def late() -> object:
        raise TimedOut("this call took too long")

    bench.more["late"] = Wait(late)

    def branch() -> Steps:
        yield call("late")

    def body() -> Steps:
        nonlocal now
        yield call("engine.deadline", True, 60)
        with pytest.raises(TimedOut, match="this call"):
            yield call("parallel", [1], [branch])
        now = 60.0
        yield call("sleep", 0)

    with pytest.raises(TimedOut, match="its timeout"):
        bench.run(body=body)


def test_the_end_goes_before_an_error_that_comes_with_it() -> None:
    bench = Bench()
    bench.state.set("word", "x")
    begun: list[str] = []

    async def command() -> object:
        begun.append("command")
        return None

    bench.more["gentle"] = Wait(command, gentle=True)

    def body() -> Steps:
        try:
            yield call("state.increment", "word")
        except NotANumber:
            yield call("gentle")

    def other() -> Steps:
        bench.pump.cancel(strand, Interrupted("stop"))
        yield call("state.set", "a", 1)

    strand = bench.start("body", body)
    with pytest.raises(Interrupted) as caught:
        bench.run(other=other)
    assert "word" in str(caught.value.system)
    assert not begun


def test_a_busy_body_meets_its_deadline_at_its_next_call() -> None:
    bench = Bench()

    def body() -> Steps:
        yield call("engine.deadline", True, 0.01)
        while True:
            yield call("state.get", "a")

    with pytest.raises(TimedOut):
        bench.run(body=body)


def test_an_interrupt_cuts_sleeps_short_and_lets_commands_end() -> None:
    import asyncio

    bench = Bench()
    woken = asyncio.Event()
    ended: list[str] = []

    def sleeper() -> Steps:
        try:
            yield call("sleep", 600)
        finally:
            woken.set()

    async def command() -> object:
        bench.pump.post(lambda: bench.pump.interrupt(Interrupted("interrupted"), force=False))
        await asyncio.wait_for(woken.wait(), 60)
        ended.append("command")
        return None

    def commander() -> Steps:
        yield call("gentle")
        yield call("state.set", "after", 1)

    bench.more["gentle"] = Wait(command, gentle=True)
    with pytest.raises(Interrupted):
        bench.run(sleeper=sleeper, commander=commander)
    assert ended == ["command"]
    assert set(bench.errors) == {"sleeper", "commander"}
    assert bench.state.get("after") is None


def test_a_store_held_by_others_is_waited_for_in_a_thread() -> None:
    """The pump's thread doesn't wait if others could go on; and what waited is done, once."""
    tries: list[float | None] = []
    threads: set[str] = set()

    class Held(MemoryStore):
        """A handle on the same entries that waits no longer than it may."""

        def __init__(self, patience: float | None) -> None:
            super().__init__()
            self.__dict__.update(vars(bench.store))
            self.patience = patience

        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            tries.append(self.patience)
            threads.add(threading.current_thread().name)
            if self.patience is not None:
                raise Busy("held by another process")
            return super().commit(changes)

    bench = Bench(MemoryStore(), fresh=Held)

    def body() -> Steps:
        return (yield call("state.increment", "n"))

    def sleeper() -> Steps:
        yield call("sleep", 0.01)
        return "slept"

    results = bench.run(a=body, b=body, sleeper=sleeper)
    assert sorted([results["a"], results["b"]], key=str) == [1, 2]
    assert tries == [QUICK, None]
    assert len(threads) == 2
