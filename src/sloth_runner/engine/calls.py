"""Why: one table says what each call of a task body means; the pump asks it and knows nothing itself."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.engine import arguments as arg
from sloth_runner.engine.pump import Deadline, Fork, Pump, Strand, Wait
from sloth_runner.engine.run import OUT_OF_TIME, to_the_end
from sloth_runner.engine.state_calls import handlers
from sloth_runner.errors import BadArgument, Bug, Conflict, TaskFailed, TimedOut, Unpredictable
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.asking import Ask
from sloth_runner.state.layout import LOCAL

if TYPE_CHECKING:
    from sloth_runner.engine.context import Context
    from sloth_runner.engine.facts_calls import FactsCalls
    from sloth_runner.engine.lock_calls import Locker
    from sloth_runner.engine.module_calls import ModuleCalls
    from sloth_runner.engine.secrets import Secrets
    from sloth_runner.engine.transaction import Transaction
    from sloth_runner.engine.watch_calls import Watcher
    from sloth_runner.model import Body, Call
    from sloth_runner.state.store import Store

TRIES = 10
_READING = frozenset(
    {"state.get", "state.exists", "state.list", "state.keys", "state.history", "state.stats"}
)
_WATCHING = frozenset({"watch_enter", "watch_next", "watch_leave"})
_IN_TRANSACTION = frozenset(
    {"state.txn_end", "engine.deadline", "engine.end_attempt", "engine.catch_up", "state.lock_exit"}
)
_ENDING = frozenset(
    {"engine.deadline", "engine.end_attempt", "state.lock_exit", "state.unlock", "state.watch_leave"}
)
"""Calls that give something back: they are made whatever has failed."""


class Calls:
    """Answers the calls of one run's bodies. ``known_agent`` raises AgentUnknown for a name that neither settings nor
    the store know. ``settle`` makes durable what was done on this machine: what state says may rely on it. Unless
    ``sleeps``, sleeping takes no time (in check mode)."""

    def __init__(
        self,
        pump: Callable[[], Pump],
        locker: Locker,
        watcher: Callable[[], Watcher],
        modules: ModuleCalls,
        known_agent: Callable[[str, Store], object],
        jitter: Callable[[], float],
        deadline: float | None,
        secrets: Secrets,
        settle: Callable[[], None],
        *,
        sleeps: bool = True,
    ) -> None:
        self._pump = pump
        self._locker = locker
        self._modules = modules
        self._secrets = secrets
        self._settle = settle
        self._facts: FactsCalls | None = None
        self._known_agent = known_agent
        self._known: set[str] = set()
        self._jitter = jitter
        self._deadline = deadline
        self._sleeps = sleeps
        self._state = handlers()
        self._locks = {
            "lock": locker.lock,
            "try_lock": locker.try_lock,
            "unlock": locker.unlock,
            "is_locked": locker.is_locked,
            "lock_enter": locker.enter,
            "lock_exit": locker.leave,
        }
        self._watcher = watcher
        self._own: dict[str, Callable[[Context, Call], object]] = {
            "sleep": self._sleep,
            "secret": self._secret,
            "parallel": self._parallel,
            "facts": self._tell_facts,
            "engine.deadline": self._set_deadline,
            "engine.begin": lambda context, call: modules.begin(context),
            "engine.end_attempt": lambda context, call: locker.end(context),
            "engine.catch_up": lambda context, call: None,
            "engine.unknown": _unknown,
            "engine.test": modules.test,
        }

    def serve(self, strand: Strand, call: Call) -> object:
        """Answer one call: a value, or a reply that the pump waits for. Raises the call's error."""
        context: Context = strand.context
        name = call.name
        own = self._own.get(name)
        if own is not None or name.startswith("state."):
            self._modules.catch_up(strand, ends=name in _ENDING)
        if name.startswith("state."):
            if name not in _READING:
                self._settle()
            return self._serve_state(context, strand, name[6:], call)
        if context.transaction is not None and name not in _IN_TRANSACTION:
            raise TaskFailed(
                f"{name} can't be used inside state.transaction: it holds only state calls and pure Lua",
                next=["do it before or after; the transaction may run more than once"],
            )
        return self._modules.call(context, strand, call) if own is None else own(context, call)

    def _serve_state(self, context: Context, strand: Strand, name: str, call: Call) -> object:
        selector, *args = call.args
        if isinstance(selector, str) and selector != "@shared" and selector not in self._known:

            def known(_: object) -> object:
                self._known.add(selector)
                return self._serve_state(context, strand, name, call)

            return context.desk.ask(Ask(lambda store: self._known_agent(selector, store), known))
        handler = self._state.get(name)
        if handler is not None:
            return handler(context, context.view(selector), args)
        if name in _WATCHING:
            return getattr(self._watcher(), name.removeprefix("watch_"))(
                context, context.view(selector), args
            )
        locking = self._locks.get(name)
        if locking is not None:
            if context.transaction is not None and name != "lock_exit":
                raise TaskFailed(
                    f"state.{name.removesuffix('_enter')} can't be used inside state.transaction"
                )
            return locking(context, context.view(selector), strand, args)
        if name == "txn_begin":
            return self._begin(context, selector)
        if name == "txn_end":
            return self._finish(context, args)
        raise Bug(f"there is no call state.{name}")

    def _begin(self, context: Context, selector: object) -> object:
        if context.transaction is not None:
            raise TaskFailed("a state.transaction can't stand inside another")
        from sloth_runner.engine.transaction import Transaction

        context.transaction = Transaction(context.view(selector))
        return 1

    def _finish(self, context: Context, args: list[object]) -> object:
        ok, last = bool(args[1]), bool(args[2]) if len(args) > 2 else False
        transaction, context.transaction = context.transaction, None
        if transaction is None:
            raise Bug("a transaction ended that had not begun")

        def ended(done: bool) -> object:
            return self._ended(context, transaction, ok, done, last)

        return context.desk.ask(Ask(lambda store: transaction.finish(store, ok), ended))

    def _ended(self, context: Context, transaction: Transaction, ok: bool, done: bool, last: bool) -> object:
        if done:
            if ok:
                context.tally.changes.extend(transaction.changes)
            return "done"
        if last:
            raise Conflict(
                f"state.transaction: others changed what it read at each of {TRIES} tries",
                next=["put it under a lock: state.with_lock"],
            )
        pause = self._jitter()

        async def wait() -> object:
            import asyncio

            await asyncio.sleep(pause)
            return "again"

        return Wait(wait)

    def _tell_facts(self, context: Context, call: Call) -> object:
        from sloth_runner.engine.facts_calls import FactsCalls

        self._facts = self._facts or FactsCalls(self._modules.world.transport)
        return self._facts.call(context, call)

    def _secret(self, context: Context, call: Call) -> object:
        here = self._modules.world.transport(LOCAL)
        return Wait(lambda: self._secrets.run(call, here), gentle=True)

    def _sleep(self, context: Context, call: Call) -> object:
        (value,) = arg.take("sleep", call.args, 1, 1)
        try:
            from sloth_runner.durations import seconds

            length = seconds(value, "the time")
        except ValueError as error:
            raise BadArgument(f"sleep: {error}") from None

        async def wait() -> object:
            import asyncio

            await asyncio.sleep(length)
            return None

        return Wait(wait) if length > 0 and self._sleeps else None

    def _parallel(self, context: Context, call: Call) -> object:
        starts = call.args[1]
        assert isinstance(starts, list | tuple)
        bodies: list[tuple[Body, object]] = []
        for index, start in enumerate(starts, 1):
            branch = context.fork(index)
            bodies.append((to_the_end(start(), call.site), branch))
        return Fork(bodies)

    def _set_deadline(self, context: Context, call: Call) -> Deadline:
        """An attempt's time; the run's if that ends sooner. Clean-up (``None``) has no end but the user's."""
        (begin, length) = call.args
        if not begin:
            return Deadline(None)
        at = None
        if isinstance(length, int | float):
            at = self._pump().clock() + length
        if self._deadline is not None and (at is None or self._deadline < at):
            return _until(self._deadline, OUT_OF_TIME)
        if at is None:
            return Deadline(None)
        name = context.task.name if context.task else "run"
        return _until(at, f"task {name!r} took longer than its timeout of {length:g} s")


def _until(at: float, message: str) -> Deadline:
    """A deadline that no pcall of the body can put off."""
    error = TimedOut(message)
    error.final = True
    return Deadline(at, error)


def _unknown(context: Context, call: Call) -> object:
    """A plan needs what can't be known before something has been done."""
    field, when = arg.take("engine.unknown", call.args, 1, 2)
    what = "not all fields of its result are" if field == "*" else f"its {field} is not"
    raise Unpredictable(f"{what} known before {when or 'the command has run'}")
