"""Why: which tasks run where, and in which order, is decided purely, before anything is touched."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

from sloth_runner.errors import BadDependency, Cycle, UsageError
from sloth_runner.model import Program, TaskDef
from sloth_runner.names import choice, did_you_mean
from sloth_runner.plain import NamedTuple

_NOTHING = ("nothing was run",)


class Selection(NamedTuple):
    """What the user picked, by names or by tags; empty means everything. A picked task brings what it depends on."""

    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()


class Instance(NamedTuple):
    """One task on one agent."""

    task: TaskDef
    agent: str

    @property
    def id(self) -> str:
        """Names the instance in records and events; resuming goes by it."""
        return f"{self.task.name}@{self.agent}"


class Plan(NamedTuple):
    """Instances in the order in which they start, and for each task which tasks it waits for."""

    instances: tuple[Instance, ...]
    needs: dict[str, tuple[str, ...]]

    @property
    def targets(self) -> list[str]:
        """The agents concerned, in order of first use."""
        return list(dict.fromkeys(instance.agent for instance in self.instances))


def make_plan(program: Program, selection: Selection, resolve: Callable[[TaskDef], Sequence[str]]) -> Plan:
    """Check the graph, select, order, and spread each task over the agents that ``resolve`` gives it.

    Raises BadDependency, Cycle, and UsageError for a selection that names nothing or leaves out what it names.
    """
    tasks = {task.name: task for task in program.tasks}
    _check_dependencies(tasks)
    _check_cycles(tasks)
    asked = _asked(tasks, frozenset(program.workflow.tasks or tasks), selection)
    chosen = _with_needs(tasks, asked, selection.skip_tags)
    _check_left("--skip-tags", selection, asked, chosen)
    instances = [
        Instance(task, agent)
        for task in _order([tasks[name] for name in tasks if name in chosen])
        for agent in resolve(task)
        if not selection.limit or agent in selection.limit
    ]
    if selection.limit:
        unmatched = set(selection.limit) - {instance.agent for instance in instances}
        if unmatched:
            known = {agent for task in program.tasks for agent in resolve(task)}
            name = min(unmatched)
            raise UsageError(
                f"--limit: no task here runs on {name!r}",
                unchanged=_NOTHING,
                next=choice(name, known, "tasks run on"),
            )
    if any(selection):
        flag = "--limit" if selection.limit else "delegate_to"
        _check_left(flag, selection, asked, {instance.task.name for instance in instances})
    needs = {name: tuple(d for d in tasks[name].depends_on if d in chosen) for name in chosen}
    return Plan(tuple(instances), needs)


def _check_dependencies(tasks: dict[str, TaskDef]) -> None:
    for task in tasks.values():
        for name in task.depends_on:
            if name not in tasks:
                raise BadDependency(
                    f"task {task.name!r} depends on {name!r}, which is not defined",
                    file=task.site.file,
                    line=task.site.line,
                    next=did_you_mean(name, tasks),
                )


def _check_cycles(tasks: dict[str, TaskDef]) -> None:
    done: set[str] = set()
    for start in tasks:
        path: list[str] = []
        trail: list[tuple[str, Iterable[str]]] = [(start, iter(tasks[start].depends_on))]
        while trail:
            name, rest = trail[-1]
            if name not in path:
                path.append(name)
            following = next((d for d in rest if d not in done), None)
            if following is None:
                trail.pop()
                path.pop()
                done.add(name)
            elif following in path:
                circle = [*path[path.index(following) :], following]
                site = tasks[following].site
                raise Cycle(
                    f"these tasks wait for each other: {' → '.join(circle)}",
                    file=site.file,
                    line=site.line,
                    unchanged=_NOTHING,
                )
            else:
                trail.append((following, iter(tasks[following].depends_on)))


def _asked(tasks: dict[str, TaskDef], listed: frozenset[str], selection: Selection) -> list[str]:
    """The tasks that the user means: of those ``listed`` in the workflow, but for what is named itself. What they
    need is not among them."""
    for name in selection.tasks:
        if name not in tasks:
            raise UsageError(
                f"--task: there is no task {name!r} in this file",
                unchanged=_NOTHING,
                next=choice(name, tasks, "the tasks are"),
            )
    for chosen, among in ((selection.tags, listed), (selection.skip_tags, frozenset(tasks))):
        known = {tag for name in among for tag in tasks[name].tags}
        for tag in chosen:
            if tag not in known:
                where = "in this file" if len(among) == len(tasks) else "that the workflow lists"
                raise UsageError(
                    f"no task {where} has the tag {tag!r}",
                    unchanged=_NOTHING,
                    next=choice(tag, known, "the tags are") or ["no task has a tag"] * (not known),
                )
    if selection.tasks:
        return [name for name in tasks if name in selection.tasks]
    wanted = set(selection.tags)
    return [name for name in tasks if name in listed and (not wanted or wanted & set(tasks[name].tags))]


def _with_needs(tasks: dict[str, TaskDef], asked: list[str], skip_tags: tuple[str, ...]) -> set[str]:
    """The tasks asked for and what they need, without those that have a tag to skip."""
    wanted, chosen = list(asked), set[str]()
    while wanted:
        name = wanted.pop()
        if name not in chosen and not set(tasks[name].tags) & set(skip_tags):
            chosen.add(name)
            wanted.extend(tasks[name].depends_on)
    return chosen


def _check_left(flag: str, selection: Selection, asked: list[str], left: set[str]) -> None:
    """Raises UsageError if ``flag`` leaves out a task that --task names, or all that were asked for: to run only what
    they need is not what was meant."""
    missing = [name for name in asked if name not in left]
    if missing and selection.tasks:
        what = f"out the task {missing[0]!r}, which --task names"
    elif missing and len(missing) == len(asked):
        what = f"none of the tasks {'that were chosen' if selection.tags else 'of this file'}"
    else:
        return
    raise UsageError(
        f"{flag} leaves {what}",
        unchanged=_NOTHING,
        next=["see the tasks, their tags and where they run: sloth-runner list FILE"],
    )


def _order(tasks: list[TaskDef]) -> list[TaskDef]:
    """By definition, each after what it depends on."""
    index = {task.name: i for i, task in enumerate(tasks)}
    waits = {task.name: {d for d in task.depends_on if d in index} for task in tasks}
    ready = [index[name] for name, needs in waits.items() if not needs]
    heapq.heapify(ready)
    out: list[TaskDef] = []
    while ready:
        task = tasks[heapq.heappop(ready)]
        out.append(task)
        for name, needs in waits.items():
            if task.name in needs:
                needs.discard(task.name)
                if not needs:
                    heapq.heappush(ready, index[name])
    return out
