"""Why: what a file no longer names stays on the machine for ever, unless someone knows that we put it there.

The file is evaluated in check mode; an entry of its stack is taken only if its task is gone, a line of its site is
gone, or its site was reached and it was not named there. What could not be evaluated is kept, and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sloth_runner.engine.drifting import MISSING, OK, UNKNOWN, Found, look_all, watched
from sloth_runner.engine.solo import complete
from sloth_runner.errors import SlothError
from sloth_runner.execution.checking import Checking
from sloth_runner.execution.loading import Loading
from sloth_runner.execution.stack_lock import StackLock
from sloth_runner.modules.base import Change, Observed, Resource, differing
from sloth_runner.state.layout import SHARED
from sloth_runner.state.ledger import Entry, Intent, Ledger, covered_line, entries, unused_contents

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.execution.loading import RunOptions
    from sloth_runner.model import TaskDef
    from sloth_runner.modules.base import Kind
    from sloth_runner.transport.base import Transport

Document = dict[str, Any]
REMOVE, RESTORE, FORGET, KEEP = "remove", "restore", "forget", "keep"


class Verdict(NamedTuple):
    """What becomes of an entry: its ``action``, and why."""

    agent: str
    entry: Entry
    action: str
    reason: str
    found: Found | None = None


class Pruning:
    """One prune on its way: ``verdicts`` first, then ``carry_out``."""

    def __init__(self, app: App, options: RunOptions) -> None:
        from sloth_runner.modules import kinds

        self._app = app
        self._options = options
        self._kinds: Mapping[str, Kind] = kinds()
        self._transports = app.transports()
        loading = Loading(app, options)
        try:
            with loading.mask.shielding():
                checking = Checking(app, options, loading, loading.plan())
                self.plan = checking.run()
            self.stack = checking.stack
            self.file = str(loading.file)
            self._evaluation = _Evaluation(checking, loading)
        finally:
            loading.close()

    def verdicts(self) -> list[Verdict]:
        """What would be done, in that order: the reverse of creation; what is kept last."""
        out: list[Verdict] = []
        store = self._app.store()
        for agent in self._app.namespaces():
            if agent == SHARED:
                continue
            mine = [e for e in entries(store, agent) if e.stack == self.stack.id]
            out += self._of_agent(agent, mine)
        out.sort(key=lambda v: (v.action == KEEP, -v.entry.order, v.entry.address))
        return out

    def _of_agent(self, agent: str, mine: Sequence[Entry]) -> list[Verdict]:
        judged = [(entry, *self._evaluation.judge(agent, entry)) for entry in mine]
        taken = [(entry, why) for entry, take, why in judged if take]
        kept = [Verdict(agent, e, KEEP, why) for e, take, why in judged if not take and why]
        if not taken:
            return kept
        ledger = Ledger(self._app.store(), agent, tuple)
        looked = [entry for entry, _ in taken if watched(entry)]
        try:
            found = look_all(self._kinds, self._transports.to(agent), looked, ledger.content)
        except SlothError as error:
            return kept + [Verdict(agent, e, KEEP, f"can't be looked at: {error.message}") for e, _ in taken]
        by_address = {one.entry.address: one for one in found}
        return kept + [self._verdict(agent, e, why, by_address.get(e.address), ledger) for e, why in taken]

    def _verdict(self, agent: str, entry: Entry, why: str, found: Found | None, ledger: Ledger) -> Verdict:
        def say(action: str, reason: str) -> Verdict:
            return Verdict(agent, entry, action, reason, found)

        kind = self._kinds.get(entry.kind)
        if entry.keep:
            return say(KEEP, f"{why}; but prevent_destroy (or prune = false) keeps it")
        if found is None:
            return say(FORGET, f"{why}; a command has no inverse")
        if kind is None or found.status == UNKNOWN:
            return say(KEEP, f"{why}; but it can't be looked at: {found.reason}")
        if entry.applied is None or not kind.undo:
            return say(FORGET, f"{why}; it has no inverse")
        if not entry.touched:
            return say(FORGET, f"{why}; it was so before, and never changed by us")
        resumed = found.status == MISSING and ledger.intent(entry.address) is not None
        if found.status == MISSING and entry.before is None and not resumed:
            return say(FORGET, f"{why}; it is gone already")
        if found.status != OK and not resumed:
            if self._is_as_before(agent, entry, kind):
                return say(FORGET, f"{why}; it is as it was before already")
            names = ", ".join(name for name, _, _ in found.attributes)
            return say(KEEP, f"{why}; but it was changed by others since ({names}): a conflict")
        if entry.before is None:
            return say(REMOVE, f"{why}; we created it")
        if not self._can_restore(entry, ledger):
            return say(KEEP, f"{why}; but what was there before was not kept: can't restore")
        return say(RESTORE, f"{why}; it existed before")

    def _is_as_before(self, agent: str, entry: Entry, kind: Kind) -> bool:
        """Whether it was put back already: by a prune that was killed before it could say so, or by hand."""
        if entry.before is None or entry.salt:
            return False
        now: Observed = complete(self._transports.to(agent), kind.observe([_look(entry)]))[0]
        return not differing(now.attributes, entry.before)

    def _can_restore(self, entry: Entry, ledger: Ledger) -> bool:
        before, applied = entry.before or {}, entry.applied or {}
        if entry.salt:
            return False
        needs = "content" in before and before.get("content") != applied.get("content", before["content"])
        kept = entry.before_content is not None and ledger.content(entry.before_content) is not None
        return not needs or kept

    def carry_out(self, verdicts: Sequence[Verdict]) -> list[tuple[Verdict, SlothError | None]]:
        """Do what the verdicts say, under the stack's lock; each with the error it met, if any. What failed stays in
        the ledger."""
        done: list[tuple[Verdict, SlothError | None]] = []
        with StackLock(self._app, self.stack.name, self._options.lock_timeout) as lock:
            ledgers: dict[str, Ledger] = {}
            for verdict in verdicts:
                if verdict.action == KEEP:
                    continue
                agent = verdict.agent
                ledger = ledgers.setdefault(agent, Ledger(self._app.store(), agent, lock.fences))
                try:
                    self._carry_out(verdict, ledger, self._transports.to(agent))
                    done.append((verdict, None))
                except SlothError as error:
                    error.target = error.target or agent
                    done.append((verdict, error))
            for agent in ledgers:
                self._sweep(agent)
        return done

    def _carry_out(self, verdict: Verdict, ledger: Ledger, transport: Transport) -> None:
        entry = verdict.entry
        if verdict.action in (REMOVE, RESTORE):
            kind = self._kinds[entry.kind]
            now: Observed = complete(transport, kind.observe([_look(entry)]))[0]
            resumed = now.attributes is None and ledger.intent(entry.address) is not None
            if differing(now.attributes, entry.applied) and not resumed:
                from sloth_runner.errors import Conflict

                raise Conflict(f"{entry.address} was changed just now: kept", keys=[entry.address])
            run = entry.by[3] or ""
            intent = Intent(entry.before, entry.extra, entry.before_content, True, (), self._app.clock(), run)
            ledger.begin({entry.address: intent}, {})
            complete(transport, kind.converge([self._change(entry, now, ledger)]))
        ledger.drop(entry.address)
        ledger.flush()

    def _change(self, entry: Entry, now: Observed, ledger: Ledger) -> Change:
        wanted, there = entry.before, now.attributes or {}
        if wanted is not None and wanted.get("type") == there.get("type"):  # else it has other attributes
            wanted = {key: value for key, value in wanted.items() if key in there}
        content = ledger.content(entry.before_content) if entry.before_content is not None else None
        resource = Resource(entry.kind, entry.id, entry.params)
        options = {"undo": True, "replace": True}
        return Change(resource, now, wanted, differing(now.attributes, wanted), content, options, entry.extra)

    def _sweep(self, agent: str) -> None:
        stale = unused_contents(self._app.store(), agent)
        if stale:
            self._app.store().commit(stale)


def _look(entry: Entry) -> Any:
    from sloth_runner.modules.base import Look

    return Look(Resource(entry.kind, entry.id, entry.params))


class _Evaluation:
    """What a file names now, and which lines of it still stand."""

    def __init__(self, checking: Checking, loading: Loading) -> None:
        program = loading.program
        self._tasks: dict[str, TaskDef] = {task.name: task for task in (*program.tasks, *program.handlers)}
        self._lines = loading.loaded.lines()
        self._named: set[tuple[str, str]] = set()
        self._reached: dict[str, set[tuple[str, ...]]] = {}
        self._unsure: dict[str, set[tuple[str, ...]]] = {}
        self._unfinished: set[str] = set()
        seen: set[str] = set()
        for document in checking.plan_tasks():
            name = document["name"]
            seen.add(name)
            if document["status"] != "planned":
                self._unfinished.add(name)
        self._unfinished |= self._tasks.keys() - seen
        for context in checking.contexts.values():
            name = context.task.name if context.task else ""
            for target, address, site in context.tally.named:
                if address:
                    self._named.add((target, address))
                    self._reached.setdefault(name, set()).add(site)
                else:
                    self._unsure.setdefault(name, set()).add(site)

    def judge(self, agent: str, entry: Entry) -> tuple[bool, str]:
        """Whether an entry is taken, and why; or why it is kept ("" if it is simply still wanted)."""
        task = entry.by[4] or ""
        if (agent, entry.address) in self._named:
            return False, ""
        if task not in self._tasks:
            return True, f"its task {task!r} is gone from the file"
        gone = self._gone_line(self._tasks[task], entry.site)
        if gone is not None:
            words = "a line (sensitive)" if gone.startswith("sha256:") else f"the line `{gone}`"
            return True, f"{words} is gone from task {task!r}"
        reached = entry.site in self._reached.get(task, ()) and entry.site not in self._unsure.get(task, ())
        if reached and task not in self._unfinished:
            return True, f"task {task!r} no longer names it"
        return False, f"not evaluated: task {task!r} did not come to it"

    def _gone_line(self, task: TaskDef, site: Sequence[str]) -> str | None:
        """The first line of a site that stands neither in its task nor in code outside of the other tasks."""
        standing = self._standing(task)
        if any(line.startswith("sha256:") for line in site):
            standing = set(map(covered_line, standing))
        return next((line for line in site if line and line not in standing), None)

    def _standing(self, task: TaskDef) -> set[str]:
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


def prune_document(
    pruning: Pruning, verdicts: Sequence[Verdict], errors: Mapping[str, SlothError]
) -> Document:
    """The document of ``prune``; ``errors`` by agent and address joined with a blank."""
    rows = []
    for verdict in verdicts:
        error = errors.get(f"{verdict.agent} {verdict.entry.address}")
        rows.append(
            {
                "address": verdict.entry.address,
                "agent": verdict.agent,
                "action": verdict.action,
                "reason": verdict.reason,
                "task": verdict.entry.by[4],
                "run": verdict.entry.by[3],
                "error": None if error is None else error.document(),
            }
        )
    actions = [row["action"] for row in rows]
    return {
        "stack": pruning.stack.name,
        "file": pruning.file,
        "complete": pruning.plan["complete"],
        "summary": {name: actions.count(name) for name in (REMOVE, RESTORE, FORGET, KEEP)},
        "resources": rows,
    }
