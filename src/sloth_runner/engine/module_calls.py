"""Why: a module call is the same for every module: check arguments, choose the target, drive, report, remember."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sloth_runner.engine import arguments as arg
from sloth_runner.engine.context import Context
from sloth_runner.engine.drive import Drive
from sloth_runner.engine.pump import Strand, Wait
from sloth_runner.errors import BadArgument, Bug, SlothError
from sloth_runner.model import Call, Outcome
from sloth_runner.modules import Context as Setting
from sloth_runner.modules import check_args, read_source
from sloth_runner.state.layout import LOCAL, RECALL, store_key
from sloth_runner.state.store import ABSENT, Change

if TYPE_CHECKING:
    from sloth_runner.modules.base import Module
    from sloth_runner.ops import Op
    from sloth_runner.transport.base import Transport

COMMON = ("delegate_to", "user", "timeout", "when", "ignore_errors", "sensitive")


class Common(NamedTuple):
    """What every module call takes besides the module's own arguments."""

    target: str
    user: str | None
    timeout: float | None
    when: bool
    ignore_errors: bool
    sensitive: bool


class ModuleCalls:
    """Performs module calls. ``transport`` gives the way to an agent (or raises Unreachable, AgentUnknown);
    ``folder`` is the task file's; ``expand`` turns what ``delegate_to`` names into agents."""

    def __init__(
        self,
        modules: Mapping[str, Module],
        transport: Callable[[str], Transport],
        folder: str,
        expand: Callable[[str], Sequence[str]],
    ) -> None:
        self._modules = modules
        self._transport = transport
        self._folder = folder
        self._expand = expand

    def call(self, context: Context, strand: Strand, call: Call) -> object:
        """Perform one call; local files at once, anything that takes time as a Wait."""
        module = self._modules.get(call.name)
        if module is None:
            raise Bug(f"there is no module {call.name!r}")
        raw = self._raw(module, call)
        common = self._common(call.name, context, raw)
        if not common.when:
            return {"changed": False, "skipped": True, "message": "skipped: when is false"}
        args = check_args(module, raw)
        one = _One(self, context, call, module, args, common)
        return one.begin()

    def test(self, context: Context, call: Call) -> object:
        """Whether a shell line succeeds on the task's target (``run_if``, ``unless``)."""
        (line,) = call.args
        call = Call("cmd", ({"command": line, "check": False, "changed_when": False},), call.site)
        module = self._modules["cmd"]
        raw = self._raw(module, call)
        common = self._common("cmd", context, raw)
        one = _One(self, context, call, module, check_args(module, raw), common, quiet=True)
        reply = one.begin()
        assert isinstance(reply, Wait)

        async def wait() -> object:
            result: Any = await reply.start()
            return result["exit_code"] == 0

        return Wait(wait, gentle=True)

    def source(self, path: str) -> bytes:
        """A file on the controller, relative to the task file. Raises FileMissing."""
        return read_source(self._folder, path)

    def setting(self, context: Context, common: Common) -> Setting:
        """What a module learns about where it runs."""
        task = context.task
        return Setting(
            folder=self._folder,
            workdir=context.workdir if task and task.workdir else None,
            env=dict(task.env) if task else {},
            agent=common.target,
            is_local=self._transport(common.target).is_local,
            user=common.user,
            timeout=common.timeout,
            sensitive=common.sensitive,
        )

    def transport(self, agent: str) -> Transport:
        """The way to an agent."""
        return self._transport(agent)

    def _raw(self, module: Module, call: Call) -> dict[str, Any]:
        given = [a for a in call.args if a is not None]
        if len(given) != 1 or len(call.args) > 1:
            raise BadArgument(f"{call.name} takes one table of arguments")
        (only,) = given
        if isinstance(only, dict):
            return dict(only)
        if isinstance(only, str) and module.positional is not None:
            return {module.positional: only}
        raise BadArgument(f"{call.name} takes a table: {call.name}({{…}})")

    def _common(self, name: str, context: Context, raw: dict[str, Any]) -> Common:
        given = {field: raw.pop(field) for field in COMMON if field in raw}
        target = context.agent
        if "delegate_to" in given:
            agents = self._expand(arg.string(name, "delegate_to", given["delegate_to"]))
            if len(agents) != 1:
                raise BadArgument(f"{name}: delegate_to names {len(agents)} agents; a call runs on one")
            target = agents[0]
        for field in ("when", "ignore_errors", "sensitive"):
            if not isinstance(given.get(field, True), bool):
                raise BadArgument(f"{name}: {field} is true or false, not {given[field]!r}")
        user = given.get("user", context.task.user if context.task else None)
        return Common(
            target,
            None if user is None else arg.string(name, "user", user),
            arg.duration(name, given["timeout"], "timeout") if "timeout" in given else None,
            given.get("when", True),
            given.get("ignore_errors", False),
            given.get("sensitive", False),
        )


class _One:
    """One call on its way."""

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
    ) -> None:
        self._owner = owner
        self._context = context
        self._call = call
        self._common = common
        self._quiet = quiet
        self._transport = owner.transport(common.target)
        steps = module.run(args, owner.setting(context, common))
        self._drive = Drive(steps, self._transport.at_once, self._recall, owner.source)
        self._partial: dict[str, bytes] = {}

    def begin(self) -> object:
        """Go as far as possible without waiting."""
        try:
            op = self._drive.advance()
        except SlothError as error:
            return self._failed(error)
        if op is None:
            return self._finished()
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
        if outcome.remember is not None:
            self._remember(*outcome.remember)
        self._report(outcome.changed, outcome.message, outcome.diff)
        if outcome.changed and not self._quiet:
            self._context.tally.changed += 1
        result: dict[str, object] = {"changed": outcome.changed, "message": outcome.message, **outcome.fields}
        if outcome.diff is not None:
            result["diff"] = outcome.diff
        return result

    def _failed(self, error: SlothError) -> object:
        error.operation = error.operation or self._call.name
        error.target = error.target or self._common.target
        if self._drive.mutations:
            error.changed.extend(self._drive.mutations)
            self._context.tally.changed += 1
        self._report(bool(self._drive.mutations), error.message, None)
        if not self._common.ignore_errors:
            raise error
        self._context.note("warn", f"{self._call.name} failed (ignored): {error.message}", self._call.site)
        return {
            "changed": bool(self._drive.mutations),
            "failed": True,
            "message": error.message,
            "code": error.code,
        }

    def _report(self, changed: bool, message: str, diff: str | None) -> None:
        if self._quiet:
            return
        data: dict[str, object] = {
            "module": self._call.name,
            "target": self._common.target,
            "line": self._call.site.line if self._call.site else None,
            "changed": changed,
            "message": message,
            "diff": diff,
        }
        self._context.tally.calls.append(data)
        self._context.say("call.finished", data)

    def _recall_key(self, name: str) -> str:
        return store_key(self._common.target or LOCAL, RECALL, name)

    def _recall(self, name: str) -> Mapping[str, Any] | None:
        entry = self._context.state.writer.store.get(self._recall_key(name))
        return None if entry is None else json.loads(entry.value)

    def _remember(self, name: str, what: Mapping[str, Any]) -> None:
        store = self._context.state.writer.store
        key = self._recall_key(name)
        entry = store.get(key)
        value = json.dumps(what, sort_keys=True).encode()
        if entry is None or entry.value != value:
            store.commit([Change(key, value, entry.rev if entry else ABSENT)])
