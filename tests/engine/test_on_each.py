"""Laws of calls that mean many machines."""

from __future__ import annotations

import asyncio

import pytest

from sloth_runner.engine.on_each import on_each
from sloth_runner.engine.pump import Wait
from sloth_runner.errors import TaskFailed
from sloth_runner.plain import Any

AGENTS = [f"web{i}" for i in range(7)]


def _call(most: int, failing: str = "") -> tuple[Any, int]:
    """The reply of a call on AGENTS, and on how many it was made at once."""
    under_way, highest = 0, 0

    async def work(agent: str) -> object:
        nonlocal under_way, highest
        under_way += 1
        highest = max(highest, under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        under_way -= 1
        if agent == failing:
            raise TaskFailed("no", unchanged=["it"])
        return {"changed": agent == "web3", "message": ""}

    reply = on_each("cmd", AGENTS, most, lambda agent: Wait(lambda: work(agent)))

    async def wait() -> Any:
        try:
            return await reply.start()
        except TaskFailed as error:
            return error

    return asyncio.run(wait()), highest


@pytest.mark.parametrize(("most", "at_once"), [(1, 1), (3, 3), (7, 7), (100, 7)])
def test_no_more_at_once_than_said(most: int, at_once: int) -> None:
    found, highest = _call(most)
    assert highest == at_once
    assert list(found["results"]) == AGENTS and found["changed"]


def test_one_that_fails_holds_back_no_other() -> None:
    error, _ = _call(1, failing="web2")
    assert isinstance(error, TaskFailed) and list(error.unchanged) == ["web2: it"]
    assert error.message == "cmd failed on 1 of 7 agents: web2: no"
