"""Why: "run this file" is put together here: the stack's lock, the bench, the runner, handlers, records, resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sloth_runner.engine import records
from sloth_runner.engine.holding import PATIENCE, Renewer
from sloth_runner.engine.journal import Journal, Title
from sloth_runner.engine.lines import Line
from sloth_runner.engine.live import LiveRecord
from sloth_runner.engine.lock_calls import Locker
from sloth_runner.engine.run import Rules, Runner, exit_code, run_hook
from sloth_runner.engine.signals import Signals
from sloth_runner.engine.stacks import choose_stack
from sloth_runner.engine.store_desk import StoreDesk
from sloth_runner.errors import Interrupted, Lost, SlothError, UsageError
from sloth_runner.execution.bench import Basis, Bench
from sloth_runner.execution.handlers import Handlers
from sloth_runner.execution.loading import Loading
from sloth_runner.execution.stack_lock import StackLock
from sloth_runner.model import Event
from sloth_runner.state.layout import SHARED, STACK, store_key

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.engine.plan import Instance, Plan
    from sloth_runner.engine.pump import Pump
    from sloth_runner.execution.loading import RunOptions
    from sloth_runner.state.store import Store


def run(app: App, options: RunOptions, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Run the file; returns the run's document. Raises what keeps a run from starting."""
    loading = Loading(app, options)
    try:
        with loading.mask.shielding():
            plan = loading.plan()
            return Execution(app, options, loading, plan, emit).run()
    finally:
        loading.close()


class Execution:
    """One run of a plan: everything that lives as long as it does."""

    def __init__(
        self, app: App, options: RunOptions, loading: Loading, plan: Plan, emit: Callable[[Event], None]
    ) -> None:
        self.app = app
        self.options = options
        self.loading = loading
        self.plan = plan
        self.store = app.store()
        run_id = make_run_id(app.clock(), app.new_id())
        by = app.by(run=run_id)
        implied = loading.program.workflow.name or loading.file.stem
        self.stack = choose_stack(self.store, implied, str(loading.file), options.stack, app.new_id)
        self.lock = StackLock(app, self.stack.name, options.lock_timeout, run_id, self._lost)
        self.broken: SlothError | None = None
        self.renewer = Renewer(lambda seconds: app.fresh_store(PATIENCE, seconds), app.clock)
        self.process = app.process_identity()
        self.desk = StoreDesk(app.writer(), app.writer, self._fresh)
        self.bench = Bench(
            app, options, loading, plan,
            Basis(
                self.desk, by, self.stack.id, self.lock.fences, self._say, self._settle, self._broke,
                self._locker, rehearse=False,
            ),
        )  # fmt: skip
        title = Title(
            run_id, self.stack.name, self.stack.id, str(loading.file), by,
            (by.host, self.process[0], by.pid, self.process[1]), options.resume,
        )  # fmt: skip
        self.journal = Journal(self.store, title, app.clock, emit, self.bench.mask, self.lock.fences)
        self.live = LiveRecord(run_id, self.journal.news, lambda: app.fresh_store(PATIENCE), self.lock.fences)
        self.records = Line(self.desk, self.journal.job, self._broke)
        self.rules = Rules(options.jobs, options.keep_going, self.bench.deadline, options.forks)
        self.runner = self._runner(plan, 0)

    def run(self) -> dict[str, Any]:
        """Take the stack's lock, run the plan, keep the account; returns the run's document."""
        try:
            with self.lock:
                self._record_stack()
                self._forget_old_runs()
                self.journal.begin(self.plan)
                self.live.start()
                for line in self.loading.said:
                    self.bench.own.note(*line)
                try:
                    with Signals(self._interrupt):
                        errors = self._work()
                finally:
                    self.live.stop()
                code = exit_code(self.runner, errors)
                status = "interrupted" if self.runner.interrupted else "failed" if code else "ok"
                return self.journal.end(status, code, self.bench.traffic(self.plan.targets))
        finally:
            self.bench.close()
            self.renewer.close()
            self.desk.close()

    def _work(self) -> list[SlothError]:
        pump, own = self.bench.pump, self.bench.own
        self.bench.take_over()
        self.runner.start()
        pump.run()
        ok = all(ended.error is None for ended in self.runner.ended.values())
        handlers = Handlers(self.bench, self.loading.program.handlers, self.plan.targets, self._runner)
        errors = handlers.run(len(self.plan.instances), self.runner) if ok else handlers.postpone()
        ok = ok and not errors
        failed = run_hook(pump, self.loading.program.workflow, own, self.runner, ok)
        for error in failed:
            own.note("error", f"on_complete failed: {error.message}")
        if self.broken is not None:
            raise self.broken
        self.bench.look_again()
        return errors + failed

    def _runner(self, plan: Plan, first: int) -> Runner:
        """A runner whose instances are numbered from ``first`` in the run's document."""
        bench = self.bench

        def finished(index: int, *more: Any) -> None:
            self.journal.finished(first + index, *more)

        earlier = self._earlier() if first == 0 else {}
        return Runner(plan, self.rules, bench.pump, bench.context, bench.locker.abandon, finished, earlier)

    def _fresh(self, patience: float | None) -> Store:
        return self.app.fresh_store() if patience is None else self.app.fresh_store(patience)

    def _locker(self, pump: Pump) -> Locker:
        return Locker(pump, self.renewer, self.app.clock, self.app.new_id(), *self.process)

    def _say(self, kind: str, data: dict[str, Any], instance: Instance | None) -> None:
        self.journal.emit(kind, data, instance)

    def _settle(self) -> None:
        if self.broken is None:
            for line in self.bench.lines.values():
                line.push()
            self.records.push()

    def _broke(self, error: SlothError) -> None:
        """The account of this run can't be kept any more: it comes to its end."""
        if self.broken is None:
            self.broken = error
            self.bench.pump.interrupt(error, force=not isinstance(error, Lost))

    def _lost(self, error: SlothError) -> None:
        def stop() -> None:
            self.broken = self.broken or error
            self.bench.pump.interrupt(error, force=True)

        self.bench.pump.post(stop)

    def _record_stack(self) -> None:
        key = store_key(SHARED, STACK, self.stack.name)
        document = {"id": self.stack.id, "file": str(self.loading.file)}
        if document != self.stack.document:
            records.write(self.store, [(key, document)], self.lock.fences())

    def _forget_old_runs(self) -> None:
        records.forget_expired(self.store, self.app.clock())

    def _earlier(self) -> dict[str, dict[str, Any]]:
        if self.options.resume is None:
            return {}
        before = records.show_run(self.store, self.options.resume)
        if before["stack"] != self.stack.name:
            raise UsageError(
                f"run {before['run']} was of the stack {before['stack']!r}, this is {self.stack.name!r}",
                unchanged=["nothing was run"],
            )
        return {
            f"{task['name']}@{task['agent']}": task
            for task in before["tasks"]
            if task["status"] in ("ok", "changed") and task["result"] is not None
        }

    def _interrupt(self, number: int, count: int) -> None:
        error = Interrupted("interrupted", exit_code=128 + number)

        def stop() -> None:
            self.runner.interrupted = error
            if count == 1:
                text = "stopping: running commands may end; once more to stop them now"
                self.bench.own.note("warn", text)
            self.bench.pump.interrupt(error, force=count > 1)

        self.bench.pump.post(stop)


def make_run_id(now: float, random: str) -> str:
    """A run's name: UTC to the millisecond, so that names sort by time, and three random digits."""
    millis = int(now * 1000) % 1000
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{millis:03d}{random[:3]}"
