"""Why: ``state.lock`` and its kin: who owns, who waits, what is released when; on the leases of state/locks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.durations import human
from sloth_runner.engine import arguments as arg
from sloth_runner.engine.context import Context
from sloth_runner.engine.holding import Holding, Renewer
from sloth_runner.engine.pump import Pump, Strand, Wait
from sloth_runner.errors import BadArgument, LockHeld, LockLost, LockOwner, SlothError, TaskFailed
from sloth_runner.model import Returned
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state import locks
from sloth_runner.state.asking import Ask
from sloth_runner.state.patience import chance

if TYPE_CHECKING:
    from sloth_runner.engine.check_locks import NoRenewal
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store

DEFAULT_TTL = 60.0
_OPTIONS: dict[str, arg.Kinds] = {"wait": (int, float, str), "keep": bool}


class Request(NamedTuple):
    """What a lock function was asked for."""

    function: str
    namespace: str
    name: str
    holder: str
    ttl: float
    wait: float
    keep: bool


class Locker:
    """The locks of one run. ``nonce`` is random for each process; ``boot`` and ``started`` tell it from dead ones."""

    def __init__(
        self,
        pump: Pump,
        renewer: Renewer | NoRenewal,
        clock: Callable[[], float],
        nonce: str,
        boot: str,
        started: int,
    ) -> None:
        self._pump = pump
        self._renewer = renewer
        self._clock = clock
        self._nonce = nonce
        self._boot = boot
        self._started = started
        self._alive: set[str] = set()
        self._entered: dict[int, tuple[Context, Holding, Strand]] = {}
        self._handles = 0
        self.unreleased: list[Holding] = []
        """Locks that are to be released, and of which it is not known that they were."""

    def begin(self, instance: str) -> None:
        """A task instance begins: its locks are its own until it ends."""
        self._alive.add(instance)

    def end(self, context: Context) -> object:
        """A task attempt has ended: release what it left, with a warning, unless it asked to keep it. A reply."""
        left = list(context.holdings.values())
        context.holdings.clear()
        if not context.branch:
            self._alive.discard(context.instance)
        if not left:
            return None
        self.unreleased += [holding for holding in left if not holding.keep]

        def let_go(store: Store) -> list[tuple[Holding, str | None]]:
            errors: list[SlothError] = []
            ends: list[tuple[Holding, str | None]] = []
            for holding in left:
                try:
                    if holding.keep:
                        self._renewer.remove(holding)
                    else:
                        ends.append((holding, self._release(store, holding)))
                except SlothError as error:
                    errors.append(error)
            if errors:
                raise errors[0]
            return ends

        def told(ends: list[tuple[Holding, str | None]]) -> None:
            for holding, lost in ends:
                self.unreleased.remove(holding)
                end = (
                    "still held at the end: released"
                    if lost is None
                    else f"lost before the task ended: {lost}"
                )
                context.note("warn", f"the lock {holding.lock.name!r} was {end}")

        return context.desk.ask(Ask(let_go, told))

    def abandon(self, context: Context) -> None:
        """The same, at once, for a body that did not get as far: its leases end by themselves if the store is
        gone."""
        for holding in list(context.holdings.values()):
            self._renewer.remove(holding)
            if not holding.keep:
                try:
                    if context.desk.down is not None:
                        raise context.desk.down
                    locks.release(context.desk.store, holding.lock, self._clock())
                except SlothError as error:
                    self.unreleased.append(holding)
                    text = f"the lock {holding.lock.name!r} could not be released: {error.message}"
                    context.note("warn", text)
        context.holdings.clear()
        if not context.branch:
            self._alive.discard(context.instance)

    def release_left(self, store: Store) -> None:
        """Release what could not be released before. Raises what the store raises."""
        for holding in list(self.unreleased):
            self._renewer.remove(holding)
            locks.release(store, holding.lock, self._clock())
            self.unreleased.remove(holding)

    def lock(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.lock``: the token, or raise LockHeld; with ``wait`` only after that long."""
        request = self._request("state.lock", context, state, args)
        return self._wait_for(context, request, lambda holding: holding.lock.token)

    def try_lock(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.try_lock``: the token, or false."""
        request = self._request("state.try_lock", context, state, args)

        def told(found: Holding | locks.Info) -> object:
            return found.lock.token if isinstance(found, Holding) else False

        return context.desk.ask(self._taking(context, request, told))

    def unlock(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.unlock``: True; False with a warning if it had expired or is nobody's; raises if another's."""
        name, holder = arg.take("state.unlock", args, 1, 2)
        locks.check_lock_name(name)
        if holder is not None:
            arg.string("state.unlock", "the holder", holder)
        where = (state.home(name), name)
        holding = context.find(where)
        if holding is None:
            return self._unlock_found(context, where, holder)
        if holder is not None and holder != holding.lock.owner.holder:
            raise LockOwner(f"the lock {name!r} is held by {holding.lock.owner.holder!r}, not by {holder!r}")
        holding.depth -= 1
        if holding.depth:
            return True
        return self._let_go(context, holding, lambda lost: lost is None)

    def is_locked(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.is_locked``: whether it is held now, and by which holder."""
        (name,) = arg.take("state.is_locked", args, 1, 1)
        home = state.home(locks.check_lock_name(name))

        def told(found: locks.Info | None) -> object:
            return False if found is None else Returned((True, found.owner.holder))

        return context.ask(state, lambda view: locks.info(view.store, home, name), told)

    def enter(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """The beginning of ``with_lock``: waits up to the ttl; the lock renews itself until ``leave``."""
        name, holder, ttl, given = arg.take("state.with_lock", args, 1, 4)
        if isinstance(given, dict) and "keep" in given:
            raise BadArgument("state.with_lock: keep makes no sense, the lock ends with the function")
        request = self._make("state.with_lock", context, state, name, holder, ttl, given)
        if "wait" not in (given or {}):
            request = request._replace(wait=request.ttl)

        def entered(holding: Holding) -> object:
            self._handles += 1
            handle = self._handles
            self._entered[handle] = (context, holding, strand)
            if holding.depth == 1:
                holding.on_lost = lambda error: self._pump.post(lambda: self._lost(handle, error))
                self._renewer.add(holding)
            return Returned((holding.lock.token, handle))

        return self._wait_for(context, request, entered)

    def _lost(self, handle: int, error: SlothError) -> None:
        """A lock that renews itself is lost: no pcall of whoever works under it puts off the end. Who has left
        already hears of it from ``leave``."""
        found = self._entered.get(handle)
        if found is not None:
            error.final = True
            self._pump.cancel(found[2], error)

    def leave(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """The end of ``with_lock``; raises LockLost, which no pcall swallows, if the lease ended while the end was
        ``open_``: not decided by such an error. ``own`` is the message of the function's own failure, if any."""
        handle, open_, own = arg.take("state.with_lock", args, 2, 3)
        owner, holding, _ = self._entered.pop(handle)
        holding.depth -= 1
        if holding.depth:
            return True

        def told(lost: str | None) -> object:
            if lost is not None and open_:
                failed = "" if own is None else f"; the function had failed with: {own}"
                error = LockLost(
                    f"the lock {holding.lock.name!r} (for {human(holding.lock.ttl)} at a time) was lost before the "
                    f"function ended: {lost}{failed}",
                    next=["see who has it now: sloth-runner lock list"],
                )
                error.final = True
                raise error
            return True

        return self._let_go(owner, holding, told)

    def _request(self, function: str, context: Context, state: State, args: Sequence[object]) -> Request:
        name, second, *rest = arg.take(function, args, 1, 4)
        if isinstance(second, str):
            holder, ttl, given = second, rest[0], rest[1]
        else:
            holder, ttl, given = None, second, rest[0]
        return self._make(function, context, state, name, holder, ttl, given)

    def _make(
        self, function: str, context: Context, state: State, name: Any, holder: Any, ttl: Any, given: Any
    ) -> Request:
        if context.transaction is not None:
            raise TaskFailed(f"{function} can't be used inside state.transaction")
        locks.check_lock_name(name)
        found = arg.options(function, given, _OPTIONS)
        if holder is None:
            holder = context.task.name if context.task else "run"
        arg.string(function, "the holder", holder)
        length = DEFAULT_TTL if ttl is None else arg.duration(function, ttl)
        wait = arg.duration(function, found["wait"], "wait") if "wait" in found else 0.0
        return Request(function, state.home(name), name, holder, length, wait, found.get("keep", False))

    def _owner(self, context: Context, holder: str) -> locks.Owner:
        by = context.state.by
        identity = "\x1f".join((holder, by.run or "", self._nonce, context.instance, context.branch))
        return locks.Owner(holder, identity, by, self._boot, self._started)

    def _taking(
        self, context: Context, request: Request, then: Callable[[Holding | locks.Info], object]
    ) -> Ask:
        """One try. A lock this branch has already is renewed and counted deeper."""
        where = (request.namespace, request.name)
        known = context.holdings.get(where)
        own = known if known is not None and known.lock.owner.holder == request.holder else None
        owner = self._owner(context, request.holder)
        began = self._pump.clock()

        def take(store: Store) -> locks.Held | locks.Info:
            now = self._clock()
            if own is not None:
                return locks.renew(store, own.lock, now, request.ttl)
            found = locks.acquire(store, *where, owner, request.ttl, now)
            kept = self._inherit(store, owner, found, request) if isinstance(found, locks.Info) else None
            return kept or found

        def taken(found: locks.Held | locks.Info) -> object:
            if isinstance(found, locks.Info):
                return then(found)
            until = began + found.ttl
            holding = own or Holding(found, keep=request.keep, until=until)
            if own is not None:
                own.lock, own.until = found, until
                own.depth += 1
            context.holdings[where] = holding
            told = locks.lengthened(found, request.ttl) if own is None else None
            if told is not None:
                context.note("info", told)
            return then(holding)

        return Ask(take, taken)

    def _inherit(
        self, store: Store, owner: locks.Owner, found: locks.Info, request: Request
    ) -> locks.Held | None:
        """A lock kept by a task of this run that has ended, for a later one that names the same holder."""
        if not self._is_ours_and_ended(found) or found.owner.holder != request.holder:
            return None
        lock = locks.adopt(store, found)
        if lock is None:
            return None
        return locks.renew(store, lock._replace(owner=owner), self._clock(), request.ttl)

    def _is_ours_and_ended(self, found: locks.Info) -> bool:
        parts = found.owner.identity.split("\x1f")
        return len(parts) == 5 and parts[2] == self._nonce and parts[3] not in self._alive

    def _wait_for(self, context: Context, request: Request, then: Callable[[Holding], object]) -> object:
        def told(found: Holding | locks.Info) -> object:
            if isinstance(found, Holding):
                return then(found)
            if request.wait <= 0:
                raise _held(request, found, self._clock())
            context.note("info", f"waiting for the lock {request.name!r}, held by {who(found)}")
            return Wait(lambda: self._poll(context, request, then, end))

        end = self._pump.clock() + request.wait
        return context.desk.ask(self._taking(context, request, told))

    async def _poll(
        self, context: Context, request: Request, then: Callable[[Holding], object], end: float
    ) -> object:
        """Try again and again, until the time is up."""
        import asyncio

        pause = 0.005
        while True:
            left = end - self._pump.clock()
            await asyncio.sleep(max(0.0, min(left, pause * (0.5 + chance()))))
            pause = min(pause * 1.5, 0.25)
            got = await context.desk.fetch(self._taking(context, request, lambda found: found))
            if isinstance(got, Holding):
                return then(got)
            if left <= 0:
                assert isinstance(got, locks.Info)
                raise _held(request, got, self._clock())

    def _let_go(self, context: Context, holding: Holding, then: Callable[[str | None], object]) -> object:
        """Release; ``then`` gets why it was lost before, or None."""
        where = (holding.lock.namespace, holding.lock.name)
        owner: Context | None = context
        while owner is not None:
            owner.holdings.pop(where, None)
            owner = owner.parent
        self.unreleased.append(holding)

        def told(lost: str | None) -> object:
            self.unreleased.remove(holding)
            if lost is not None:
                context.note(
                    "warn", f"the lock {holding.lock.name!r} was lost before it was released: {lost}"
                )
            return then(lost)

        return context.desk.ask(Ask(lambda store: self._release(store, holding), told))

    def _release(self, store: Store, holding: Holding) -> str | None:
        """Let go; why the lock was lost before, or None."""
        self._renewer.remove(holding)
        lock = holding.lock
        if locks.release(store, lock, self._clock()):
            return None
        return locks.why_lost(store, lock.namespace, lock.name, lock.token).words

    def _unlock_found(self, context: Context, where: tuple[str, str], holder: object) -> object:
        def look(store: Store) -> bool | locks.Info | None:
            found = locks.info(store, *where)
            if (
                found is None
                or not self._is_ours_and_ended(found)
                or holder not in (None, found.owner.holder)
            ):
                return found
            lock = locks.adopt(store, found)
            return lock is not None and locks.release(store, lock, self._clock())

        def told(found: bool | locks.Info | None) -> bool:
            if isinstance(found, bool):
                return found
            if found is None:
                context.note("warn", f"unlock: nobody holds the lock {where[1]!r} (it may have expired)")
                return False
            raise LockOwner(
                f"the lock {where[1]!r} is held by {who(found)}: only its owner can unlock it",
                next=["an operator can take it away: sloth-runner lock break " + where[1]],
            )

        return context.desk.ask(Ask(look, told))


def who(found: locks.Info) -> str:
    """A lock's holder, for people."""
    by = found.owner.by
    run = f", run {by.run}" if by.run else ""
    return f"{found.owner.holder!r} ({by.user}@{by.host}, pid {by.pid}{run})"


def _held(request: Request, found: locks.Info, now: float) -> SlothError:
    waited = f" after waiting {human(request.wait)}" if request.wait else ""
    left = max(0.0, found.expires - now)
    return LockHeld(
        f"the lock {request.name!r} is held by {who(found)} for another {human(left)}{waited}",
        unchanged=["nothing was done under this lock"],
        next=['wait for it: state.lock(name, holder, ttl, {wait = "5m"})', "sloth-runner lock list"],
    )
