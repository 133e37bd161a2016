"""Why: what a file no longer names stays on the machine for ever, unless someone knows that we put it there.

The file is evaluated in check mode; an entry of its stack is taken only if its task is gone, a line of its site is
gone, or its site was reached and it was not named there. What could not be evaluated is kept, and said.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sloth_runner.engine.drifting import watched
from sloth_runner.engine.records import list_stacks
from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.engine.signals import Signals
from sloth_runner.engine.solo import complete
from sloth_runner.engine.stacks import check_unmoved
from sloth_runner.errors import Conflict, SlothError, Unreachable
from sloth_runner.execution.checking import Checking
from sloth_runner.execution.judging import Evaluation
from sloth_runner.execution.left import Left
from sloth_runner.execution.loading import Loading
from sloth_runner.execution.parting import Parting
from sloth_runner.execution.stack_lock import RUN, StackLock
from sloth_runner.execution.trying import FORGET, KEEP, REMOVE, RESTORE, attempt
from sloth_runner.execution.unsaid import unsaid
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple, cast
from sloth_runner.state.layout import SHARED
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import claimed, entries, released, sweep
from sloth_runner.state.ledger_records import Entry, Intent, Pending

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.execution.loading import RunOptions
    from sloth_runner.modules.base import Kind
    from sloth_runner.transport.base import Transport
    from sloth_runner.transport.remote import Remote

Document = dict[str, Any]
PRUNE = RUN._replace(holder="prune", undone="nothing was pruned")


class Verdict(NamedTuple):
    """What becomes of an entry: its ``action``, and why. ``made`` is when it counts as made: it is undone after all
    that were made later."""

    agent: str
    entry: Entry
    action: str
    reason: str
    made: float = 0.0


class Pruning:
    """One prune on its way: ``verdicts`` first, then ``carry_out``."""

    def __init__(self, app: App, options: RunOptions) -> None:
        from sloth_runner.modules import kinds

        self._app = app
        self._options = options
        self._kinds: Mapping[str, Kind] = kinds()
        self._transports = app.transports()
        self._stacks: Mapping[str, str] = {}
        self._left: dict[str, Left] = {}
        self._taken: dict[str, set[str]] = {}
        self._masked: dict[str, set[str]] = {}
        self._programs: set[str] = set()
        self.stopped = 0
        """The signal that asked to stop."""
        loading = Loading(app, options)
        try:
            with loading.mask.shielding():
                checking = Checking(app, options, loading, loading.plan())
                self.plan = checking.run()
            self.stack = checking.stack
            self.file = str(loading.file)
            self._evaluation = Evaluation(checking, loading, options)
            self._handlers = frozenset(handler.name for handler in loading.program.handlers)
            self.unreachable = self._evaluation.unreachable
            """Whether a machine could not be reached: what is on it is kept."""
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
            out += self._of_agent(agent, Left(entries(store, agent)))
        out.sort(key=lambda v: (v.made, v.entry.id), reverse=True)
        out.sort(key=lambda v: v.action == KEEP)
        return out

    def _of_agent(self, agent: str, left: Left) -> list[Verdict]:
        claims = (claimed(entry, self.stack.id) for entry in left.values())
        judged = [(e, *self._evaluation.judge(agent, e)) for e in claims if e is not None]
        taken = [(entry, why) for entry, take, why in judged if take]
        kept = [Verdict(agent, e, KEEP, why) for e, take, why in judged if not take and why]
        kept += self._unsaid(agent, [entry for entry, take, why in judged if not take and not why])
        if not taken:
            return kept
        made = _made([entry for entry, _ in taken])
        self._taken[agent] = set(made)
        acls = (e for e in left.values() if e.kind == "file.acl" and e.applied is not None)
        self._masked[agent] = {f"file:{entry.params['path']}" for entry in acls}
        taken.sort(key=lambda one: (made[one[0].address], one[0].id), reverse=True)
        ledger = Ledger(self._app.store(), agent, tuple)
        try:
            way = self._rehearsal(agent, [entry for entry, _ in taken])
            programs: set[str] = set()
            parting = self._parting(agent, left)
            found = []
            for judged_entry, why in taken:
                entry = claimed(left[judged_entry.address], self.stack.id) or judged_entry
                goes, stays = parting.parts(left.without_named(entry))
                verdict = self._verdict(agent, goes or entry, why, ledger, way, programs, whole=goes is None)
                if stays is not None and verdict.action in (REMOVE, RESTORE):
                    verdict = verdict._replace(reason=f"{verdict.reason}; what other calls name of it stays")
                found.append(verdict._replace(entry=entry))
                if verdict.action != KEEP and self._rest(entry, stays) is None:
                    left.take(entry.address)
        except SlothError as error:
            self.unreachable = self.unreachable or isinstance(error, Unreachable)
            return kept + [Verdict(agent, e, KEEP, f"can't be looked at: {error.message}") for e, _ in taken]
        return kept + [one._replace(made=made[one.entry.address]) for one in found]

    def _rehearsal(self, agent: str, entries: Sequence[Entry]) -> Rehearsal:
        """A machine, to rehearse on it how these are undone. Another one is asked at once for all that it takes to
        look at. Raises Unreachable."""
        transport = self._transports.to(agent)
        if transport.is_local:
            return Rehearsal(transport)
        from sloth_runner.engine.drifting import by_user
        from sloth_runner.engine.expecting import look_back
        from sloth_runner.transport.remembered import Remembered

        way = Remembered(cast("Remote", transport))
        for user, mine in by_user(entries).items():
            self._transports.loop.run(look_back(way.as_user(user), self._kinds, mine))
        return Rehearsal(way)

    def _unsaid(self, agent: str, named: Sequence[Entry]) -> list[Verdict]:
        """Those that are named still, but not with all that earlier runs have made of them."""
        out, loop = [], self._transports.loop
        for entry in named:
            kind, said = self._kinds.get(entry.kind), self._evaluation.said(agent, entry.address)
            if kind is not None and kind.apart and said:
                way = self._transports.to(agent).as_user(entry.user)
                why = unsaid(entry, kind, self.stack.id, said, way, loop)
                out += [Verdict(agent, entry, KEEP, why)] if why else []
        return out

    def _parting(self, agent: str, left: Left) -> Parting:
        return Parting(self._evaluation, agent, left, self._taken[agent], self._kinds)

    def _rest(self, entry: Entry, stays: Entry | None) -> Entry | None:
        """What is recorded when our claim on an entry is gone: other stacks' ones, or the part that others want."""
        rest = released(entry, self.stack.id, self._stacks)
        return stays if rest is None and entry.touched else rest

    def _verdict(
        self,
        agent: str,
        entry: Entry,
        why: str,
        ledger: Ledger,
        way: Rehearsal,
        programs: set[str],
        *,
        whole: bool,
    ) -> Verdict:
        """What becomes of an entry, after those that come first have been tried; ``programs`` are the kinds of those
        that programs undo; ``whole``: others want all that it is about."""

        def say(action: str, reason: str) -> Verdict:
            return Verdict(agent, entry, action, f"{why}; {reason}")

        kind = self._kinds.get(entry.kind)
        if entry.keep:
            return say(KEEP, "but prevent_destroy (or prune = false) keeps it")
        other = self._evaluation.otherwise(agent, entry)
        if other is not None:
            return say(KEEP, f"but the file names the same as {other}")
        naming = {entry.stack, *entry.others} - {self.stack.id}
        others = [name for stack, name in self._stacks.items() if stack in naming]
        if others:
            return say(FORGET, f"but the stack {others[0]!r} names it too: it stays")
        if not watched(entry):
            what = "a command has no inverse" if entry.kind == "cmd" else "it is but a note of ours"
            return say(FORGET, what)
        if kind is None:
            return say(KEEP, f"but this version has no kind of resource {entry.kind!r}")
        if entry.applied is None or not kind.undo:
            return say(FORGET, "it has no inverse")
        if not entry.touched:
            return say(FORGET, "it was so before, and never changed by us")
        if whole:
            return say(KEEP, "but other calls name all that is left of it")
        trial = attempt(
            entry,
            kind,
            ledger,
            way.as_user(entry.user),
            self._transports.loop,
            programs=programs,
            masked=entry.address in self._masked[agent],
        )
        if trial.program:
            programs.add(entry.kind)
        return say(trial.action, f"but {trial.reason}" if trial.action == KEEP else trial.reason)

    def carry_out(
        self, verdicts: Sequence[Verdict], say: Callable[[str], None] = lambda text: None
    ) -> list[tuple[Verdict, SlothError | None]]:
        """Do what the verdicts say, under the stack's lock; each, as it came out, with the error it met, if any. What
        turns out to be a conflict is kept; what failed stays in the ledger. A signal (``stopped``; told by ``say``)
        lets what is under way come to its end, and keeps the rest; a second one raises KeyboardInterrupt."""
        done: list[tuple[Verdict, SlothError | None]] = []
        with (
            StackLock(self._app, self.stack.name, self._options.lock_timeout, purpose=PRUNE) as lock,
            Signals(partial(self._stop, say)),
        ):
            check_unmoved(self._app.store(), self.stack, PRUNE.undone)
            ledgers: dict[str, Ledger] = {}
            for number, verdict in enumerate(verdicts):
                agent = verdict.agent
                if verdict.action == KEEP:
                    done.append((verdict, None))
                    continue
                if self.stopped:
                    why = f"{verdict.reason}; but it was not its turn yet"
                    done.append((verdict._replace(action=KEEP, reason=why), None))
                    continue
                if agent not in ledgers:
                    ledgers[agent] = Ledger(self._app.store(), agent, lock.fences)
                    ledgers[agent].all_of([one.entry.address for one in verdicts if one.agent == agent])
                    self._left[agent] = Left(entries(self._app.store(), agent))
                try:
                    self._carry_out(verdict, ledgers[agent], verdicts[number + 1 : number + 2])
                    done.append((verdict, None))
                except Conflict as conflict:
                    why = f"{verdict.reason}; but {conflict.message}"
                    done.append((verdict._replace(action=KEEP, reason=why), None))
                except SlothError as error:
                    error.target = error.target or agent
                    done.append((verdict, error))
            for agent, ledger in ledgers.items():
                try:
                    ledger.flush()
                except SlothError as error:
                    error.target = error.target or agent
                    mine = [n for n, (one, _) in enumerate(done) if one.agent == agent and one.action != KEEP]
                    if not mine:
                        raise
                    done[mine[-1]] = (done[mine[-1]][0], error)
                else:
                    sweep(self._app.store(), agent)
        return done

    def _stop(self, say: Callable[[str], None], number: int, count: int) -> None:
        self.stopped = number
        if count > 1:
            raise KeyboardInterrupt
        say("stopping: what is under way may finish; interrupt again to stop it now")

    def _carry_out(self, verdict: Verdict, ledger: Ledger, following: Sequence[Verdict]) -> None:
        """Do what one verdict says. The entry goes with the next intent; until then its own stands for it.
        ``following`` comes next."""
        entry, left = verdict.entry, self._left[verdict.agent]
        current = left.get(entry.address)
        if current is None or claimed(current, self.stack.id) != entry._replace(extra=current.extra):
            raise Conflict("it was applied or forgotten since: look again", keys=[entry.address])
        goes, stays = self._parting(verdict.agent, left).parts(current)
        if verdict.action in (REMOVE, RESTORE):
            if goes is None:
                raise Conflict("other calls name all of it by now: look again", keys=[entry.address])
            self._undo(verdict.agent, goes, ledger, following)
            ledger.call_for(self._called_for(verdict))
        rest = self._rest(current, stays)
        if rest is None:
            ledger.drop(entry.address)
            heir = left.take(entry.address)
            if heir is not None:
                ledger.record(heir, {}, (), begun=False)
        else:
            ledger.record(rest, {}, (), begun=False)
            left.put(rest)

    def due(self, verdict: Verdict) -> list[str]:
        """The handlers that a verdict calls for: they are due with the next run."""
        changes = verdict.action in (REMOVE, RESTORE)
        return [one for one in verdict.entry.notify if changes and one in self._handlers]

    def _called_for(self, verdict: Verdict) -> list[Pending]:
        entry, now = verdict.entry, self._app.clock()
        run, task = entry.by[3] or "", entry.by[4] or ""
        return [Pending(one, self.stack.id, entry.address, now, run, task) for one in self.due(verdict)]

    def _undo(self, agent: str, entry: Entry, ledger: Ledger, following: Sequence[Verdict]) -> None:
        """Undo our work on a resource, if that is possible still. Raises Conflict if it is not."""
        kind, loop = self._kinds[entry.kind], self._transports.loop
        transport = self._transports.to(agent).as_user(entry.user)
        entry = self._left[agent].without_named(entry)
        meanwhile, masked = agent in self._programs, entry.address in self._masked[agent]
        way = self._rehearsal(agent, [entry]).as_user(entry.user)
        trial = attempt(entry, kind, ledger, way, loop, meanwhile=meanwhile, masked=masked)
        if trial.action == KEEP:
            raise Conflict(trial.reason, keys=[entry.address])
        if trial.change is None:  # it is undone already
            return
        if trial.program:
            self._programs.add(agent)
        run = entry.by[3] or ""
        intent = Intent(entry.before, entry.extra, entry.before_content, True, (), self._app.clock(), run)
        ledger.begin({entry.address: intent}, {})
        self._follow(transport, agent, [one for one in following if one.entry.user == entry.user])
        try:
            complete(transport, kind.converge([trial.change]), loop)
        except Conflict:
            ledger.withdraw(entry.address)
            raise
        finally:
            self._follow(transport, agent, ())

    def _follow(self, transport: Transport, agent: str, following: Sequence[Verdict]) -> None:
        """What comes next is looked at on the same journey, if it is on the same machine."""
        if not transport.is_local:
            from sloth_runner.engine.expecting import looks_back

            here = [one for one in following if one.agent == agent and one.action in (REMOVE, RESTORE)]
            looks = [op for one in here for op in looks_back(self._kinds, one.entry)]
            cast("Remote", transport).follow(looks)


def _made(taken: Sequence[Entry]) -> dict[str, float]:
    """When each counts as made, by address: a folder no later than what is in it, even if a run that was killed, or a
    folder that was made anew, had them recorded the other way round."""
    made = {entry.address: entry.order for entry in taken}
    for entry in taken:
        above = posixpath.dirname(entry.id)
        while len(above) > 1:
            folder = f"file:{above}"
            if folder in made:
                made[folder] = min(made[folder], entry.order)
            above = posixpath.dirname(above)
    return made


def prune_document(pruning: Pruning, verdicts: Sequence[tuple[Verdict, SlothError | None]]) -> Document:
    """The document of ``prune``: verdicts, with the error that was met in carrying them out, if any."""
    rows = []
    due: set[tuple[str, str]] = set()
    for verdict, error in verdicts:
        if error is None:
            due.update((verdict.agent, handler) for handler in pruning.due(verdict))
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
        "due": [{"agent": agent, "handler": handler} for agent, handler in sorted(due)],
        "resources": rows,
    }
