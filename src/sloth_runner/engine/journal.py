"""Why: what happens in a run is told once and heard thrice: as events now, as records, as the final document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from sloth_runner.engine import records
from sloth_runner.engine.context import Context
from sloth_runner.engine.fitting import Document, cut_log
from sloth_runner.engine.lines import Job
from sloth_runner.engine.mask import Mask
from sloth_runner.engine.plan import Instance, Plan
from sloth_runner.engine.queue import Ended
from sloth_runner.errors import BadValue, SlothError, TooLarge
from sloth_runner.model import By, Event
from sloth_runner.moments import iso
from sloth_runner.plain import Any, NamedTuple
from sloth_runner.state.batch import Fence
from sloth_runner.state.store import Store
from sloth_runner.state.value import encode


class Title(NamedTuple):
    """Which run this is. ``process`` tells whether it still lives: host, boot id, pid and start time."""

    run: str
    stack: str
    stack_id: str
    file: str
    by: By
    process: tuple[str, str, int, int]
    resumes: str | None = None
    made_of: Mapping[str, Any] = {}
    """What tells whether its files and values are still as they were."""


class Journal:
    """Keeps the account of one run. ``clock`` gives seconds since the epoch; ``fences`` the stack lock's."""

    def __init__(
        self,
        store: Store,
        title: Title,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        mask: Mask,
        fences: Callable[[], tuple[Fence, ...]],
    ) -> None:
        self._store = store
        self._title = title
        self._clock = clock
        self._emit_event = emit
        self._mask = mask
        self._fences = fences
        self._began = clock()
        self._logs: dict[str, list[Document]] = {}
        self._rows: list[tuple[str, Document | None]] = []
        self._last: list[tuple[str, Document | None]] = []
        self._tasks: dict[int, Document] = {}
        self._needs: dict[str, tuple[str, ...]] = {}
        self._open: dict[str, tuple[Instance, float | None]] = {}
        self._news = 0
        self._told = 0
        self._hook_errors: list[Document] = []
        self.notes: list[Document] = []

    def emit(self, kind: str, data: Document, instance: Instance | None = None) -> None:
        """Tell everyone; secrets that are known by now are covered."""
        now = self._clock()
        covered: Any = self._mask.cover_all(data)
        if kind == "task.output":
            line = {"time": iso(now), "stream": covered["stream"], "text": covered["text"]}
            log = self.notes if instance is None else self._logs.setdefault(instance.id, [])
            log.append(line)
            self._news += 1
        elif kind == "task.started" and instance is not None:
            self._open[instance.id] = (instance, now)
            self._news += 1
        task = self._mask.cover(instance.task.name) if instance else None
        self._emit_event(Event(kind, now, task, instance.agent if instance else None, covered))

    def begin(self, plan: Plan) -> None:
        """The run starts: its head record is written before anything else is."""
        title = self._title
        self._needs = plan.needs
        self._open = {instance.id: (instance, None) for instance in plan.instances}
        head = self._head("running", None, 0.0, _summary([]))
        self._write([(records.run_key(title.run), head), (records.live_key(title.run), self.under_way())])
        self.emit(
            "run.started",
            {
                "run": title.run,
                "stack": title.stack,
                "file": title.file,
                "targets": plan.targets,
                "tasks": len(plan.instances),
            },
        )

    def finished(
        self, index: int, instance: Instance, context: Context, ended: Ended, seconds: float
    ) -> None:
        """One instance has ended; its record is written with the next ``settle``."""
        error = ended.error.document() if ended.error else None
        if error is not None and ended.error is not None:
            from sloth_runner.engine.already import changed_before

            error["target"] = error["target"] or instance.agent
            error["changed"] = [*ended.error.changed, *changed_before(context.tally)]
        changes = context.tally.changes
        _, started = self._open.pop(instance.id, (instance, None))
        self._news += 1
        document: Document = {
            **self._title_of(instance, ended.status, started),
            "seconds": round(seconds, 6),
            "reason": ended.reason,
            "log": cut_log(self._logs.pop(instance.id, [])),
            "calls": records.cut_calls(context.tally.calls),
            "state": [{**c, "old": _value(c["old"]), "new": _value(c["new"])} for c in changes],
            "error": error,
        }
        document = self._mask.cover_all(document)  # type: ignore[assignment] # a dict stays a dict
        document["run"] = self._title.run
        document["result"] = self._result(ended)
        self._tasks[index] = document
        self._rows.append((records.task_key(self._title.run, index), document))
        self.emit(
            "task.finished",
            {
                "status": ended.status,
                "seconds": document["seconds"],
                "reason": ended.reason,
                "error": error,
                "state_writes": len(changes),
            },
            instance,
        )

    def hook_failed(self, error: SlothError) -> None:
        """The workflow's ``on_complete`` raised this; the run's document tells it."""
        self._hook_errors.append(error.document())

    def news(self) -> Document | None:
        """``under_way``, if it is not what was told last; from another thread than the run's."""
        if self._news == self._told:
            return None
        self._told = self._news
        return self.under_way()

    def under_way(self) -> Document:
        """The tasks that have not ended, in the form that they will have, with what they have said so far."""
        tasks = []
        for name, (instance, started) in list(self._open.items()):
            status = "waiting" if started is None else "running"
            log = cut_log(list(self._logs.get(name, ())))
            tasks.append(
                {
                    **self._title_of(instance, status, started),
                    "seconds": 0.0, "reason": None, "log": log, "calls": [], "state": [], "error": None,
                }
            )  # fmt: skip
        return {"tasks": self._mask.cover_all(tasks)}

    def job(self) -> Job | None:
        """The records that are due, to be written in one commit."""
        if not self._rows:
            return None
        rows, self._rows = self._rows, []
        fences = self._fences()

        def failed() -> None:
            self._rows = rows + self._rows

        return Job(lambda store: records.write(store, rows, fences), lambda _: None, failed)

    def settle(self, store: Store | None = None, fences: tuple[Fence, ...] | None = None) -> None:
        """Write the records that are due, in one commit, at once; by this handle, under these fences."""
        rows = self._rows + self._last
        if rows:
            records.write(store or self._store, rows, self._fences() if fences is None else fences)
            self._rows, self._last = [], []

    def end(
        self,
        status: str,
        code: int,
        targets: Sequence[tuple[str, str, Document | None]] = (),
        lost: Document | None = None,
    ) -> Document:
        """The run is over: the whole document, its head to be recorded with the next ``settle``. ``targets``: each
        agent's name, address, and what went over the line to it; ``lost``: what an outage of the store has left."""
        tasks = [self._tasks[index] for index in sorted(self._tasks)]
        seconds = round(self._clock() - self._began, 6)
        head = self._head(status, code, seconds, _summary(tasks))
        head["targets"] = [_target(tasks, *target) for target in targets]
        if self._hook_errors:
            head["hook_errors"] = self._mask.cover_all(self._hook_errors)
        if lost is not None:
            head["lost"] = self._mask.cover_all(lost)
        self._last = [(records.run_key(self._title.run), head), (records.live_key(self._title.run), None)]
        document = {k: v for k, v in head.items() if k not in ("began", "stack_id", "process", "made_of")}
        document["tasks"] = tasks
        return document

    def tell(self, document: Document) -> None:
        """Everyone hears how the run ended."""
        self.emit("run.finished", {"document": document})

    def _title_of(self, instance: Instance, status: str, started: float | None) -> Document:
        """How the document of a task begins."""
        return {
            "name": instance.task.name,
            "agent": instance.agent,
            "line": instance.task.site.line,
            "depends_on": list(self._needs.get(instance.task.name, ())),
            "status": status,
            "started": None if started is None else iso(started),
        }

    def _write(self, rows: list[tuple[str, Document | None]]) -> None:
        records.write(self._store, rows, self._fences())

    def _head(self, status: str, code: int | None, seconds: float, summary: Document) -> Document:
        title = self._title
        return {
            "run": title.run,
            "stack": title.stack,
            "stack_id": title.stack_id,
            "file": title.file,
            "status": status,
            "exit_code": code,
            "started": iso(self._began),
            "seconds": seconds,
            "summary": summary,
            "by": title.by._asdict(),
            "resumes": title.resumes,
            "process": title.process,
            "made_of": title.made_of,
            "began": self._began,
        }

    def _result(self, ended: Ended) -> Document | None:
        """What the task returned, if a later run may rely on it: storable, and without a secret in it."""
        if ended.status not in ("ok", "changed"):
            return None
        if ended.result is None:
            return {"value": {}, "nothing": True}
        try:
            text = encode(ended.result, "the result")  # type: ignore[arg-type] # whatever Lua returned
        except (BadValue, TooLarge):
            return None
        return None if self._mask.cover(text) != text else {"value": json.loads(text)}


def _value(text: object) -> object:
    return None if text is None else json.loads(str(text))


def _target(tasks: list[Document], agent: str, address: str, traffic: Document | None) -> Document:
    own = [task for task in tasks if task["agent"] == agent]
    unreachable = any(task["status"] == "unreachable" for task in own)
    return {
        "agent": agent,
        "address": address,
        "summary": _summary(own),
        "unreachable": unreachable,
        "traffic": traffic,
    }


def _summary(tasks: list[Document]) -> Document:
    def count(*statuses: str) -> int:
        return sum(task["status"] in statuses for task in tasks)

    return {
        "ok": count("ok"),
        "changed": count("changed"),
        "failed": count("failed", "unreachable"),
        "skipped": count("skipped"),
        "state_writes": sum(len(task["state"]) for task in tasks),
    }
