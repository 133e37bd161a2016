"""Why: a plan becomes work here: which instance starts when, what its end means for the others, what is kept.

Each instance is one body, a generator made of the task's conditions, attempts, locks and hooks; the pump
resumes it. Results go to events, to the run's document and, as each instance ends, to its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sloth_runner.engine.context import Context
from sloth_runner.engine.plan import Instance, Plan
from sloth_runner.engine.pump import Pump
from sloth_runner.engine.queue import Ended, Queue
from sloth_runner.errors import Bug, Interrupted, LockLost, Lost, SlothError, TaskFailed, Unpredictable
from sloth_runner.model import Body, Call, Condition, Returned, Site, TaskDef, This, Value, Workflow
from sloth_runner.plain import Any, NamedTuple
from sloth_runner.state.value import from_json

Document = dict[str, Any]
OUT_OF_TIME = "the run took longer than its --timeout"


class Rules(NamedTuple):
    """How a run goes: tasks at once, machines of one task at once, whether failures hold back the rest, and its end
    (pump's clock)."""

    jobs: int = 1
    keep_going: bool = False
    deadline: float | None = None
    forks: int = 1000


class _Skip(NamedTuple):
    reason: str


class Runner:
    """Starts instances and takes in their results. ``make_context`` makes an instance's context; ``abandon`` gives
    back the locks of one that did not come to its end; ``finished`` gets each instance's index and document;
    ``earlier`` holds, by instance id, the documents that a resumed run takes over."""

    def __init__(
        self,
        plan: Plan,
        rules: Rules,
        pump: Pump,
        make_context: Callable[[Instance], Context],
        abandon: Callable[[Context], None],
        finished: Callable[[int, Instance, Context, Ended, float], None],
        earlier: Mapping[str, Document],
    ) -> None:
        self._plan = plan
        self._rules = rules
        self._pump = pump
        self._make_context = make_context
        self._abandon = abandon
        self._finished = finished
        self._earlier = earlier
        self._queues: dict[str, Queue] = {}
        for index, instance in enumerate(plan.instances):
            self._queues.setdefault(instance.task.name, Queue(instance.task)).add(index, instance)
        for queue in self._queues.values():
            queue.roll(keep_going=rules.keep_going)
        self._open: set[str] = set()
        self.ended: dict[str, Ended] = {}
        self._stopped: dict[str, str] = {}
        self.interrupted: SlothError | None = None
        self.broken: SlothError | None = None
        self.late = False
        """Whether something was not started because the time of the run was up."""

    def start(self) -> None:
        """Start what may start now; called again whenever an instance has ended."""
        progress = True
        while progress:
            progress = False
            for name, queue in self._queues.items():
                while queue.waiting:
                    index, instance = queue.waiting[0]
                    verdict = self._verdict(instance, queue)
                    if verdict == "wait" or (verdict == "start" and not self._room(name, queue)):
                        break
                    queue.waiting.popleft()
                    progress = True
                    if verdict == "start":
                        self._open.add(name)
                        self._launch(index, instance)
                    else:
                        self._settle(index, instance, self._make_context(instance), verdict, 0.0)

    def _room(self, name: str, queue: Queue) -> bool:
        """Whether one more instance of a task may run: a task is under way until all of its machines have ended."""
        if name in self._open:
            return queue.running < self._rules.forks
        return len(self._open) < self._rules.jobs

    def _verdict(self, instance: Instance, queue: Queue) -> Ended | str:
        done = self._earlier.get(instance.id)
        if done is not None:
            why = f"finished in run {done['run']}"
            return Ended(done["status"], why, None, _stored(done))
        if self.interrupted is not None:
            return Ended("skipped", self.interrupted.message, blocks=True)
        if self.broken is not None:
            return Ended("skipped", f"not started: {self.broken.message}", blocks=True)
        needs = self._plan.needs[instance.task.name]
        if not all(self._queues[name].over for name in needs if name in self._queues):
            return "wait"
        failed = next((found for name in needs if (found := self._blocker(name, instance.agent))), None)
        if failed is not None:
            status = "unknown" if self.ended[failed].status == "unknown" else "skipped"
            why = f"it depends on {failed.partition('@')[0]!r}, which {_fate(self.ended[failed])}"
            return Ended(status, why, blocks=True)
        stopped = self._stopped.get(instance.agent)
        if stopped is not None and not self._rules.keep_going:
            return Ended("skipped", f"not started after {stopped} (-k goes on)", blocks=True)
        if self._time_is_up():
            self.late = True
            return Ended("skipped", "the time of the run was up", blocks=True)
        verdict = queue.verdict(instance)
        if isinstance(verdict, Ended):
            self._stopped.setdefault(instance.agent, f"{instance.task.name!r} was held back")
        return verdict

    def _time_is_up(self, after: float = 0.0) -> bool:
        """Whether the run has no time left, ``after`` so many seconds."""
        deadline = self._rules.deadline
        return deadline is not None and self._pump.clock() + after >= deadline

    def _blocker(self, name: str, agent: str) -> str | None:
        """The instance of a task, that has ended, for which another on ``agent`` can't run: that on the same machine,
        if the task ran there, else any."""
        instances = self._instances(name)
        own = [i for i in instances if i.agent == agent] or instances
        return next((i.id for i in own if i.id in self.ended and self.ended[i.id].blocks), None)

    def _instances(self, name: str) -> Sequence[Instance]:
        queue = self._queues.get(name)
        return () if queue is None else queue.instances

    def _launch(self, index: int, instance: Instance) -> None:
        queue = self._queues[instance.task.name]
        queue.running += 1
        context = self._make_context(instance)
        began = self._pump.clock()
        context.say("task.started", {})

        def on_done(value: object, error: BaseException | None) -> None:
            queue.running -= 1
            self._abandon(context)
            ended = _judge(value, None if error is None else Bug.of(error), context)
            self._settle(index, instance, context, ended, self._pump.clock() - began)
            self.start()

        body = to_the_end(self._body(instance, context), instance.task.site)
        self._pump.spawn(body, context, on_done)

    def _settle(
        self, index: int, instance: Instance, context: Context, ended: Ended | str, seconds: float
    ) -> None:
        assert isinstance(ended, Ended)
        self.ended[instance.id] = ended
        if ended.status in ("failed", "unreachable"):
            self._stopped.setdefault(instance.agent, f"{instance.task.name!r} failed")
        queue = self._queues[instance.task.name]
        if queue.end(instance, failed=ended.status in ("failed", "unreachable")):
            self._open.discard(instance.task.name)
        self._finished(index, instance, context, ended, seconds)

    def _body(self, instance: Instance, context: Context) -> Body:
        task = instance.task
        this = This(task.name, instance.agent, context.workdir)
        deps = self._deps(task)
        given = (this, dict(task.params), deps)
        if task.run_if is not None or task.unless is not None:
            yield Call("engine.deadline", (True, None), task.site)
        if task.run_if is not None and not (yield from _holds(task.run_if, given, task)):
            return _Skip("run_if did not hold")
        if task.unless is not None and (yield from _holds(task.unless, given, task)):
            return _Skip("unless held")
        result: object = None
        for attempt in range(1, task.retries + 2):
            context.attempt = attempt
            try:
                result = yield from self._attempt(task, given, context)
                break
            except SlothError as error:
                if isinstance(error, Unpredictable):
                    raise
                last = attempt > task.retries or self._time_is_up(task.retry_delay)
                if last or isinstance(error, Interrupted | LockLost | Bug):
                    yield from _hook(
                        task.on_failure, this, {"code": error.code, "message": error.message}, context
                    )
                    raise
                again = f"; again in {task.retry_delay:g} s" if task.retry_delay else "; again"
                context.note(
                    "warn", f"attempt {attempt} of {task.retries + 1} failed: {error.message}{again}"
                )
                if task.retry_delay:
                    yield Call("sleep", (task.retry_delay,), task.site)
        if task.on_success is not None:
            yield Call("engine.deadline", (True, None), task.site)
            yield from caught_up(task.on_success(this, result), task.site)
        return result

    def _attempt(self, task: TaskDef, given: tuple[object, ...], context: Context) -> Body:
        handles: list[object] = []
        error: SlothError | None = None
        result: object = None
        yield Call("engine.deadline", (True, task.timeout), task.site)
        try:
            yield Call("engine.begin", (), task.site)
            for name in sorted(set(task.locks)):
                entered = yield Call("state.lock_enter", (None, name, None, None, None), task.site)
                assert isinstance(entered, Returned)
                handles.append(entered.values[1])
            result = _checked((yield from caught_up(task.run(*given), task.site)), task, context)
        except SlothError as failure:
            error = failure
        yield Call("engine.deadline", (False, None), task.site)
        for handle in reversed(handles):
            try:
                yield Call("state.lock_exit", (None, handle, *_how(error)), task.site)
            except SlothError as failure:
                error = failure if error is None or failure.final else error
        yield Call("engine.end_attempt", (), task.site)
        if error is not None:
            raise error
        return result

    def statuses(self) -> dict[str, object]:
        """How each task ended, by name; one on several agents by name and agent."""
        found: dict[str, object] = {}
        for name, queue in self._queues.items():
            own = {i.agent: self.ended[i.id].status for i in queue.instances if i.id in self.ended}
            if own:
                found[name] = next(iter(own.values())) if len(queue.instances) == 1 else own
        return found

    def _deps(self, task: TaskDef) -> dict[str, object]:
        deps: dict[str, object] = {}
        for name in self._plan.needs[task.name]:
            instances = self._instances(name)
            results = {i.agent: self.ended[i.id].result for i in instances if i.id in self.ended}
            single = len(instances) == 1
            value = next(iter(results.values()), None) if single else _present(results)
            if value is not None:
                deps[name] = value
        return deps


def to_the_end(body: Body, site: Site | None) -> Body:
    """A body, and after it, whatever became of it, the release of the locks that it left."""
    return (yield from _and_then(caught_up(body, site), Call("engine.end_attempt", (), site)))


def caught_up(body: Body, site: Site | None) -> Body:
    """A body, and after it, whatever became of it, the end of what it has left waiting (see ``group``): what fails
    then is its failure, and what follows upon a body follows."""
    return (yield from _and_then(body, Call("engine.catch_up", (), site)))


def _and_then(body: Body, call: Call) -> Body:
    """A body and, whatever became of it, a call. Raises what the body raised, unless only what the call raises is
    what nothing may put aside."""
    error: Exception | None = None
    result: object = None
    try:
        result = yield from body
    except Exception as failure:
        error = failure
    try:
        yield call
    except SlothError as failure:
        if error is None or (failure.final and not _is_final(error)):
            error = failure
    if error is not None:
        raise error
    return result


def _is_final(error: Exception) -> bool:
    return isinstance(error, Interrupted) or (isinstance(error, SlothError) and error.final)


def run_hook(pump: Pump, workflow: Workflow, context: Context, runner: Runner, ok: bool) -> list[SlothError]:
    """Run the workflow's ``on_complete(ok, results)``; the errors it raised."""
    errors: list[SlothError] = []
    if workflow.on_complete is None:
        return errors

    def on_done(value: object, error: BaseException | None) -> None:
        if error is not None:
            errors.append(Bug.of(error))

    pump.spawn(to_the_end(workflow.on_complete(ok, runner.statuses()), None), context, on_done)
    pump.run()
    return errors


def exit_code(runner: Runner, errors: list[SlothError]) -> int:
    """130 (or 143) before 70 before 6 before 1, by what happened."""
    everything = [e.error for e in runner.ended.values() if e.error is not None] + errors
    if runner.interrupted is not None:
        return runner.interrupted.exit_code
    if any(isinstance(error, Bug) for error in everything):
        return 70
    if any(isinstance(error, Lost) for error in everything):
        return 6
    return 1 if everything or runner.late else 0


def _holds(condition: Condition, given: tuple[object, ...], task: TaskDef) -> Body:
    if isinstance(condition, str):
        return (yield Call("engine.test", (condition,), task.site))
    if callable(condition):
        value = yield from caught_up(condition(*given), task.site)
        return _truth(value)
    return bool(condition)


def _truth(value: object) -> bool:
    if isinstance(value, Returned):
        value = value.values[0] if value.values else None
    return value is not None and value is not False


def _hook(start: Any, this: This, error: Document, context: Context) -> Body:
    if start is None:
        return None
    try:
        yield from caught_up(start(this, error), None)
    except Interrupted:
        raise
    except SlothError as failure:
        context.note("error", f"on_failure failed itself: {failure.message}")
    return None


def _how(error: SlothError | None) -> tuple[bool, str | None]:
    """How a body ended, for its locks: whether nothing has decided that yet which no pcall could put aside, and the
    message of another error."""
    if error is None:
        return True, None
    still = not _is_final(error)
    return still, error.message if still else None


def _checked(value: object, task: TaskDef, context: Context) -> object:
    """A task's result, or TaskFailed for what means failure: the table of ``true, "message", {…}``, else the first
    value. The message goes to the log."""
    values = value.values if isinstance(value, Returned) else (value,)
    first = values[0] if values else None
    if isinstance(first, dict) and first.get("success") is False:
        raise _returned(task, first.get("message") or "the task returned success = false")
    if first is False or (first is None and len(values) > 1 and values[1] is not None):
        said = values[1] if len(values) > 1 and values[1] is not None else None
        raise _returned(task, "the task returned false" if said is None else said)
    if first is not True or len(values) == 1:
        return first
    if values[1] is not None:
        context.note("info", str(values[1]))
    return True if len(values) == 2 or values[2] is None else values[2]


def _returned(task: TaskDef, message: object) -> TaskFailed:
    """The failure that a task has told by what it returned: nothing of it is running that could be shown."""
    return TaskFailed(str(message), file=task.site.file, line=task.site.line)


def _judge(value: object, error: SlothError | None, context: Context) -> Ended:
    if isinstance(error, Unpredictable):
        return Ended("unknown", error.message, error, blocks=True)
    if error is not None:
        status = "unreachable" if error.code == "E-UNREACHABLE" else "failed"
        return Ended(status, error.message, error, blocks=True)
    if isinstance(value, _Skip):
        return Ended("skipped", value.reason)
    return Ended("changed" if context.tally.changed else "ok", None, None, value)


def _fate(ended: Ended) -> str:
    if ended.status == "skipped":
        return "was skipped"
    if ended.status == "unknown":
        return "can't be foretold"
    return "could not be reached" if ended.status == "unreachable" else "failed"


def _present(results: dict[str, object]) -> dict[str, object] | None:
    found = {agent: value for agent, value in results.items() if value is not None}
    return found or None


def _stored(document: Document) -> Value | None:
    stored = document["result"]
    return None if stored.get("nothing") else from_json(stored["value"])
