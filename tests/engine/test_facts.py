"""Facts are gathered once for each section and agent of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from sloth_runner.engine.facts_calls import FactsCalls
from sloth_runner.engine.pump import Wait
from sloth_runner.errors import BadField, TaskFailed
from sloth_runner.model import Call
from sloth_runner.ops import Facts, Gathered, OpError
from sloth_runner.transport.base import discard
from tests.engine.kit import Bench, call


class Target:
    """A machine that counts what it is asked; ``slow`` sections take a turn of the loop."""

    is_local = True

    def __init__(self, name: str, slow: bool = False) -> None:
        self.name = name
        self.slow = slow
        self.asked: list[str] = []

    def as_user(self, user: str | None) -> Target:
        return self

    def at_once(self, op: Any) -> Any:
        return None if self.slow else self._tell(op)

    async def do(self, op: Any, on_output: Any = discard) -> Any:
        await asyncio.sleep(0)
        return self._tell(op)

    async def ready(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def _tell(self, op: Any) -> Gathered:
        assert isinstance(op, Facts)
        self.asked.append(op.section)
        if op.section == "packages":
            raise OpError("not-found", "/var/lib/dpkg/status", "is missing")
        if op.section == "services":
            raise OpError("system", "systemctl", "failed")
        return Gathered(f"{op.section} of {self.name}")


class Who:
    """The part of a context that facts look at."""

    def __init__(self, agent: str) -> None:
        self.agent = agent


def ask(calls: FactsCalls, agent: str, *args: object) -> object:
    return calls.call(Who(agent), Call("facts", args))  # type: ignore[arg-type] # facts ask for the agent only


def test_a_section_is_gathered_once_for_each_agent() -> None:
    targets = {name: Target(name) for name in ("a", "b")}
    calls = FactsCalls(lambda agent: targets[agent])
    for _ in range(3):
        assert ask(calls, "a", "memory") == "memory of a"
        assert ask(calls, "b", "memory") == "memory of b"
    assert ask(calls, "a", "cpu") == "cpu of a"
    assert targets["a"].asked == ["memory", "cpu"] and targets["b"].asked == ["memory"]


def test_two_tasks_that_wait_share_one_gathering() -> None:
    target = Target("a", slow=True)
    calls = FactsCalls(lambda agent: target)
    waits = [ask(calls, "a", "memory") for _ in range(3)]

    async def all_of_them() -> list[object]:
        assert all(isinstance(wait, Wait) for wait in waits)
        return await asyncio.gather(*(wait.start() for wait in waits if isinstance(wait, Wait)))

    assert asyncio.run(all_of_them()) == ["memory of a"] * 3
    assert target.asked == ["memory"]


@pytest.mark.parametrize("slow", [False, True])
def test_what_can_not_be_told_is_an_error_unless_all_are_read(slow: bool) -> None:
    calls = FactsCalls(lambda agent: Target("a", slow))

    def asked(*args: object) -> object:
        reply = ask(calls, "a", *args)
        if not isinstance(reply, Wait):
            return reply

        async def wait() -> object:
            return await reply.start()

        return asyncio.run(wait())

    with pytest.raises(TaskFailed, match=r"facts.packages can't be gathered on a"):
        asked("packages")
    assert asked("packages", True) is None
    with pytest.raises(TaskFailed, match="systemctl"):
        asked("services", True)


def test_an_unknown_section_suggests_the_nearest() -> None:
    with pytest.raises(BadField) as caught:
        ask(FactsCalls(lambda agent: Target(agent)), "a", "memry")
    assert caught.value.next == ["did you mean 'memory'?"]


def test_facts_are_no_part_of_a_transaction() -> None:
    def script() -> Generator[Call, Any, Any]:
        yield call("state.txn_begin")
        try:
            yield Call("facts", ("cpu",))
        finally:
            yield call("state.txn_end", 1, False)

    with pytest.raises(TaskFailed, match=r"inside state\.transaction"):
        Bench().run(a=script)
