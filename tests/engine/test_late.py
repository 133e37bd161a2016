"""Law: what fails only when a body is over (files that waited for each other) is the failure of that body, and all
that follows upon a body follows: its deadline ends, its locks are given back, its attempts and hooks go on.
"""

from __future__ import annotations

from typing import Any

import pytest

from sloth_runner.engine.context import Context
from sloth_runner.engine.plan import Instance, Plan
from sloth_runner.engine.pump import Pump
from sloth_runner.engine.run import Rules, Runner, to_the_end
from sloth_runner.engine.store_desk import StoreDesk
from sloth_runner.errors import Interrupted, LockLost, SlothError, TaskFailed
from sloth_runner.model import Body, Call, Returned, Site, TaskDef
from tests.state.kit import make_state

HERE = Site("f", 1)


def late() -> TaskFailed:
    error = TaskFailed("late")
    error.final = True
    return error


def run(task: TaskDef, *failing: int) -> tuple[list[str], SlothError | None, list[str]]:
    """The calls of a task of which so many-th ends of what waits fail; its error, and what was noted."""
    calls: list[str] = []
    noted: list[str] = []
    ended: list[Any] = []
    ends = 0

    def serve(strand: object, call: Call) -> object:
        nonlocal ends
        armed = call.name == "engine.deadline" and call.args[0]
        calls.append(
            f"{call.name} {'on' if armed else 'off'}" if call.name == "engine.deadline" else call.name
        )
        if call.name == "engine.catch_up":
            ends += 1
            if ends in failing:
                raise late()
        return Returned((1, "handle")) if call.name == "state.lock_enter" else None

    writer = make_state().writer
    desk = StoreDesk(writer, lambda store: make_state(store).writer)
    pump = Pump(serve, desk, lambda: None)

    def context(instance: Instance) -> Context:
        return Context(
            instance.id,
            "local",
            task,
            make_state(),
            desk,
            lambda kind, data: noted.append(str(data.get("text"))),
        )

    plan = Plan((Instance(task, "local"),), {task.name: ()})

    def finished(index: int, instance: Instance, context: Context, end: Any, took: float) -> None:
        ended.append(end)

    runner = Runner(plan, Rules(), pump, context, lambda context: None, finished, {})
    runner.start()
    pump.run()
    return calls, ended[0].error, noted


def work(*args: object) -> Body:
    yield Call("work", ())
    return True


def fails(*args: object) -> Body:
    yield Call("work", ())
    raise TaskFailed("its own")


def test_deadline_and_locks_end_with_an_attempt_that_fails_late() -> None:
    task = TaskDef("t", work, HERE, locks=("L",), timeout=5.0)
    calls, error, _ = run(task, 1)
    assert error is not None and error.message == "late"
    tail = calls[calls.index("work") :]
    assert tail[:5] == [
        "work",
        "engine.catch_up",
        "engine.deadline off",
        "state.lock_exit",
        "engine.end_attempt",
    ]


def test_it_is_tried_again() -> None:
    calls, error, noted = run(TaskDef("t", work, HERE, retries=1), 1)
    assert error is None and calls.count("work") == 2
    assert any("attempt 1 of 2 failed: late" in text for text in noted)


def test_hooks_hear_of_it_and_are_brought_to_their_end_themselves() -> None:
    heard: list[object] = []

    def hook(this: object, error: Any) -> Body:
        heard.append(error["message"])
        yield Call("work", ())
        return None

    calls, error, noted = run(TaskDef("t", work, HERE, on_failure=hook), 1, 2)
    assert heard == ["late"] and error is not None and error.message == "late"
    assert any("on_failure failed itself: late" in text for text in noted)
    assert calls.count("engine.catch_up") >= 3
    _, error, _ = run(TaskDef("t", work, HERE, on_success=lambda *args: work()), 2)
    assert error is not None and error.message == "late"


@pytest.mark.parametrize(
    ("own", "left"),
    [
        (TaskFailed("its own"), "late"),
        (Interrupted("stop"), "stop"),
        (LockLost("lost"), "late"),
        (None, "late"),
    ],
)
def test_which_of_two_failures_ends_a_body(own: SlothError | None, left: str) -> None:
    def body() -> Body:
        yield Call("work", ())
        if own is not None:
            raise own
        return 1

    steps = to_the_end(body(), HERE)
    names = [next(steps).name, steps.send(None).name]
    names.append(steps.throw(late()).name)
    with pytest.raises(SlothError, match=left):
        steps.send(None)
    assert names == ["work", "engine.catch_up", "engine.end_attempt"]


def test_without_a_failure_the_result_is_the_bodys() -> None:
    steps = to_the_end(work(), HERE)
    assert [next(steps).name, steps.send(None).name, steps.send(None).name][1:] == [
        "engine.catch_up",
        "engine.end_attempt",
    ]
    with pytest.raises(StopIteration) as ended:
        steps.send(None)
    assert ended.value.value is True
