"""Why: ``state.lock`` and its kin: who owns, who waits, what is released when; on the leases of state/locks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sloth_runner.durations import human
from sloth_runner.engine import arguments as arg
from sloth_runner.engine.context import Context
from sloth_runner.engine.holding import Holding, Renewer
from sloth_runner.engine.pump import Pump, Strand, Wait
from sloth_runner.errors import BadArgument, LockHeld, LockLost, LockOwner, SlothError, TaskFailed
from sloth_runner.model import Returned
from sloth_runner.plain import NamedTuple
from sloth_runner.state import locks

if TYPE_CHECKING:
    from sloth_runner.engine.check_locks import NoRenewal
    from sloth_runner.state.state import State

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

    def begin(self, instance: str) -> None:
        """A task instance begins: its locks are its own until it ends."""
        self._alive.add(instance)

    def end(self, context: Context) -> None:
        """A task attempt has ended: release what it left, with a warning, unless it asked to keep it."""
        for where, holding in list(context.holdings.items()):
            del context.holdings[where]
            self._renewer.remove(holding)
            if holding.keep:
                continue
            locks.release(context.state.writer.store, holding.lock, self._clock())
            context.note("warn", f"the lock {holding.lock.name!r} was still held at the end: released")
        if not context.branch:
            self._alive.discard(context.instance)

    def lock(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.lock``: the token, or raise LockHeld; with ``wait`` only after that long."""
        request = self._request("state.lock", context, state, args)
        return self._wait_for(context, request, lambda holding: holding.lock.token)

    def try_lock(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.try_lock``: the token, or false."""
        request = self._request("state.try_lock", context, state, args)
        found = self._take(context, request)
        return found.lock.token if isinstance(found, Holding) else False

    def unlock(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.unlock``: True; False with a warning if it had expired or is nobody's; raises if another's."""
        name, holder = arg.take("state.unlock", args, 1, 2)
        locks.check_lock_name(name)
        where = (state.home(name), name)
        holding = context.find(where)
        if holding is None:
            return self._unlock_found(context, where, holder)
        if holder is not None and holder != holding.lock.owner.holder:
            raise LockOwner(f"the lock {name!r} is held by {holding.lock.owner.holder!r}, not by {holder!r}")
        holding.depth -= 1
        if holding.depth:
            return True
        return self._let_go(context, holding)

    def is_locked(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """``state.is_locked``: whether it is held now, and by which holder."""
        (name,) = arg.take("state.is_locked", args, 1, 1)
        found = locks.info(state.writer.store, state.home(locks.check_lock_name(name)), name)
        return False if found is None else Returned((True, found.owner.holder))

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
            self._entered[self._handles] = (context, holding, strand)
            if holding.depth == 1:
                holding.on_lost = lambda error: self._pump.post(lambda: self._pump.cancel(strand, error))
                self._renewer.add(holding)
            return Returned((holding.lock.token, self._handles))

        return self._wait_for(context, request, entered)

    def leave(self, context: Context, state: State, strand: Strand, args: Sequence[object]) -> object:
        """The end of ``with_lock``; raises LockLost if the lease had ended and the function had not failed."""
        handle, ok = arg.take("state.with_lock", args, 2, 2)
        owner, holding, _ = self._entered.pop(handle)
        holding.depth -= 1
        if holding.depth == 0 and not self._let_go(owner, holding) and ok:
            raise LockLost(
                f"the lock {holding.lock.name!r} was lost while it was held: its lease of "
                f"{human(holding.lock.ttl)} ended before the function did"
            )
        return True

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

    def _take(self, context: Context, request: Request) -> Holding | locks.Info:
        """One try. A lock this branch has already is renewed and counted deeper."""
        where = (request.namespace, request.name)
        own = context.holdings.get(where)
        store = context.state.writer.store
        owner = self._owner(context, request.holder)
        if own is not None and own.lock.owner.holder == request.holder:
            own.lock = locks.renew(store, own.lock, self._clock(), request.ttl)
            own.depth += 1
            return own
        found = locks.acquire(store, *where, owner, request.ttl, self._clock())
        if isinstance(found, locks.Info):
            kept = self._inherit(context, found, request)
            if kept is None:
                return found
            found = kept
        holding = Holding(found, keep=request.keep, until=self._pump.clock() + found.ttl)
        context.holdings[where] = holding
        told = locks.lengthened(found, request.ttl)
        if told is not None:
            context.note("info", told)
        return holding

    def _inherit(self, context: Context, found: locks.Info, request: Request) -> locks.Held | None:
        """A lock kept by a task of this run that has ended, for a later one that names the same holder."""
        if not self._is_ours_and_ended(found) or found.owner.holder != request.holder:
            return None
        store = context.state.writer.store
        lock = locks.adopt(store, found)
        if lock is None:
            return None
        lock = lock._replace(owner=self._owner(context, request.holder))
        return locks.renew(store, lock, self._clock(), request.ttl)

    def _is_ours_and_ended(self, found: locks.Info) -> bool:
        parts = found.owner.identity.split("\x1f")
        return len(parts) == 5 and parts[2] == self._nonce and parts[3] not in self._alive

    def _wait_for(self, context: Context, request: Request, then: Callable[[Holding], object]) -> object:
        found = self._take(context, request)
        if isinstance(found, Holding):
            return then(found)
        if request.wait <= 0:
            raise _held(request, found, self._clock())
        context.note("info", f"waiting for the lock {request.name!r}, held by {who(found)}")
        end = self._pump.clock() + request.wait

        async def poll() -> object:
            import asyncio
            import random

            pause = 0.005
            while True:
                left = end - self._pump.clock()
                await asyncio.sleep(max(0.0, min(left, pause * random.uniform(0.5, 1.5))))  # noqa: S311 - jitter
                pause = min(pause * 1.5, 0.25)
                got = self._take(context, request)
                if isinstance(got, Holding):
                    return then(got)
                if left <= 0:
                    raise _held(request, got, self._clock())

        return Wait(poll)

    def _let_go(self, context: Context, holding: Holding) -> bool:
        self._renewer.remove(holding)
        where = (holding.lock.namespace, holding.lock.name)
        owner: Context | None = context
        while owner is not None:
            owner.holdings.pop(where, None)
            owner = owner.parent
        released = locks.release(context.state.writer.store, holding.lock, self._clock())
        if not released:
            context.note("warn", f"the lock {holding.lock.name!r} had expired before it was released")
        return released

    def _unlock_found(self, context: Context, where: tuple[str, str], holder: object) -> bool:
        store = context.state.writer.store
        found = locks.info(store, *where)
        if found is None:
            context.note("warn", f"unlock: nobody holds the lock {where[1]!r} (it may have expired)")
            return False
        if self._is_ours_and_ended(found) and holder in (None, found.owner.holder):
            lock = locks.adopt(store, found)
            return lock is not None and locks.release(store, lock, self._clock())
        raise LockOwner(
            f"the lock {where[1]!r} is held by {who(found)}: only its owner can unlock it",
            next=["an operator can take it away: sloth-runner lock break " + where[1]],
        )


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
