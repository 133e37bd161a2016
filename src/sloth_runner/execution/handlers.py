"""Why: work that a change calls for (restart a service) happens once, at the end, and is never lost.

A handler that is due is recorded with the change that called for it, and stays due until it has succeeded: in this
run, or, if something failed or the machine went down, in the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sloth_runner.engine.plan import Instance, Plan
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.ledger_queries import pending
from sloth_runner.state.ledger_records import Pending

if TYPE_CHECKING:
    from sloth_runner.engine.run import Runner
    from sloth_runner.errors import SlothError
    from sloth_runner.execution.bench import Bench
    from sloth_runner.model import TaskDef


class Handlers:
    """The handlers of one program. ``agents`` are the run's targets; ``make_runner`` makes a runner of a plan whose
    instances are numbered from the number given."""

    def __init__(
        self,
        bench: Bench,
        handlers: Sequence[TaskDef],
        agents: Sequence[str],
        make_runner: Callable[[Plan, int], Runner],
    ) -> None:
        self._bench = bench
        self._handlers = {handler.name: handler for handler in handlers}
        self._agents = agents
        self._make_runner = make_runner
        self._done: set[str] = set()

    def run(self, first: int, main: Runner) -> list[SlothError]:
        """Run what is due, and what that calls for, each handler once on each machine; the errors met."""
        errors: list[SlothError] = []
        while not errors:
            called = self._due()
            due = self._instances(called)
            if not due:
                break
            runner = self._make_runner(Plan(tuple(due), {i.task.name: () for i in due}), first)
            first += len(due)
            runner.start()
            self._bench.pump.run()
            main.interrupted = main.interrupted or runner.interrupted
            for instance in due:
                self._done.add(instance.id)
                ended = runner.ended[instance.id]
                if ended.error is not None:
                    errors.append(ended.error)
                elif ended.status in ("ok", "changed"):
                    self._settle(instance, called[instance.id])
        self._tell_due()
        return errors

    def postpone(self) -> list[SlothError]:
        """Something failed: what is due stays so, and that is said."""
        self._tell_due()
        return []

    def _due(self) -> dict[str, list[Pending]]:
        """What called for handlers, by the instance that is due."""
        due: dict[str, list[Pending]] = {}
        for agent in dict.fromkeys((*self._agents, *self._bench.ledgers)):
            for one in self._pending(agent):
                if one.handler in self._handlers:
                    instance = Instance(self._handlers[one.handler], agent)
                    due.setdefault(instance.id, []).append(one)
                else:
                    self._forget(agent, one)
        return due

    def _instances(self, due: Mapping[str, object]) -> list[Instance]:
        """Handlers that are due and have not run yet, in the order of their definition on each machine."""
        agents = dict.fromkeys((*self._agents, *self._bench.ledgers))
        every = [Instance(handler, agent) for agent in agents for handler in self._handlers.values()]
        return [one for one in every if one.id in due and one.id not in self._done]

    def _pending(self, agent: str) -> list[Pending]:
        self._bench.ledger(agent).flush()
        found = pending(self._bench.basis.desk.store, agent, self._bench.basis.stack)
        rehearsal = self._bench.rehearsals.get(agent)
        if rehearsal is not None:
            stack = self._bench.basis.stack
            found += [Pending(name, stack, "", 0.0, "", "") for name in rehearsal.notified]
        return found

    def _forget(self, agent: str, one: Pending) -> None:
        text = f"the handler {one.handler!r} was due since run {one.run}, but is not in the file any more: forgotten"
        self._bench.own.note("warn", text)
        if agent not in self._bench.rehearsals:
            self._done_with(agent, [one])

    def _settle(self, instance: Instance, called: Sequence[Pending]) -> None:
        """It has succeeded; what called for it since it began stays due."""
        if not self._bench.basis.rehearse:
            self._done_with(instance.agent, called)

    def _done_with(self, agent: str, called: Sequence[Pending]) -> None:
        """They are due no more. (No task runs at this time.)"""
        ledger = self._bench.ledger(agent)
        ledger.done(called).answered(self._bench.basis.desk.store)
        ledger.flush()

    def _tell_due(self) -> None:
        for agent in dict.fromkeys((*self._agents, *self._bench.ledgers)):
            names = dict.fromkeys(one.handler for one in self._pending(agent))
            if self._bench.basis.rehearse:
                names = {name: None for name in names if f"{name}@{agent}" not in self._done}
            if names:
                listed = ", ".join(names)
                self._bench.own.note(
                    "warn", f"still due on {agent}, with the next run that succeeds: {listed}"
                )
