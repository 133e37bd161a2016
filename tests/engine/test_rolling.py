"""Why: a task for many machines: all at once, in batches, and not further when too many of them fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.engine.context import Context
from sloth_runner.engine.plan import Instance, Plan
from sloth_runner.engine.pump import Pump, Wait
from sloth_runner.engine.queue import Ended
from sloth_runner.engine.rolling import batches, most_failures
from sloth_runner.engine.run import Rules, Runner
from sloth_runner.engine.store_desk import StoreDesk
from sloth_runner.errors import TaskFailed, Unreachable
from sloth_runner.model import Body, Call, Share, Site, TaskDef
from tests.state.kit import make_state

HERE = Site("f", 1)
PLAIN = Rules()
SHARES = st.builds(Share, st.integers(1, 100), st.booleans())


@given(st.integers(0, 300), st.lists(SHARES, max_size=4))
def test_batches_are_in_order_and_complete(count: int, serial: list[Share]) -> None:
    numbers = batches(count, serial)
    assert len(numbers) == count
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(max(numbers, default=-1) + 1))


@pytest.mark.parametrize(
    ("count", "serial", "sizes"),
    [
        (5, [], [5]),
        (5, [Share(2)], [2, 2, 1]),
        (10, [Share(1), Share(25, True)], [1, 2, 2, 2, 2, 1]),
        (3, [Share(10, True)], [1, 1, 1]),
        (3, [Share(100, True)], [3]),
    ],
)
def test_sizes_of_batches(count: int, serial: list[Share], sizes: list[int]) -> None:
    numbers = batches(count, serial)
    assert [numbers.count(number) for number in range(max(numbers) + 1)] == sizes


def test_how_many_may_fail() -> None:
    assert most_failures(10, None, (), keep_going=False) is None
    assert most_failures(10, None, (Share(1),), keep_going=False) == 0
    assert most_failures(10, None, (Share(1),), keep_going=True) is None
    assert most_failures(10, Share(25, True), (), keep_going=True) == 2
    assert most_failures(10, Share(0), (), keep_going=False) == 0


class Trial:
    """Runs tasks on machines; each instance waits once, so that all that may run at once do."""

    def __init__(
        self, *tasks: TaskDef, agents: Iterable[str], needs: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.log: list[str] = []
        self.now = self.peak = 0
        plan = Plan(
            tuple([Instance(task, agent) for task in tasks for agent in agents]),
            {task.name: (needs or {}).get(task.name, ()) for task in tasks},
        )
        self.plan = plan

    def run(self, *failing: str, unreachable: tuple[str, ...] = (), rules: Rules = PLAIN) -> dict[str, Ended]:
        self.failing, self.unreachable = failing, unreachable

        def serve(strand: object, call: Call) -> object:
            if call.name != "work":
                return None
            return Wait(lambda: self._work(str(call.args[0])))

        writer = make_state().writer
        pump = Pump(serve, StoreDesk(writer, lambda store: writer), lambda: None)
        runner = Runner(
            self.plan,
            rules,
            pump,
            self._context,
            lambda context: None,
            lambda *ended: None,
            {},
        )
        runner.start()
        pump.run()
        return runner.ended

    def _context(self, instance: Instance) -> Context:
        say = lambda kind, data: None  # noqa: E731 - nobody listens
        return Context(instance.id, instance.agent, instance.task, None, None, say, "/")  # type: ignore[arg-type]

    async def _work(self, name: str) -> None:
        import asyncio

        self.log.append(f"+{name}")
        self.now += 1
        self.peak = max(self.peak, self.now)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.now -= 1
        self.log.append(f"-{name}")
        if name in self.failing:
            raise TaskFailed("no")
        if name in self.unreachable:
            raise Unreachable("nobody there")


def task(name: str, **fields: object) -> TaskDef:
    def run(this: object, params: object, deps: object) -> Body:
        yield Call("work", (f"{name}@{this.agent}",))  # type: ignore[attr-defined]
        return deps

    return TaskDef(name, run, HERE, **fields)  # type: ignore[arg-type]


FIVE = [f"web{number}" for number in range(5)]


def test_all_at_once_and_the_next_task_after_the_last_of_them() -> None:
    trial = Trial(task("a"), task("b"), agents=FIVE)
    ended = trial.run()
    assert trial.peak == 5
    assert {one.status for one in ended.values()} == {"ok"}
    first_b = next(i for i, entry in enumerate(trial.log) if entry.startswith("+b"))
    assert all(entry.startswith(("+a", "-a")) for entry in trial.log[:first_b]) and first_b == 10


def test_forks() -> None:
    trial = Trial(task("a"), agents=FIVE)
    trial.run(rules=Rules(forks=2))
    assert trial.peak == 2


def test_jobs_are_tasks_at_once() -> None:
    trial = Trial(task("a"), task("b"), agents=FIVE)
    trial.run(rules=Rules(jobs=2))
    assert trial.peak == 10


def test_batches_follow_each_other() -> None:
    trial = Trial(task("a", serial=(Share(1), Share(2))), agents=FIVE)
    trial.run()
    order = [(entry[0], int(entry[-1])) for entry in trial.log]
    assert order[:2] == [("+", 0), ("-", 0)]
    assert sorted(order[2:6]) == [("+", 1), ("+", 2), ("-", 1), ("-", 2)]
    assert trial.peak == 2


def test_a_failure_ends_the_roll() -> None:
    ended = Trial(task("a", serial=(Share(2),)), agents=FIVE).run("a@web1")
    assert [ended[f"a@{name}"].status for name in FIVE] == ["ok", "failed", "skipped", "skipped", "skipped"]
    assert "1 of 5 machines failed (max_failures = 0)" in str(ended["a@web2"].reason)


def test_what_follows_is_not_begun_where_the_roll_did_not_come() -> None:
    rolling = task("a", serial=(Share(2),), max_failures=Share(0))
    ended = Trial(rolling, task("b"), agents=FIVE).run("a@web1")
    assert [ended[f"b@{name}"].status for name in FIVE] == ["ok", *["skipped"] * 4]
    assert ended["b@web4"].reason == "not started after 'a' was held back (-k goes on)"
    ended = Trial(rolling, task("b"), agents=FIVE).run("a@web1", rules=Rules(keep_going=True))
    assert [ended[f"a@{name}"].status for name in FIVE][2:] == ["skipped"] * 3
    assert [ended[f"b@{name}"].status for name in FIVE] == ["ok"] * 5


def test_some_failures_may_be_allowed() -> None:
    rolling = task("a", serial=(Share(1),), max_failures=Share(1))
    ended = Trial(rolling, agents=FIVE).run("a@web0", unreachable=("a@web2",))
    assert [ended[f"a@{name}"].status for name in FIVE] == [
        "failed",
        "ok",
        "unreachable",
        "skipped",
        "skipped",
    ]
    ended = Trial(task("a", serial=(Share(1),)), agents=FIVE).run("a@web0", rules=Rules(keep_going=True))
    assert [ended[f"a@{name}"].status for name in FIVE] == ["failed", "ok", "ok", "ok", "ok"]


def test_one_that_can_not_be_reached_holds_only_itself() -> None:
    needs = {"b": ("a",), "c": ("b",)}
    ended = Trial(task("a"), task("b"), task("c"), agents=FIVE, needs=needs).run(unreachable=("a@web3",))
    assert [ended[f"a@{name}"].status for name in FIVE] == ["ok", "ok", "ok", "unreachable", "ok"]
    assert [ended[f"c@{name}"].status for name in FIVE] == ["ok", "ok", "ok", "skipped", "ok"]
    result = ended["b@web0"].result
    assert result is not None


def test_a_task_elsewhere_waits_for_all_of_them() -> None:
    a, b = task("a"), task("b")
    trial = Trial(agents=())
    trial.plan = Plan((*(Instance(a, name) for name in FIVE), Instance(b, "lb")), {"a": (), "b": ("a",)})
    ended = trial.run("a@web3")
    assert ended["b@lb"].status == "skipped"
    assert "it depends on 'a', which failed" in str(ended["b@lb"].reason)


def test_two_thousand_instances_are_scheduled_in_no_time() -> None:
    tasks = [task(f"t{number}") for number in range(10)]
    needs = {f"t{number}": (f"t{number - 1}",) for number in range(1, 10)}
    ended = Trial(*tasks, agents=[f"h{number}" for number in range(200)], needs=needs).run()
    assert len(ended) == 2000 and all(one.status == "ok" for one in ended.values())
