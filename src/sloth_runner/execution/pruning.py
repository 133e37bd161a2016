"""Why: what a file no longer names stays on the machine for ever, unless someone knows that we put it there.

The file is evaluated in check mode; an entry of its stack is taken only if its task is gone, a line of its site is
gone, or its site was reached and it was not named there. What could not be evaluated is kept, and said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sloth_runner.engine.drifting import MISSING, UNKNOWN, Found, look, look_all, watched
from sloth_runner.engine.records import list_stacks
from sloth_runner.engine.solo import complete
from sloth_runner.engine.stacks import check_unmoved
from sloth_runner.errors import Conflict, SlothError
from sloth_runner.execution.checking import Checking
from sloth_runner.execution.judging import Evaluation
from sloth_runner.execution.loading import Loading
from sloth_runner.execution.stack_lock import RUN, StackLock
from sloth_runner.execution.undoing import Undoing, undoing, words
from sloth_runner.modules.base import Change, Observed, Resource, differing
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.layout import SHARED
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import claimed, entries, released, sweep
from sloth_runner.state.ledger_records import Entry, Intent

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.execution.loading import RunOptions
    from sloth_runner.modules.base import Kind
    from sloth_runner.transport.base import Transport

Document = dict[str, Any]
PRUNE = RUN._replace(holder="prune", undone="nothing was pruned")
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
        self._stacks: Mapping[str, str] = {}
        self._left: dict[str, dict[str, Entry]] = {}
        self._edited: Collection[str] = ()
        loading = Loading(app, options)
        try:
            with loading.mask.shielding():
                checking = Checking(app, options, loading, loading.plan())
                self.plan = checking.run()
            self.stack = checking.stack
            self.file = str(loading.file)
            self._evaluation = Evaluation(checking, loading, options)
        finally:
            loading.close()

    def close(self) -> None:
        """Hang up everywhere."""
        self._transports.close()

    def verdicts(self) -> list[Verdict]:
        """What would be done, in that order: the reverse of creation; what is kept last."""
        out: list[Verdict] = []
        store = self._app.store()
        self._stacks = {str(stack["id"]): str(stack["stack"]) for stack in list_stacks(store)}
        for agent in self._app.namespaces():
            if agent == SHARED:
                continue
            claims = (claimed(e, self.stack.id) for e in entries(store, agent))
            out += self._of_agent(agent, [entry for entry in claims if entry is not None])
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
            found = look_all(
                self._kinds, self._transports.to(agent), looked, ledger.content, self._transports.loop,
                whole=True,
            )  # fmt: skip
        except SlothError as error:
            return kept + [Verdict(agent, e, KEEP, f"can't be looked at: {error.message}") for e, _ in taken]
        by_address = {one.entry.address: one for one in found}
        self._edited = {str(entry.params["path"]) for entry, _ in taken if "path" in entry.params}
        return kept + [self._verdict(agent, e, why, by_address.get(e.address), ledger) for e, why in taken]

    def _verdict(self, agent: str, entry: Entry, why: str, found: Found | None, ledger: Ledger) -> Verdict:
        def say(action: str, reason: str) -> Verdict:
            return Verdict(agent, entry, action, reason, found)

        kind = self._kinds.get(entry.kind)
        if entry.keep:
            return say(KEEP, f"{why}; but prevent_destroy (or prune = false) keeps it")
        other = self._evaluation.otherwise(agent, entry)
        if other is not None:
            return say(KEEP, f"{why}; but the file names the same as {other}")
        others = [name for stack, name in self._stacks.items() if stack in entry.others]
        if others:
            return say(FORGET, f"{why}; but the stack {others[0]!r} names it too: it stays")
        if found is None:
            return say(FORGET, f"{why}; a command has no inverse")
        if kind is None or found.status == UNKNOWN:
            return say(KEEP, f"{why}; but it can't be looked at: {found.reason}")
        if entry.applied is None or not kind.undo:
            return say(FORGET, f"{why}; it has no inverse")
        if not entry.touched:
            return say(FORGET, f"{why}; it was so before, and never changed by us")
        action, reason = self._inverse(entry, kind, found, ledger)
        return say(action, f"{why}; {reason}")

    def _inverse(self, entry: Entry, kind: Kind, found: Found, ledger: Ledger) -> tuple[str, str]:
        """What undoes a change of ours, and the reason."""
        now = found.observed or Observed(None)
        undo = undoing(entry, now, kind)
        if undo.theirs:
            resumed = found.status == MISSING and ledger.intent(entry.address) is not None
            if found.status == MISSING and entry.before is None and not resumed:
                return FORGET, "it is gone already"
            if entry.before is not None and not entry.salt and not differing(now.attributes, undo.wanted):
                return FORGET, "it is as it was before already"
            if not resumed and not self._waits(entry, undo):
                return KEEP, f"but it was changed by others since ({words(undo.theirs)}): a conflict"
        if entry.before is None:
            return REMOVE, "we created it"
        if not _can_restore(entry, undo, now, ledger):
            return KEEP, "but what was there before was not kept: can't restore"
        return RESTORE, "it existed before"

    def _waits(self, entry: Entry, undo: Undoing) -> bool:
        """Whether the content may be ours again by then: lines in it that are ours, too, go first."""
        return undo.theirs == {"content"} and entry.id in self._edited

    def carry_out(self, verdicts: Sequence[Verdict]) -> list[tuple[Verdict, SlothError | None]]:
        """Do what the verdicts say, under the stack's lock; each, as it came out, with the error it met, if any. What
        turns out to be a conflict is kept; what failed stays in the ledger."""
        done: list[tuple[Verdict, SlothError | None]] = []
        with StackLock(self._app, self.stack.name, self._options.lock_timeout, purpose=PRUNE) as lock:
            check_unmoved(self._app.store(), self.stack, PRUNE.undone)
            ledgers: dict[str, Ledger] = {}
            for verdict in verdicts:
                agent = verdict.agent
                if verdict.action == KEEP:
                    done.append((verdict, None))
                    continue
                if agent not in ledgers:
                    ledgers[agent] = Ledger(self._app.store(), agent, lock.fences)
                    self._left[agent] = {e.address: e for e in entries(self._app.store(), agent)}
                try:
                    self._carry_out(verdict, ledgers[agent], self._transports.to(agent))
                    done.append((verdict, None))
                except Conflict as conflict:
                    why = f"{verdict.reason}; but {conflict.message}"
                    done.append((verdict._replace(action=KEEP, reason=why), None))
                except SlothError as error:
                    error.target = error.target or agent
                    done.append((verdict, error))
            for agent in ledgers:
                sweep(self._app.store(), agent)
        return done

    def _carry_out(self, verdict: Verdict, ledger: Ledger, transport: Transport) -> None:
        entry, left = verdict.entry, self._left[verdict.agent]
        current = left.get(entry.address)
        if current is None or claimed(current, self.stack.id) != entry._replace(extra=current.extra):
            raise Conflict("it was applied or forgotten since: look again", keys=[entry.address])
        if verdict.action in (REMOVE, RESTORE):
            self._undo(current, ledger, transport)
        rest = released(current, self.stack.id, self._stacks)
        if rest is None:
            del left[entry.address]
            ledger.drop(entry.address)
            self._hand_on(current, left, ledger)
        else:
            ledger.record(rest, {}, (), begun=False)
        ledger.flush()

    def _undo(self, entry: Entry, ledger: Ledger, transport: Transport) -> None:
        kind = self._kinds[entry.kind]
        looks = [look(entry, whole=True)]
        now: Observed = complete(transport, kind.observe(looks), self._transports.loop)[0]
        resumed = now.attributes is None and ledger.intent(entry.address) is not None
        undo = undoing(entry, now, kind)
        if undo.theirs and not resumed:
            raise Conflict(f"it was changed just now ({words(undo.theirs)})", keys=[entry.address])
        run = entry.by[3] or ""
        intent = Intent(entry.before, entry.extra, entry.before_content, True, (), self._app.clock(), run)
        ledger.begin({entry.address: intent}, {})
        try:
            complete(transport, kind.converge([_change(entry, undo, now, ledger)]), self._transports.loop)
        except Conflict:
            ledger.withdraw(entry.address)
            raise

    def _hand_on(self, gone: Entry, left: dict[str, Entry], ledger: Ledger) -> None:
        """Folders that were made for what is gone now, and hold other things of ours, go with the last of these."""
        folders: list[str] = gone.extra.get("missing") or []
        for folder in reversed(folders):
            inside = (e for e in left.values() if e.kind == gone.kind and e.id.startswith(f"{folder}/"))
            heir = next((e for e in inside if e.touched and e.before is None), None)
            if heir is None:
                continue
            above = [name for name in folders if heir.id.startswith(f"{name}/")]
            own = [name for name in heir.extra.get("missing", ()) if name not in above]
            made = heir._replace(extra={**heir.extra, "missing": sorted([*above, *own], key=len)})
            left[heir.address] = made
            ledger.record(made, {}, (), begun=False)
            return


def _can_restore(entry: Entry, undo: Undoing, now: Observed, ledger: Ledger) -> bool:
    if entry.salt or not undo.wanted:
        return False
    if undo.wanted.get("content") in (None, (now.attributes or {}).get("content")):
        return True
    return entry.before_content is not None and ledger.content(entry.before_content) is not None


def _change(entry: Entry, undo: Undoing, now: Observed, ledger: Ledger) -> Change:
    content = ledger.content(entry.before_content) if entry.before_content is not None else None
    resource = Resource(entry.kind, entry.id, entry.params)
    options = {"undo": True, "replace": True}
    left = differing(now.attributes, undo.wanted)
    return Change(resource, now, undo.wanted, left, content, options, entry.extra)


def prune_document(pruning: Pruning, verdicts: Sequence[tuple[Verdict, SlothError | None]]) -> Document:
    """The document of ``prune``: verdicts, with the error that was met in carrying them out, if any."""
    rows = []
    for verdict, error in verdicts:
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
    actions = [row["action"] for row in rows if row["error"] is None]
    return {
        "stack": pruning.stack.name,
        "file": pruning.file,
        "complete": pruning.plan["complete"],
        "summary": {name: actions.count(name) for name in (REMOVE, RESTORE, FORGET, KEEP)},
        "resources": rows,
    }
