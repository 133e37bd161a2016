"""Why: "run this file" is put together here: the stack's lock, the bench, the runner, handlers, records, resume."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from sloth_runner import processes
from sloth_runner.durations import human
from sloth_runner.engine import records
from sloth_runner.engine.holding import PATIENCE, Renewer
from sloth_runner.engine.journal import Journal, Title
from sloth_runner.engine.lines import Line
from sloth_runner.engine.live import LiveRecord
from sloth_runner.engine.lock_calls import Locker
from sloth_runner.engine.run import Rules, Runner, exit_code, run_hook
from sloth_runner.engine.signals import Signals
from sloth_runner.engine.stacks import check_unmoved, choose_stack
from sloth_runner.engine.store_desk import StoreDesk, is_outage
from sloth_runner.errors import (
    Forbidden,
    Interrupted,
    OutputLost,
    SlothError,
    StoreDown,
    TaskFailed,
    UsageError,
)
from sloth_runner.execution.bench import Basis, Bench
from sloth_runner.execution.handlers import Handlers
from sloth_runner.execution.loading import Loading
from sloth_runner.execution.made_of import MadeOf, changes, made_of
from sloth_runner.execution.stack_lock import StackLock
from sloth_runner.model import Event
from sloth_runner.plain import TYPE_CHECKING, Any
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
        resumed = None if options.resume is None else records.show_run(self.store, options.resume)
        self.resumed = resumed
        self.lock = StackLock(
            app, self.stack.name, options.lock_timeout, run_id, self._lost,
            None if resumed is None else resumed["run"], self._waiting,
        )  # fmt: skip
        self.broken: SlothError | None = None
        self.renewer = Renewer(lambda seconds: app.fresh_store(PATIENCE, seconds), app.clock)
        self.process = processes.identity()
        self.thread = threading.current_thread()
        self._told = -1e9
        self.desk = StoreDesk(app.writer(), app.writer, self._fresh, self._gone)
        self.bench = Bench(
            app, options, loading, plan,
            Basis(
                self.desk, by, self.stack.id, self.lock.fences, self._say, self._settle, self._broke,
                self._locker, rehearse=False,
            ),
        )  # fmt: skip
        title = Title(
            run_id, self.stack.name, self.stack.id, str(loading.file), by,
            (by.host, self.process[0], by.pid, self.process[1]),
            None if resumed is None else str(resumed["run"]), self._made_of(run_id),
        )  # fmt: skip
        self._listener = emit
        self.unheard: Exception | None = None
        """What kept the run from being told: nobody reads it any more, or what it is written to is full."""
        self.journal = Journal(self.store, title, app.clock, self._emit, self.bench.mask, self.lock.fences)
        self.live = LiveRecord(run_id, self.journal.news, lambda: app.fresh_store(PATIENCE), self.lock.fences)
        self.records = Line(self.desk, self.journal.job, self._broke)
        self.rules = Rules(options.jobs, options.keep_going, self.bench.deadline, options.forks)
        self.runner = self._runner(plan, 0)

    def run(self) -> dict[str, Any]:
        """Take the stack's lock, run the plan, keep the account; returns the run's document."""
        try:
            with self.lock:
                self._record_stack()
                records.forget_expired(self.store, self.app.clock())
                self.journal.begin(self.plan)
                self.live.start()
                for line in self.loading.said:
                    self.bench.own.note(*line)
                self._name_changes()
                self.app.stores.trouble = self._trouble
                try:
                    with Signals(self._interrupt):
                        errors = self._work()
                finally:
                    self.live.stop()
                document = self._end(errors)
            if self.unheard is not None:
                raise self.unheard
            return document
        finally:
            self.app.stores.hurry = False
            self.app.stores.trouble = lambda error: None
            self.bench.close()
            self.renewer.close()
            self.desk.close()

    def _work(self) -> list[SlothError]:
        """Run it all; the errors met beside those of tasks."""
        pump, own = self.bench.pump, self.bench.own
        self.bench.take_over()
        self.runner.start()
        pump.run()
        ok = not self.runner.late and all(ended.error is None for ended in self.runner.ended.values())
        errors = self._while_there(lambda: self._handle(ok))
        ok = ok and not errors and self.broken is None
        failed = run_hook(pump, self.loading.program.workflow, own, self.runner, ok)
        for error in failed:
            own.note("error", f"on_complete failed: {error.message}")
            self.journal.hook_failed(error)
        if ok and not failed:
            self._while_there(self.bench.forget_unnamed)
        self._while_there(self.bench.look_again)
        return errors + failed

    def _handle(self, ok: bool) -> list[SlothError]:
        handlers = Handlers(self.bench, self.loading.program.handlers, self.plan.targets, self._runner)
        return handlers.run(len(self.plan.instances), self.runner) if ok else handlers.postpone()

    def _while_there(self, work: Callable[[], list[SlothError] | None]) -> list[SlothError]:
        """Work that needs the store and the stack's lock, unless one of them is lost."""
        if self.broken is None:
            try:
                return work() or []
            except SlothError as error:
                self._broke(error)
        return []

    def _end(self, errors: list[SlothError]) -> dict[str, Any]:
        """The account of a run that is over."""
        lost = self.broken
        code = exit_code(self.runner, errors if lost is None else [*errors, lost])
        if lost is not None and code == TaskFailed.exit_code:
            code = lost.exit_code
        status = "interrupted" if self.runner.interrupted else "failed" if code else "ok"
        traffic = self.bench.traffic(self.plan.targets)
        if lost is None:
            document = self.journal.end(status, code, traffic)
            try:
                self.journal.settle()
            except SlothError as error:
                self._broke(error)
                return self._end(errors)
            self.journal.tell(document)
            return document
        from sloth_runner.execution.outage import LastTry

        return LastTry(self.app, self.bench, self.lock, self.journal, lost).end(status, code, traffic)

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

    def _emit(self, event: Event) -> None:
        """Tell whoever listens; a run that nobody hears comes to its end as if it were interrupted."""
        if self.unheard is not None:
            return
        try:
            self._listener(event)
        except (OSError, OutputLost) as error:
            self.unheard = error
            code = 128 + signal.SIGPIPE if isinstance(error, BrokenPipeError) else OutputLost.exit_code
            stop = Interrupted("its output can't be written any more", exit_code=code)
            self.runner.interrupted = stop
            self.bench.pump.post(lambda: self.bench.pump.interrupt(stop, force=False))

    def _say(self, kind: str, data: dict[str, Any], instance: Instance | None) -> None:
        self.journal.emit(kind, data, instance)

    def _settle(self) -> None:
        self._settle_folders()
        if self.broken is None:
            for line in self.bench.lines.values():
                line.push()
            self.records.push()

    def _settle_folders(self) -> None:
        try:
            self.bench.settle()
        except TaskFailed as error:
            self._broke(error)

    def _broke(self, error: SlothError) -> None:
        """The account of this run can't be kept any more: it comes to its end."""
        if _is_lost(error):
            self._gone(error)
        elif self.broken is None:
            self.broken = self.runner.broken = error
            self.bench.pump.interrupt(error, force=True)

    def _gone(self, error: SlothError) -> None:
        """The store did not answer for as long as a handle's patience lasts, or lets us in no more: the run ends."""
        if self.broken is None:
            self.broken = self.runner.broken = error
            self.app.stores.hurry = True
            text = f"the store is lost: {error.message}; running commands may finish, nothing else is started"
            self.bench.own.note("error", text)
            stop = StoreDown("stopped, because the store is lost", next=list(error.next))
            stop.final = True
            self.bench.pump.interrupt(stop, force=False)

    def _trouble(self, error: SlothError) -> None:
        """A handle waits for the store's server; told at once where that can be, from any thread."""
        length = self.app.settings.request_timeout
        now = time.monotonic()
        if now < self._told + length:
            return
        self._told = now
        text = f"the store does not answer: {error.message}; trying again for up to {human(length)}"
        if threading.current_thread() is self.thread:
            self.bench.own.note("warn", text)
        else:
            self.bench.pump.post(lambda: self.bench.own.note("warn", text))

    def _waiting(self, text: str) -> None:
        self.bench.own.note("info", text)

    def _lost(self, error: SlothError) -> None:
        def stop() -> None:
            self.broken = self.runner.broken = self.broken or error
            self.bench.pump.interrupt(error, force=True)

        self.bench.pump.post(stop)

    def _made_of(self, run: str) -> MadeOf:
        loading = self.loading
        return made_of(run, loading.file.parent, loading.loaded.lines(), loading.values)

    def _name_changes(self) -> None:
        """What is not as it was in the run that is resumed."""
        if self.resumed is not None:
            run = str(self.resumed["run"])
            found = changes(self.resumed.get("made_of", {}), self._made_of(run))
            if found:
                text = f"changed since run {run}: {', '.join(found)}; tasks that are done keep their results"
                self.bench.own.note("warn", text)

    def _record_stack(self) -> None:
        check_unmoved(self.store, self.stack)
        key = store_key(SHARED, STACK, self.stack.name)
        document = {"id": self.stack.id, "file": str(self.loading.file)}
        if document != self.stack.document:
            records.write(self.store, [(key, document)], self.lock.fences())

    def _earlier(self) -> dict[str, dict[str, Any]]:
        before = self.resumed
        if before is None:
            return {}
        if before["stack_id"] != self.stack.id:
            same = before["stack"] == self.stack.name
            this = "which was forgotten since" if same else f"this is {self.stack.name!r}"
            raise UsageError(
                f"run {before['run']} was of the stack {before['stack']!r}, {this}",
                unchanged=["nothing was run"],
                next=["run all of it: without --resume", "see which runs there are: sloth-runner runs list"],
            )
        return {
            f"{task['name']}@{task['agent']}": task
            for task in before["tasks"]
            if task["status"] in ("ok", "changed") and task["result"] is not None
        }

    def _interrupt(self, number: int, count: int) -> None:
        error = Interrupted("interrupted", exit_code=128 + number)
        self.app.stores.hurry = True

        def stop() -> None:
            self.runner.interrupted = error
            if count == 1:
                text = "stopping: running commands may finish; interrupt again to stop them now"
                self.bench.own.note("warn", text)
            self.bench.pump.interrupt(error, force=count > 1)

        self.bench.pump.post(stop)


def make_run_id(now: float, random: str) -> str:
    """A run's name: UTC to the millisecond, so that names sort by time, and three random digits."""
    millis = int(now * 1000) % 1000
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{millis:03d}{random[:3]}"


def _is_lost(error: SlothError) -> bool:
    """Whether a run that meets this in its own account has lost its store: what is full, or does not let us in any
    more, is of no more use to it than what does not answer."""
    return is_outage(error) or isinstance(error, Forbidden)
