"""Why: whether a file still names a resource is judged by what its evaluation reached, machine by machine.

A line that was reached for one machine says nothing of another.
"""

from __future__ import annotations

from collections.abc import Collection

from sloth_runner.engine.recording import covered
from sloth_runner.modules.places import Named, paths, places
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.ledger_records import covered_line, is_covered

if TYPE_CHECKING:
    from sloth_runner.execution.checking import Checking
    from sloth_runner.execution.loading import Loading, RunOptions
    from sloth_runner.model import TaskDef
    from sloth_runner.modules.base import Attributes, Resource
    from sloth_runner.state.ledger_records import Entry

Site = tuple[str, ...]


class Evaluation:
    """What a file names now, and which lines of it still stand."""

    def __init__(self, checking: Checking, loading: Loading, options: RunOptions) -> None:
        program = loading.program
        self._tasks: dict[str, TaskDef] = {task.name: task for task in (*program.tasks, *program.handlers)}
        self._lines = loading.loaded.lines()
        self._sent = {task.name for task in program.tasks if task.delegate_to or program.workflow.delegate_to}
        self._sent = set() if options.delegate_to else self._sent
        self._stand: dict[str, set[str]] = {}
        self._named: dict[tuple[str, str], set[str]] = {}
        self._wanted: dict[str, list[tuple[Resource, Attributes | None]]] = {}
        self._places: dict[str, Named] = {}
        self._reached: dict[tuple[str, str], set[Site]] = {}
        self._unsure: dict[tuple[str, str], set[Site]] = {}
        self._finished: dict[tuple[str, str], bool] = {}
        self._failed: dict[tuple[str, str], str] = {}
        for document in checking.plan_tasks():
            instance = (document["name"], document["agent"])
            self._finished[instance] = document["status"] == "planned"
            if document["error"] is not None:
                self._failed[instance] = document["error"]["message"]
        self.unreachable = any(task["status"] == "unreachable" for task in checking.plan_tasks())
        """Whether a machine could not be reached, so that what is on it was not judged."""
        for context in checking.contexts.values():
            instance = (context.task.name if context.task else "", context.agent)
            for target, address, site, resource, wanted in context.tally.named:
                if address:
                    self._named.setdefault((target, address), set()).update(wanted or ())
                    if resource is not None:
                        self._wanted.setdefault(target, []).append((resource, wanted))
                    self._reached.setdefault(instance, set()).add(site)
                else:
                    self._unsure.setdefault(instance, set()).add(site)

    def judge(self, agent: str, entry: Entry) -> tuple[bool, str]:
        """Whether an entry is taken, and why; or why it is kept ("" if it is simply still wanted)."""
        task = entry.by[4] or ""
        if (agent, entry.address) in self._named:
            return False, ""
        if task not in self._tasks:
            return True, f"its task {task!r} is gone from the file"
        gone = self._gone_line(self._tasks[task], entry.site)
        if gone is not None:
            words = "a line (sensitive)" if is_covered(gone) else f"the line `{gone}`"
            return True, f"{words} is gone from task {task!r}"
        if self._passed(task, entry.agent or agent, entry.site):
            return True, f"task {task!r} no longer names it"
        failed = self._failed.get((task, entry.agent or agent))
        why = "" if failed is None else f": {failed}"
        return False, f"not evaluated: task {task!r} did not reach it{why}"

    def otherwise(self, agent: str, entry: Entry) -> str | None:
        """The address by which the file names what the entry is about, or a part or the whole of it; None: it does
        not."""
        mine = places(entry.kind, entry.id, entry.params, entry.wanted, gone=entry.before is None)
        if not mine:
            return None
        if entry.salt:
            return self._index(agent, entry.salt).meeting(mine)
        if agent not in self._places:
            self._places[agent] = self._index(agent, "")
        return self._places[agent].meeting(mine)

    def said(self, agent: str, address: str) -> Collection[str]:
        """The attributes that the file wants of a resource."""
        return self._named.get((agent, address), ())

    def paths(self, agent: str) -> set[str]:
        """The paths of which the file names anything that is to be there."""
        return {path for one, wanted in self._wanted.get(agent, ()) for path in _paths(one, wanted)}

    def _index(self, agent: str, salt: str) -> Named:
        """Where all is that the file names, as an entry with this salt would tell it."""
        return Named(
            (
                one.address,
                places(one.kind, one.id, one.params, None if wanted is None else covered(wanted, salt)),
                _paths(one, wanted),
            )
            for one, wanted in self._wanted.get(agent, ())
        )

    def _passed(self, task: str, agent: str, site: Site) -> bool:
        """Whether the task came to the site, and to its end, where it named the resource before. If the file does not
        send the task there any more, what it did elsewhere counts."""
        if (task, agent) in self._finished:
            instances = [(task, agent)]
        elif task in self._sent:
            instances = [one for one in self._finished if one[0] == task]
        else:
            return False
        reached = any(_among(site, self._reached.get(one, ())) for one in instances)
        sure = all(self._finished[one] and not _among(site, self._unsure.get(one, ())) for one in instances)
        return reached and sure

    def _gone_line(self, task: TaskDef, site: Site) -> str | None:
        """The first line of a site that stands neither in its task nor in code outside of the other tasks."""
        standing = self._standing(task)
        if any(map(is_covered, site)):
            standing = set(map(covered_line, standing))
        return next((line for line in site if line and line not in standing), None)

    def _standing(self, task: TaskDef) -> set[str]:
        """The lines of a task and of the code outside of all others."""
        if task.name not in self._stand:
            self._stand[task.name] = self._lines_for(task)
        return self._stand[task.name]

    def _lines_for(self, task: TaskDef) -> set[str]:
        others: set[tuple[str, int]] = set()
        for other in self._tasks.values():
            if other.name != task.name and other.span != task.span:
                others |= {(other.site.file, n) for n in range(other.span[0], other.span[1] + 1)}
        if task.span[0]:
            others -= {(task.site.file, n) for n in range(task.span[0], task.span[1] + 1)}
        return {
            line.strip()
            for file, lines in self._lines.items()
            for number, line in enumerate(lines, 1)
            if (file, number) not in others
        }


def _among(site: Site, sites: Collection[Site]) -> bool:
    if site in sites:
        return True
    covered = tuple(map(covered_line, site))
    return any(tuple(map(covered_line, one)) == covered for one in sites)


def _paths(one: Resource, wanted: Attributes | None) -> Collection[str]:
    return () if wanted is None else paths(one.kind, one.id, one.params, wanted)
