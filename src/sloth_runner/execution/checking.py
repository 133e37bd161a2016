"""Why: a plan runs the bodies in check mode and tells what a run would do; it changes nothing, anywhere.

State writes go to an overlay of the store, operations on machines to rehearsals, locks are only reported, sleeping
takes no time, and no record is kept.
"""

from __future__ import annotations

import json

from sloth_runner import processes
from sloth_runner.engine.check_locks import CheckLocker, NoRenewal
from sloth_runner.engine.run import Rules, Runner
from sloth_runner.engine.stacks import choose_stack
from sloth_runner.engine.store_desk import StoreDesk
from sloth_runner.execution.bench import Basis, Bench
from sloth_runner.execution.handlers import Handlers
from sloth_runner.execution.loading import Loading
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.overlay import Overlay

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.engine.context import Context
    from sloth_runner.engine.plan import Instance, Plan
    from sloth_runner.engine.pump import Pump
    from sloth_runner.engine.queue import Ended
    from sloth_runner.execution.loading import RunOptions
    from sloth_runner.model import Program

Document = dict[str, Any]


def validate(app: App, options: RunOptions) -> Program:
    """Load the file, check its graph, its targets and what its calls are given literally; run nothing. Raises what is
    wrong."""
    from sloth_runner.execution.literally import check_calls

    loading = Loading(app, options)
    try:
        with loading.mask.shielding():
            loading.plan()
            check_calls(loading)
        return loading.program
    finally:
        loading.close()


def check(app: App, options: RunOptions) -> Document:
    """What a run of the file would do: the document of ``plan``. Raises what would keep a run from starting."""
    loading = Loading(app, options)
    try:
        with loading.mask.shielding():
            return Checking(app, options, loading, loading.plan()).run()
    finally:
        loading.close()


class Checking:
    """One plan on its way. ``contexts`` are those of its instances, with what each of them named."""

    def __init__(self, app: App, options: RunOptions, loading: Loading, plan: Plan) -> None:
        self.app = app
        self.loading = loading
        self.plan = plan
        implied = loading.program.workflow.name or loading.file.stem
        self.stack = choose_stack(app.store(), implied, str(loading.file), options.stack, app.new_id)
        self.overlay = Overlay(app.store(), leases=True)
        self._logs: dict[str, list[Document]] = {}
        self._tasks: dict[int, Document] = {}
        self.contexts: dict[str, Context] = {}
        desk = StoreDesk(app.writer(self.overlay), app.writer)
        self.bench = Bench(
            app, options, loading, plan,
            Basis(
                desk, app.by(run="plan"), self.stack.id, tuple, self._say, lambda: None, lambda error: None,
                self._locker, rehearse=True,
            ),
        )  # fmt: skip
        self._rules = Rules(options.jobs, True, self.bench.deadline, options.forks)
        self.runner = self._runner(plan, 0)

    def run(self) -> Document:
        """Run all bodies in check mode; the document."""
        try:
            self._work()
        finally:
            self.bench.close()
        tasks = self.plan_tasks()
        return {
            "stack": self.stack.name,
            "file": str(self.loading.file),
            "complete": all(_complete(task) for task in tasks),
            "summary": _summary(tasks),
            "warnings": self.loading.warnings(),
            "tasks": tasks,
        }

    def _work(self) -> None:
        self.bench.take_over()
        self.runner.start()
        self.bench.pump.run()
        program = self.loading.program
        if all(ended.error is None for ended in self.runner.ended.values()):
            handlers = Handlers(self.bench, program.handlers, self.plan.targets, self._runner)
            handlers.run(len(self.plan.instances), self.runner)

    def plan_tasks(self) -> list[Document]:
        """What became of each task instance, in order."""
        return [self._tasks[index] for index in sorted(self._tasks)]

    def _runner(self, plan: Plan, first: int) -> Runner:
        bench = self.bench

        def finished(index: int, *more: Any) -> None:
            self._finished(first + index, *more)

        return Runner(plan, self._rules, bench.pump, bench.context, bench.locker.abandon, finished, {})

    def _locker(self, pump: Pump) -> CheckLocker:
        boot, started = processes.identity()
        return CheckLocker(pump, NoRenewal(), self.app.clock, self.app.new_id(), boot, started)

    def _say(self, kind: str, data: Document, instance: Instance | None) -> None:
        if kind == "task.output":
            covered: Any = self.bench.mask.cover_all(data)
            line = {"stream": covered["stream"], "text": covered["text"]}
            self._logs.setdefault(instance.id if instance else "", []).append(line)

    def _finished(
        self, index: int, instance: Instance, context: Context, ended: Ended, seconds: float
    ) -> None:
        self.contexts[instance.id] = context
        tally = context.tally
        stopped = None
        if ended.status == "unknown" and ended.error is not None:
            stopped = {"line": ended.error.line, "reason": ended.error.message}
        failed = ended.error is not None and stopped is None
        document: Document = {
            "name": instance.task.name,
            "agent": instance.agent,
            "line": instance.task.site.line,
            "status": "planned" if ended.status in ("ok", "changed") else ended.status,
            "reason": ended.reason,
            "actions": tally.actions,
            "state": [{**c, "old": _value(c["old"]), "new": _value(c["new"])} for c in tally.changes],
            "stopped_at": stopped,
            "log": self._logs.pop(instance.id, []),
            "error": ended.error.document() if failed and ended.error is not None else None,
        }
        covered: Any = self.bench.mask.cover_all(document)
        self._tasks[index] = covered


def _value(text: object) -> object:
    return None if text is None else json.loads(str(text))


def _complete(task: Document) -> bool:
    known = all(action["action"] != "unknown" for action in task["actions"])
    return known and task["stopped_at"] is None and task["error"] is None and task["status"] != "unknown"


def _summary(tasks: list[Document]) -> Document:
    actions = [action["action"] for task in tasks for action in task["actions"]]
    counts = {name: actions.count(name) for name in ("create", "update", "delete", "unknown")}
    counts["unknown"] += sum(task["stopped_at"] is not None for task in tasks)
    counts["state"] = sum(len(task["state"]) for task in tasks)
    return counts
