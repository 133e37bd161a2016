"""Why: "run this file" is put together here: settings, values, Lua, plan, stack lock, pump, records, resume."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sloth_runner.durations import human
from sloth_runner.engine import records
from sloth_runner.engine.calls import Calls
from sloth_runner.engine.context import Context
from sloth_runner.engine.holding import Holding, Renewer
from sloth_runner.engine.journal import Journal, Title
from sloth_runner.engine.lock_calls import Locker
from sloth_runner.engine.mask import Mask
from sloth_runner.engine.module_calls import ModuleCalls
from sloth_runner.engine.plan import Instance, Plan, Selection, make_plan
from sloth_runner.engine.pump import Pump, Strand
from sloth_runner.engine.run import Rules, Runner, exit_code, run_hook
from sloth_runner.engine.secrets import Secrets
from sloth_runner.engine.signals import Signals
from sloth_runner.engine.stacks import choose_stack
from sloth_runner.errors import (
    AgentUnknown,
    FileMissing,
    Interrupted,
    SlothError,
    StackLocked,
    UsageError,
)
from sloth_runner.model import Call, Event, Program, Site, TaskDef
from sloth_runner.modules.sources import read_source
from sloth_runner.names import did_you_mean
from sloth_runner.state import locks
from sloth_runner.state.layout import LOCAL, SHARED, STACK, store_key
from sloth_runner.state.state import State
from sloth_runner.state.writer import Fence, Mutation, Writer
from sloth_runner.values import load_values, merge

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.lua.loader import Loaded

LEASE = 60.0
"""Seconds that the stack lock outlives a killed run; it is renewed at a third."""


class RunOptions(NamedTuple):
    """What the user asked for on the command line; durations in seconds."""

    file: Path
    stack: str | None = None
    jobs: int = 1
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    keep_going: bool = False
    resume: str | None = None
    timeout: float | None = None
    lock_timeout: float = 0.0
    strict_values: bool = False
    values_files: tuple[Path, ...] = ()
    sets: tuple[str, ...] = ()
    set_strings: tuple[str, ...] = ()
    delegate_to: tuple[str, ...] = ()


def validate(app: App, options: RunOptions) -> Program:
    """Load the file, check its graph and its targets; run nothing. Raises what is wrong."""
    loading = _Loading(app, options)
    try:
        with _covered(loading.mask):
            loading.plan()
        return loading.program
    finally:
        loading.close()


def run(app: App, options: RunOptions, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Run the file; returns the run's document. Raises what keeps a run from starting."""
    loading = _Loading(app, options)
    try:
        with _covered(loading.mask):
            plan = loading.plan()
            return Execution(app, options, loading, plan, emit).run()
    finally:
        loading.close()


class _Loading:
    """A loaded file. Until a run takes over, what its top level says is kept in ``said``."""

    def __init__(self, app: App, options: RunOptions) -> None:
        self.app = app
        self.options = options
        self.file = _existing(options.file)
        self.said: list[tuple[str, str, Site | None]] = []
        self.say: Callable[[str, str, Site | None], None] = lambda *line: self.said.append(line)
        self.stop: Callable[[], BaseException | None] = lambda: None
        self.mask = Mask()
        folder = str(self.file.parent)
        self.secrets = Secrets(self.mask, app.getenv, lambda path: read_source(folder, path), folder)
        with _covered(self.mask):
            self._loaded = self._load()
        self.program: Program = self._loaded.program

    def _load(self) -> Loaded:
        from sloth_runner.lua.loader import Host, Limits, load
        from sloth_runner.modules import modules, pure_functions

        options, settings = self.options, self.app.settings
        self.values = load_values(options.values_files, options.sets, options.set_strings)
        host = Host(
            say=lambda level, text, site: self.say(level, text, site),
            values=self.values,
            strict_values=options.strict_values,
            yielding={name: module.doc for name, module in modules().items()},
            pure={**pure_functions(self.file.parent), "secret": self.secrets.read},
            getenv=self.app.getenv,
            limits=Limits(settings.lua_time, settings.lua_memory),
            stop=lambda: self.stop(),
        )
        return load(self.file, host)

    def plan(self) -> Plan:
        """The plan of what was selected; every target is known."""
        options = self.options
        selection = Selection(options.tasks, options.tags, options.skip_tags, options.limit)
        return make_plan(self.program, selection, self._targets)

    def _targets(self, task: TaskDef) -> Sequence[str]:
        names = self.options.delegate_to or task.delegate_to or self.program.workflow.delegate_to
        if not names:
            return (LOCAL,)
        try:
            return list(dict.fromkeys(agent for name in names for agent in self.app.expand_agents(name)))
        except AgentUnknown as error:
            if self.options.delegate_to:
                raise
            error.exit_code = 5
            error.file, error.line = task.site.file, task.site.line
            raise

    def use_values(self, below: dict[str, Any]) -> None:
        """Make ``values`` what the user gave over ``below``."""
        merged = copy.deepcopy(below)
        merge(merged, copy.deepcopy(self.values))
        self._loaded.use_values(merged)

    def close(self) -> None:
        """Give the Lua state back."""
        self._loaded.close()


class Execution:
    """One run of a plan: everything that lives as long as it does."""

    def __init__(
        self, app: App, options: RunOptions, loading: _Loading, plan: Plan, emit: Callable[[Event], None]
    ) -> None:
        self.app = app
        self.options = options
        self.loading = loading
        self.plan = plan
        self.store = app.store()
        self.mask = loading.mask
        self.run_id = make_run_id(app.clock(), app.new_id())
        self.by = app.by(run=self.run_id)
        self.writers = _Writers(app)
        implied = loading.program.workflow.name or loading.file.stem
        self.stack = choose_stack(self.store, implied, str(loading.file), options.stack, app.new_id)
        self.deadline = None if options.timeout is None else time.monotonic() + options.timeout
        layers = {agent: app.values_for(agent) for agent in (LOCAL, *plan.targets)}
        self.layers = layers if any(layers.values()) else {}
        self.whose_values = ""
        before = self._use_values if self.layers else None
        self.pump = Pump(self._serve, self._flush, self.writers.late, self._settle, before=before)
        self.renewer = Renewer(app.fresh_store, app.clock)
        boot, started = app.process_identity()
        self.locker = Locker(self.pump, self.renewer, app.clock, app.new_id(), boot, started)
        self.transports = app.transports()
        self.held: Holding | None = None
        self.broken: SlothError | None = None
        self.calls = self._make_calls()
        process = (self.by.host, boot, self.by.pid, started)
        title = Title(
            self.run_id, self.stack.name, self.stack.id, str(loading.file), self.by, process, options.resume
        )
        self.journal = Journal(self.store, title, app.clock, emit, self.mask, self._fences)
        self.own = Context(self.run_id, LOCAL, None, self._state(LOCAL, None), self.journal.emit)
        rules = Rules(options.jobs, options.keep_going, self.deadline)
        self.runner = Runner(
            plan, rules, self.pump, self._context, self.locker.end, self.journal.finished, self._earlier()
        )

    def run(self) -> dict[str, Any]:
        """Take the stack's lock, run the plan, keep the account; returns the run's document."""
        self._lock_stack()
        try:
            self._record_stack()
            self._forget_old_runs()
            self.journal.begin(self.plan)
            self._say_loaded()
            with Signals(self._interrupt):
                errors = self._work()
            code = exit_code(self.runner, errors)
            status = "interrupted" if self.runner.interrupted else "failed" if code else "ok"
            return self.journal.end(status, code)
        finally:
            if self.held is not None:
                self.locker.let_go(self.own, self.held)
            self.renewer.close()
            self.writers.close()

    def _work(self) -> list[SlothError]:
        self.loading.say = self._say
        self.loading.stop = self.pump.stopping
        self.runner.start()
        self.pump.run()
        ok = all(ended.error is None for ended in self.runner.ended.values())
        errors = run_hook(self.pump, self.loading.program.workflow, self.own, self.runner, ok)
        for error in errors:
            self.own.note("error", f"on_complete failed: {error.message}")
        if self.broken is not None:
            raise self.broken
        return errors

    def _make_calls(self) -> Calls:
        from sloth_runner.modules import modules

        folder = str(self.loading.file.parent)
        performing = ModuleCalls(modules(), self.transports.to, folder, self.app.expand_agents)
        return Calls(
            lambda: self.pump,
            self.locker,
            performing,
            self.app.require_agent,
            self.app.jitter,
            self.deadline,
            self.loading.secrets,
        )

    def _serve(self, strand: Strand, call: Call) -> object:
        return self.calls.serve(strand, call)

    def _flush(self, mutations: list[Mutation]) -> list[object]:
        return self.writers.main(mutations) if self.pump.alone else self.writers.quick(mutations)

    def _use_values(self, strand: Strand) -> None:
        """Each body sees ``values`` with what configuration gives its target below files and ``--set``."""
        agent = strand.context.agent
        if agent != self.whose_values:
            self.whose_values = agent
            self.loading.use_values(self.layers.get(agent, {}))

    def _settle(self) -> None:
        if self.broken is None:
            try:
                self.journal.settle()
            except SlothError as error:
                self.broken = error
                self.pump.interrupt(error, force=True)

    def _say(self, level: str, text: str, site: Site | None) -> None:
        strand = self.pump.current
        context: Context = self.own if strand is None else strand.context
        context.note(level, text, site)

    def _say_loaded(self) -> None:
        for level, text, site in self.loading.said:
            self.own.note(level, text, site)

    def _state(self, agent: str, task: str | None) -> State:
        state = self.app.state(agent)
        state.by = self.by._replace(task=task)
        state.on_secret = self.mask.learn
        return state

    def _context(self, instance: Instance) -> Context:
        task = instance.task
        workdir = task.workdir or str(self.loading.file.parent)

        def say(kind: str, data: dict[str, Any]) -> None:
            self.journal.emit(kind, data, instance)

        self.locker.begin(instance.id)
        return Context(
            instance.id, instance.agent, task, self._state(instance.agent, task.name), say, workdir
        )

    def _fences(self) -> tuple[Fence, ...]:
        return (self.held.lock.fence,) if self.held is not None else ()

    def _lock_stack(self) -> None:
        name = f"stack:{self.stack.name}"
        end = time.monotonic() + self.options.lock_timeout
        while True:
            found = self.locker.hold(self.own, SHARED, name, LEASE)
            if isinstance(found, Holding):
                found.on_lost = self._lost
                self.held = found
                return
            left = end - time.monotonic()
            if left <= 0:
                raise _stack_locked(self.stack.name, found, self.app, self.options.lock_timeout)
            time.sleep(min(0.1, left))

    def _lost(self, error: SlothError) -> None:
        def stop() -> None:
            self.broken = self.broken or error
            self.pump.interrupt(error, force=True)

        self.pump.post(stop)

    def _record_stack(self) -> None:
        key = store_key(SHARED, STACK, self.stack.name)
        document = {"id": self.stack.id, "file": str(self.loading.file)}
        if document != self.stack.document:
            records.write(self.store, [(key, document)], self._fences())

    def _forget_old_runs(self) -> None:
        gone = records.expired(self.store, self.app.clock())
        if gone:
            self.store.commit(gone)

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
                self.own.note("warn", "stopping: running commands may end; once more to stop them now")
            self.pump.interrupt(error, force=count > 1)

        self.pump.post(stop)


class _Writers:
    """The ways to the store: from the pump's own thread, patiently or not, and from another thread."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._main = app.writer()
        self._quick: Writer | None = None
        self._late: Writer | None = None
        self._guard = threading.Lock()

    def main(self, mutations: list[Mutation]) -> list[object]:
        """Wait in place."""
        return self._main.apply(mutations)

    def quick(self, mutations: list[Mutation]) -> list[object]:
        """Don't wait: Busy for what can't be written at once."""
        if self._quick is None:
            self._quick = self._app.writer(self._app.fresh_store(patience=0.02))
        return self._quick.apply(mutations)

    def late(self, mutations: list[Mutation]) -> list[object]:
        """Wait, from any thread."""
        with self._guard:
            if self._late is None:
                self._late = self._app.writer(self._app.fresh_store())
            return self._late.apply(mutations)

    def close(self) -> None:
        """Give the additional handles back."""
        for writer in (self._quick, self._late):
            if writer is not None:
                writer.store.close()


@contextmanager
def _covered(mask: Mask) -> Iterator[None]:
    """Whatever is raised from here shows no secret that is known by then."""
    try:
        yield
    except BaseException as error:
        mask.cover_error(error)
        raise


def make_run_id(now: float, random: str) -> str:
    """A run's name: UTC to the millisecond, so that names sort by time, and three random digits."""
    millis = int(now * 1000) % 1000
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{millis:03d}{random[:3]}"


def _stack_locked(stack: str, found: locks.Info, app: App, waited: float) -> StackLocked:
    by = found.owner.by
    boot, _ = app.process_identity()
    stale = locks.is_stale(found, app.by().host, boot, app.start_time(by.pid))
    left = max(0.0, found.expires - app.clock())
    note = f"; that process is gone, the lock ends by itself in {human(left)}" if stale else ""
    after = f" (waited {human(waited)})" if waited else ""
    return StackLocked(
        f"the stack {stack!r} is being run by {by.user}@{by.host}, pid {by.pid}, run {by.run}{after}{note}",
        unchanged=["nothing was run"],
        next=[
            "wait for it: --lock-timeout 5m",
            *([f"take it away: sloth-runner lock break --shared stack:{stack}"] if stale else []),
        ],
    )


def _existing(file: Path) -> Path:
    path = file.absolute()
    if path.is_file():
        return path
    if path.is_dir():
        raise FileMissing(f"{file} is a folder; a task file is needed")
    folder = path.parent
    siblings = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    raise FileMissing(f"there is no file {file}", next=did_you_mean(path.name, siblings))
