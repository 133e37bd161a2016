"""Why: one module call on its way: its steps are driven, its output told, what it did goes to events and ledger."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from sloth_runner.engine.actions import action_of, foretold
from sloth_runner.engine.aside import Aside
from sloth_runner.engine.context import Context, Named
from sloth_runner.engine.converge import Converging
from sloth_runner.engine.drive import Desk, Drive, Skipped
from sloth_runner.engine.job import About, Job
from sloth_runner.engine.lines import Durable
from sloth_runner.engine.pump import Wait
from sloth_runner.errors import Bug, FileMissing, SlothError, TaskProblem, Unpredictable
from sloth_runner.model import Call, Outcome, Partial
from sloth_runner.modules.base import Predict
from sloth_runner.ops import FOLDER, Exec, OpError
from sloth_runner.plain import TYPE_CHECKING, Any, cast
from sloth_runner.state.ledger_records import Entry, Pending, covered_line, is_covered

if TYPE_CHECKING:
    from sloth_runner.engine.module_calls import Common, ModuleCalls
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.modules.base import Converged, Deliver, Ensure, Module, SourceEntry
    from sloth_runner.ops import Op
    from sloth_runner.transport.local import LocalTransport
    from sloth_runner.transport.remote import Remote


SECRETS = frozenset({"content", "vars", "variables", "argv", "command", "secret"})
"""Types of arguments that may hold what a sensitive call has to hide."""
CERTAIN = frozenset({"no-user", "no-group", "taken"})
"""Kinds of errors that a rehearsal tells only if no change before could prevent them."""


class ModuleCall:
    """One call on its way. A ``quiet`` one is not reported and may run in check mode: it only asks."""

    def __init__(
        self,
        owner: ModuleCalls,
        context: Context,
        call: Call,
        module: Module,
        args: Mapping[str, Any],
        common: Common,
        *,
        quiet: bool = False,
        identity: str = "",
    ) -> None:
        self._owner = owner
        self._context = context
        self._call = call
        self._common = common
        self._quiet = quiet
        self._identity = identity
        world = owner.world
        self._ledger = world.ledger(common.target)
        self._line = world.line(common.target)
        self._rehearsal = None if quiet else world.rehearsal(common.target)
        if common.sensitive:
            self._learn(module, args)
        self._transport = (self._rehearsal or world.transport(common.target)).as_user(common.user)
        self._jobs: list[Job] = []
        self._asked: list[str] = []
        self._returns = tuple(module.returns)
        self._called_for: list[Pending] = []
        self._named = False
        self._told: dict[str, object] = {}
        desk = Desk(
            self._recall,
            self._source,
            self._tree,
            self._deliver,
            self._ensure,
            self._foretold,
            self._skipped,
            context.desk,
            self._follow,
        )
        steps = self._to_the_end(module.run(args, owner.setting(context, common)))
        self._drive = Drive(steps, self._transport.at_once, desk)
        self._aside: Aside | None = None
        group = world.group
        if group is not None and group.strand is not None and not quiet and self._transport.is_local:
            local = cast("LocalTransport", self._transport)
            self._aside = Aside(group, local, self._line, desk, self._late, self._met)
        self._partial: dict[str, bytes] = {}

    def _learn(self, module: Module, args: Mapping[str, Any]) -> None:
        """What a sensitive call puts into contents, variables and commands must not show up anywhere."""
        on_secret = self._context.state.on_secret
        for arg in module.args if on_secret is not None else ():
            value = args.get(arg.name)
            if arg.type in SECRETS and value is not None and on_secret is not None:
                on_secret(list(value) if isinstance(value, tuple) else value)

    def begin(self) -> object:
        """Go as far as possible without waiting."""
        try:
            op = self._drive.advance()
        except SlothError as error:
            return self._failed(error)
        if op is None:
            return self._finished()
        try:
            self._catch_up()
        except SlothError:
            self._drive.close()
            raise
        return Wait(lambda: self._go_on(op), gentle=True)

    async def _go_on(self, op: Op) -> object:
        try:
            following: Op | None = op
            while following is not None:
                following = await self._drive.perform(self._transport, following, self._heard)
        except SlothError as error:
            return self._failed(error)
        finally:
            self._flush_output()
        return self._finished()

    def _heard(self, stream: str, piece: bytes) -> None:
        if self._quiet or self._common.sensitive:
            return
        *lines, rest = (self._partial.get(stream, b"") + piece).split(b"\n")
        if len(rest) > 64 * 1024:
            lines, rest = [*lines, rest], b""
        self._partial[stream] = rest
        if lines:
            self._say(stream, b"\n".join(lines))

    def _flush_output(self) -> None:
        for stream, rest in self._partial.items():
            if rest:
                self._say(stream, rest)
        self._partial = {}

    def _say(self, stream: str, text: bytes) -> None:
        line = self._call.site.line if self._call.site else None
        data: dict[str, object] = {"stream": stream, "text": text.decode("utf-8", "replace"), "line": line}
        self._context.say("task.output", data)

    def _finished(self) -> object:
        outcome: Outcome | None = self._drive.outcome
        if outcome is None:
            raise Bug(f"{self._call.name} ended without an outcome")
        if self._rehearsal is not None and not self._named and not self._quiet:
            self._name("")  # it found nothing to do: what it named on another day is still wanted
        if not self._quiet:
            if outcome.changed:
                self._context.tally.changed += 1
            self._report(outcome.changed, outcome.message, outcome.diff)
        result: dict[str, object] = {"changed": outcome.changed, "message": outcome.message, **outcome.fields}
        if outcome.diff is not None:
            result["diff"] = outcome.diff
        if outcome.unknown:
            return Partial({k: v for k, v in result.items() if k not in outcome.unknown}, outcome.unknown)
        return result

    def _to_the_end(self, steps: Generator[Any, Any, Outcome]) -> Generator[Any, Any, Outcome]:
        """The module's steps, and what is to be remembered of them."""
        outcome = yield from steps
        if self._rehearsal is None:
            yield from self._keep(outcome)
        return outcome

    def _foretold(self, prediction: Predict) -> Generator[Any, Any, None]:
        """A command is about to run: the handlers that it may call for are due before it does anything, so that
        they are not lost with us. In check mode what it makes and removes counts from here on."""
        if self._rehearsal is not None:
            by = prediction.message.removeprefix("would run ")
            self._rehearsal.expect(dict.fromkeys(prediction.makes, by), dict.fromkeys(prediction.removes, by))
        elif self._common.notify:
            about, now = self._about(), self._owner.world.clock()
            run, task = about.by[3] or "", about.by[4] or ""
            due = [Pending(n, about.stack, prediction.address, now, run, task) for n in about.notify]
            already = yield self._ledger.due_already(due)
            self._called_for = [one for one in due if one not in already]
            self._ledger.call_for(self._called_for)
            yield Durable(self._line)

    def _keep(self, outcome: Outcome) -> Generator[Any, Any, None]:
        """What the call remembers; and a command that changed nothing calls for no handler."""
        if not outcome.changed and self._called_for:
            yield self._ledger.done(self._called_for)
        if outcome.remember is None:
            return
        about, now = self._about(), self._owner.world.clock()
        address, memory = outcome.remember
        kind, _, name = address.partition(":")
        entry = yield from self._entry(address)
        made = Entry(
            kind, name, {}, {}, {}, None, {}, True, None, None, entry.order if entry else now, now, about.by,
            about.stack, about.site, about.line, about.module, memory=memory, agent=about.agent, user=about.user,
        )  # fmt: skip
        if entry is None or made._replace(time=entry.time, by=entry.by, line=entry.line) != entry:
            self._ledger.record(made, {}, (), begun=False)

    def _entry(self, address: str) -> Generator[Any, Any, Entry | None]:
        known = self._ledger.recall([address])
        if known is None:
            known = yield self._ledger.asking([address])
        return known[0][0]

    def _catch_up(self) -> bool:
        """Whether files waited that are in their places now."""
        return self._aside is not None and self._aside.catch_up()

    def _late(self, error: SlothError, own: bool, changed: list[str]) -> None:
        """The call was answered, but what was left of it has failed; or was not begun, since one before it has."""
        site, told = self._call.site, self._told
        self._context.tally.changed -= not changed
        told |= {"changed": bool(changed), "failed": True, "message": error.message}
        path = self._jobs[0].want.resource.id
        error.unchanged = [one for one in error.unchanged if one != path] + ([] if changed else [path])
        if not own:
            told["message"] = f"not done, because a call before it failed: {error.message}"
            return
        error.operation = f"{self._call.name}, putting its file in its place"
        error.target = error.target or self._common.target
        error.changed.extend(changed)
        if error.file is None and site is not None:
            error.file, error.line = site.file, site.line
            self._owner.world.show(error, self._call.name)

    def _met(self, done: Converged) -> None:
        """The call was answered, but others were quicker than what was left of it; this is what it came to."""
        changed = done.action != "none"
        self._context.tally.changed -= not changed
        self._told |= {"changed": changed, "message": done.message, "diff": done.diff}

    def _failed(self, error: SlothError) -> object:
        if self._aside is not None and self._aside.has_raised(error):
            raise error
        error.operation = error.operation or self._call.name
        error.target = error.target or self._common.target
        if self._rehearsal is not None:
            error = self._untold(error, self._rehearsal)
            if isinstance(error, Unpredictable):
                return self._open(error, self._rehearsal)
            if not self._common.ignore_errors:
                raise error
        changed = bool(self._drive.mutations)
        error.changed.extend((*self._drive.mutations, *self._drive.attempts))
        self._context.tally.changed += changed
        self._report(changed, error.message, None, failed=True)
        if not self._common.ignore_errors:
            raise error
        self._context.note("warn", f"{self._call.name} failed (ignored): {error.message}", self._call.site)
        return {
            "changed": changed,
            "failed": True,
            "message": error.message,
            "code": error.code,
        }

    def _report(self, changed: bool, message: str, diff: str | None, *, failed: bool = False) -> None:
        if not self._quiet:
            self._told = self._context.called(
                self._call, self._common.target, changed, message, diff, failed=failed
            )

    def _follow(self, ops: Sequence[Op]) -> None:
        if not self._transport.is_local and self._rehearsal is None:
            cast("Remote", self._transport).follow(ops)

    def _source(self, path: str) -> bytes:
        """A file here; it may be one that waits."""
        try:
            return self._owner.sources.read(path)
        except FileMissing:
            if not self._catch_up():
                raise
            return self._owner.sources.read(path)

    def _tree(self, path: str) -> Sequence[SourceEntry]:
        """A folder here; what waits may be in it."""
        try:
            found = self._owner.sources.tree(path)
        except FileMissing:
            if not self._catch_up():
                raise
            return self._owner.sources.tree(path)
        again = found[0].kind == FOLDER and self._catch_up()
        return self._owner.sources.tree(path) if again else found

    def _recall(self, name: str) -> Generator[Any, Any, Mapping[str, Any] | None]:
        if self._rehearsal is not None:
            self._name(name)
        entry = yield from self._entry(name)
        return None if entry is None else entry.memory

    def _deliver(self, op: Deliver) -> bool:
        if self._rehearsal is not None:
            raise Skipped(Exec(f"writing {op.path} here"))
        return self._owner.sources.deliver(op)

    def _ensure(self, request: Ensure) -> Generator[Any, Any, Any]:
        self._asked.extend(want.resource.address for want in request.wants)
        world = self._owner.world
        return Converging(
            world.kinds, self._ledger, self._line, self._about(), self._owner.sources, world.clock,
            self._converged, self._rehearsal, self._aside,
        ).ensure(request)  # fmt: skip

    def _converged(self, job: Job) -> None:
        self._jobs.append(job)
        if self._context.holds_secret(job.address):
            told = (
                f"the name {job.address} of this resource holds a secret: names are not hidden in the ledger"
            )
            self._context.note("warn", told, self._call.site)
        if self._rehearsal is not None and not self._quiet:
            self._context.tally.actions.append(self._assuming(action_of(job, self._call)))
            self._name(job.address, job)
            if job.differing:
                self._rehearsal.notified.extend(self._common.notify)
            if job.intent is not None:  # a run that was stopped there has called for them
                self._rehearsal.notified.extend(job.intent.notify)

    def _assuming(self, action: dict[str, object]) -> dict[str, object]:
        """An action that can be done only if something comes true that is not known is not known itself."""
        assert self._rehearsal is not None
        assumed = self._rehearsal.assumed()
        return {**action, "action": "unknown", "reason": assumed} if assumed else action

    def _name(self, address: str, job: Job | None = None) -> None:
        self._named = True
        what = (None, None) if job is None else (job.want.resource, job.wanted)
        self._context.tally.named.append(
            Named(self._common.target, address, self._owner.site(self._call), *what)
        )

    def _untold(self, error: SlothError, rehearsal: Rehearsal) -> SlothError:
        """An error in check mode: what would have been changed before might have prevented it."""
        if isinstance(error, Unpredictable) or rehearsal.opaque is None or not isinstance(error, TaskProblem):
            return error
        cause = error.__cause__
        if isinstance(cause, OpError) and cause.kind in CERTAIN:
            return error
        doubt = rehearsal.obscured(f"user:{self._common.user}") or rehearsal.opaque
        return Unpredictable(f"it may depend on {doubt}, which would be done first: {error.message}")

    def _open(self, error: Unpredictable, rehearsal: Rehearsal) -> Partial:
        """In check mode: what the call would do is left open, and what comes after it is looked at all the same.
        Nothing of its result is known."""
        reported = {job.address for job in self._jobs}
        addresses = [address for address in self._asked if address not in reported]
        for address in addresses or [f"call:{self._call.name}"]:
            title = "" if addresses else self._call.name
            prediction = Predict(address, title, None, error.message)
            self._context.tally.actions.append(foretold(prediction, self._call))
            rehearsal.obscure(address)
        self._name("")
        rehearsal.notified.extend(self._common.notify)
        failing = ("failed", "code") if self._common.ignore_errors else ()
        return Partial({}, ("changed", "message", "diff", *failing, *self._returns))

    def _about(self) -> About:
        world, call, common, by = self._owner.world, self._call, self._common, self._context.state.by
        site = self._owner.site(call)
        # A file with a secret in it would be kept with it, and its difference may show the one that it replaces.
        sensitive = common.sensitive or self._context.holds_secret(call.args)
        if sensitive or any(map(is_covered, site)):
            site = tuple(map(covered_line, site))
        line = call.site.line if call.site else None
        agent = "" if self._context.agent == common.target else self._context.agent
        return About(
            call.name, world.stack, (by.user, by.host, by.pid, by.run, by.task), site, line, common.notify,
            common.prevent_destroy or (self._context.task is not None and not self._context.task.prune),
            sensitive, world.salt() if sensitive else "", world.paranoid, self._identity, agent,
            common.user,
        )  # fmt: skip

    def _skipped(self, prediction: Predict | None, skipped: Skipped) -> Outcome:
        """How a call ends in check mode that would do what can't be rehearsed."""
        rehearsal = self._rehearsal
        assert rehearsal is not None
        if prediction is None:
            label = getattr(skipped.op, "label", "") or type(skipped.op).__name__
            address = f"call:{self._call.name}"
            prediction = Predict(address, f"would do more: {label}", None, "what it does can't be rehearsed")
        by = prediction.message.removeprefix("would run ")
        ran = by if by != prediction.message else ""
        rehearsal.obscure(prediction.address, ran)
        unknown = prediction.unknown + (("changed",) if prediction.changed is None else ())
        self._context.tally.actions.append(self._assuming(foretold(prediction, self._call)))
        if prediction.changed is not False:
            rehearsal.notified.extend(self._common.notify)
        return Outcome(prediction.changed is True, prediction.message, {}, None, None, unknown)
