"""Why: a module call is the same for every module: check arguments, choose the target, drive, report, remember."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from sloth_runner.digests import blake
from sloth_runner.engine import arguments as arg
from sloth_runner.engine.context import Context, Named
from sloth_runner.engine.pump import Strand, Wait
from sloth_runner.errors import BadArgument, Bug
from sloth_runner.model import Call, Pairs, Site
from sloth_runner.modules import Context as Setting
from sloth_runner.modules import Sources, check_args
from sloth_runner.ops import OpError, Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state.asking import Ask
from sloth_runner.state.layout import type_word
from sloth_runner.state.ledger_records import stamps

if TYPE_CHECKING:
    from sloth_runner.engine.group import Group
    from sloth_runner.engine.lines import Line
    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.errors import SlothError
    from sloth_runner.modules.base import Kind, Module
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.transport.base import Transport

COMMON = ("delegate_to", "user", "timeout", "when", "ignore_errors", "sensitive", "notify", "prevent_destroy")


_NOT_ALONG = ("follow", "backup", "validate", "ignore_errors", "sensitive", "user")
"""Arguments with which a call looks at more than its file, or fails otherwise than with its task."""


class Common(NamedTuple):
    """What every module call takes besides the module's own arguments."""

    target: str
    user: str | None = None
    timeout: float | None = None
    when: bool = True
    ignore_errors: bool = False
    sensitive: bool = False
    notify: tuple[str, ...] = ()
    prevent_destroy: bool = False


class World(NamedTuple):
    """What module calls of one run work with. ``transport`` gives the way to an agent (or raises Unreachable,
    AgentUnknown), ``ledger`` its ledger, ``line`` what writes that; ``rehearsal`` its picture in check mode, else
    None. ``expand`` turns what ``delegate_to`` names into agents; ``twins`` says what is wrong where one of them is a
    machine that another name means, too, each once a run; ``text`` gives the source text of a line;
    ``handlers`` are the names that ``notify`` may use; ``salt`` is random each time;
    ``forks`` is how many machines one call is made on at once; ``group`` is where new files wait for each other
    (None: they don't); ``show`` gives an error that knows its line the text of it."""

    modules: Mapping[str, Module]
    kinds: Mapping[str, Kind]
    transport: Callable[[str], Transport]
    ledger: Callable[[str], Ledger]
    line: Callable[[str], Line]
    rehearsal: Callable[[str], Rehearsal | None]
    expand: Callable[..., Sequence[str]]
    twins: Callable[[Sequence[str]], list[str]]
    folder: str
    stack: str
    text: Callable[[Site], str]
    handlers: frozenset[str]
    clock: Callable[[], float]
    salt: Callable[[], str]
    paranoid: bool = False
    forks: int = 1000
    group: Group | None = None
    show: Callable[[SlothError, str], None] = lambda error, word: None


class ModuleCalls:
    """Performs module calls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sources = Sources(world.folder)
        self._begun: dict[object, Any] = {}

    def begin(self, context: Context) -> object:
        """An attempt of a task begins: its machine has to be there, and is asked for what the task looked at last
        time. Raises Unreachable."""
        transport = self.world.transport(context.agent)
        if transport.is_local:
            return None
        return Wait(lambda: self._begin(context, transport), gentle=True)

    async def _begin(self, context: Context, transport: Transport) -> None:
        import asyncio

        from sloth_runner.engine.drifting import by_user
        from sloth_runner.engine.expecting import look_ahead
        from sloth_runner.transport.remote import Remote

        await transport.ready()
        world, task = self.world, context.task
        if isinstance(transport, Remote) and task is not None and context.attempt == 1:
            ledger = world.ledger(context.agent)
            if not ledger.is_ahead:
                await context.desk.fetch(ledger.reading_ahead())
            entries = ledger.of_task(world.stack, task.name)
            anew = world.paranoid or world.rehearsal(context.agent) is not None
            await asyncio.gather(
                *(
                    look_ahead(transport.as_user(user), world.kinds, mine, world.paranoid, anew=anew)
                    for user, mine in by_user(entries).items()
                )
            )

    def catch_up(self, strand: Strand | None, *, ends: bool = False) -> None:
        """Have the files in their places that wait for others. Raises what keeps them from it; before a call that
        ``ends`` something it is thrown after that."""
        group = self.world.group
        if group is not None and group.waiting:
            group.catch_up(None if ends else strand)

    def call(self, context: Context, strand: Strand, call: Call) -> object:
        """Perform one call; local files at once, anything that takes time as a Wait."""
        module = self.world.modules.get(call.name)
        if module is None:
            raise Bug(f"there is no module {call.name!r}")
        given = call.args[0] if len(call.args) == 1 else None
        raw = given if type(given) is dict else self._raw(module, call)
        group = self.world.group
        if group is not None:
            along = _goes_along(module, raw)
            if group.waiting and (group.is_due or not (along and group.strand is strand)):
                group.catch_up(strand)
            group.strand = strand if along else None
        identity = self._identify(module, context, call, raw) if module.settles else ""
        if identity:
            ledger = self.world.ledger(context.agent)
            found = ledger.settled(identity)
            if found is not None and self.world.rehearsal(context.agent) is None:
                return self._settle(module, context, call, raw, identity, found)
            if ledger.wants_ahead:
                return self._after_reading(context, strand, call)
        return self._perform(module, context, call, raw, identity)

    def _perform(
        self, module: Module, context: Context, call: Call, raw: dict[str, Any], identity: str
    ) -> object:
        if "delegate_to" in raw:
            agents = self._agents(call.name, raw["delegate_to"])
            for text in self.world.twins(agents):
                context.note("warn", text, call.site)
            if len(agents) > 1:
                from sloth_runner.engine.on_each import on_each

                def begin(agent: str) -> object:
                    return self._perform(module, context, call, {**raw, "delegate_to": agent}, "")

                return on_each(call.name, agents, self.world.forks, begin)
            raw["delegate_to"] = agents[0]
        common = self._common(call.name, context, raw)
        if not common.when:
            context.tally.named.append(Named(common.target, "", self.site(call)))
            return {"changed": False, "skipped": True, "message": "skipped: when is false"}
        from sloth_runner.engine.module_call import ModuleCall

        args = check_args(module, raw)
        return ModuleCall(self, context, call, module, args, common, identity=identity).begin()

    def _agents(self, name: str, given: object) -> list[str]:
        """The agents that a call's ``delegate_to`` means: at least one."""
        names = given if isinstance(given, list) else [given]
        agents = list(self.world.expand(*[arg.string(name, "delegate_to", one) for one in names]))
        if not agents:
            raise BadArgument(f"{name}: delegate_to names no agent")
        return agents

    def _after_reading(self, context: Context, strand: Strand, call: Call) -> object:
        """This ledger is read ahead first."""
        ask = self.world.ledger(context.agent).asking(())

        def go_on(found: object) -> object:
            assert ask.then is not None
            ask.then(found)
            return self.call(context, strand, call)

        return context.desk.ask(Ask(ask.work, go_on))

    def _identify(self, module: Module, context: Context, call: Call, raw: Mapping[str, Any]) -> str:
        """What tells a call that settles from every other one; "" for one that depends on more than its own files."""
        if self.world.paranoid or raw.get("follow") or "delegate_to" in raw or raw.get("sensitive"):
            return ""
        key = (context.instance, call.name, call.site, call.outer)
        begun = self._begun.get(key)
        if begun is None:
            task = context.task
            named = (task.name, task.user, task.prune) if task else (None, None, True)
            about = (call.name, self.world.stack, named)
            begun = self._begun[key] = blake(repr((about, self.site(call))))
        digest = begun.copy()
        digest.update(repr(raw).encode("utf-8", "surrogatepass"))
        return str(digest.hexdigest())

    def _settle(
        self,
        module: Module,
        context: Context,
        call: Call,
        raw: dict[str, Any],
        identity: str,
        found: tuple[str, str],
    ) -> object:
        """The call is not made again if nobody has touched the file since, nor its source: a change of content, mode
        or owner shows in the stamp."""
        path, seen = found
        user = raw.get("user", context.task.user if context.task else None)
        transport, look = self.world.transport(context.agent).as_user(user), Stat(path, names=False)

        async def wait() -> object:
            try:
                there = await transport.do(look)
            except OpError:
                there = None
            reply = judge(there)
            return await reply.start() if isinstance(reply, Wait) else reply

        def judge(target: Any) -> object:
            source = None if module.source is None else self.sources.stamp(str(raw[module.source]))
            if target is None or target.stamp is None or stamps(target.stamp, source) != seen:
                return self._perform(module, context, call, raw, identity)
            context.called(call, context.agent, False, "", None)
            self.world.ledger(context.agent).named[f"file:{path}"] = None
            return {"changed": False, "message": "", "path": path}

        try:
            target = transport.at_once(look)
        except OpError:
            return judge(None)
        return Wait(wait, gentle=True) if target is None else judge(target)

    def test(self, context: Context, call: Call) -> object:
        """Whether a shell line succeeds on the task's target (``run_if``, ``unless``)."""
        (line,) = call.args
        call = Call("cmd", ({"command": line, "check": False, "changed_when": False},), call.site)
        module = self.world.modules["cmd"]
        raw = self._raw(module, call)
        common = self._common("cmd", context, raw)
        from sloth_runner.engine.module_call import ModuleCall

        guard = ModuleCall(self, context, call, module, check_args(module, raw), common, quiet=True)
        reply = guard.begin()
        assert isinstance(reply, Wait)

        async def wait() -> object:
            result: Any = await reply.start()
            return result["exit_code"] == 0

        return Wait(wait, gentle=True)

    def setting(self, context: Context, common: Common) -> Setting:
        """What a module learns about where it runs."""
        task = context.task
        return Setting(
            self.world.folder,
            context.workdir if task and task.workdir else None,
            dict(task.env) if task else {},
            common.target,
            self.world.transport(common.target).is_local,
            common.user,
            common.timeout,
            common.sensitive,
            self.world.rehearsal(common.target) is not None,
        )

    def site(self, call: Call) -> tuple[str, ...]:
        """The lines of the task file on the call's stack, the innermost first."""
        if call.site is None:
            return ()
        return (self.world.text(call.site), *map(self.world.text, call.outer))

    def _raw(self, module: Module, call: Call) -> dict[str, Any]:
        if len(call.args) != 1 or call.args[0] is None:
            raise BadArgument(f"{call.name} takes one table of arguments: {_example(module)}")
        (only,) = call.args
        if isinstance(only, dict):
            return only
        if isinstance(only, str | bool) and module.positional is not None:
            return {module.positional: only}
        raise unnamed(module, only)

    def _common(self, name: str, context: Context, raw: dict[str, Any]) -> Common:
        user = context.task.user if context.task else None
        given = {field: raw.pop(field) for field in COMMON if field in raw}
        if not given:
            return Common(context.agent, user)
        target = context.agent
        if "delegate_to" in given:
            target = str(given["delegate_to"])
        for field in ("when", "ignore_errors", "sensitive", "prevent_destroy"):
            if not isinstance(given.get(field, True), bool):
                raise BadArgument(f"{name}: {field} is true or false, not {given[field]!r}")
        user = given.get("user", user)
        return Common(
            target,
            None if user is None else arg.string(name, "user", user),
            arg.duration(name, given["timeout"], "timeout") if "timeout" in given else None,
            given.get("when", True),
            given.get("ignore_errors", False),
            given.get("sensitive", False),
            handlers_of(name, given.get("notify", []), self.world.handlers),
            given.get("prevent_destroy", False),
        )


def handlers_of(name: str, given: object, known: Collection[str]) -> tuple[str, ...]:
    """The handlers that a call's ``notify`` means. Raises BadArgument for what is none."""
    from sloth_runner.names import did_you_mean

    names = [given] if isinstance(given, str) else given or []
    if not isinstance(names, list):
        raise BadArgument(f"{name}: notify is the name of a handler, or a list of names")
    for one in names:
        if one not in known:
            raise BadArgument(
                f"{name}: there is no handler {one!r} in this file",
                next=did_you_mean(str(one), known)
                or ['define it: handler({ name = "…", run = function() … end })'],
            )
    return tuple(names)


def unnamed(module: Module, given: object) -> BadArgument:
    """Arguments that have no names, or are no table at all."""
    example = _example(module)
    if isinstance(given, list | Pairs):
        return BadArgument(
            f"{module.name} takes arguments by name, {example}; this table holds some without one"
        )
    return BadArgument(f"{module.name} takes a table, {example}, not a {type_word(given)}")


def _example(module: Module) -> str:
    """How the module is called."""
    needed = [one.name for one in module.args if one.required]
    named = needed or [module.positional or module.args[0].name]
    return f"{module.name}({{{', '.join(f'{name} = …' for name in named)}}})"


def _goes_along(module: Module, raw: Mapping[str, Any]) -> bool:
    """Whether a call may be made while new files wait: what it looks at is its own file alone, and it can fail in no
    other way than any."""
    return module.along and "delegate_to" not in raw and not any(map(raw.get, _NOT_ALONG))
