"""Why: what one client alone would see of a lock, and of a value that is written under it, is said once.

Time takes part: a lease that was given may not end before its time, nor be there long after it. What ends after
everything else in a history might as well last for ever, and is written so: then it doesn't count when exactly it was
given.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from math import inf
from typing import Any, NamedTuple

from sloth_runner.state.locks import Held
from tests.linearizability.checker import Model, Op, as_unknown


class Lock(NamedTuple):
    """A lock: its token; the identity of its holder (None: free); when its lease ends at the earliest and at the
    latest; and the value that is written under it."""

    token: int = 0
    holder: str | None = None
    early: float = -inf
    late: float = inf
    value: Any = None


class Locked:
    """One lock. ``lag``: seconds that an ended lease may still be there; ``slack``: by how much the store's clock may
    run fast, seconds.

    Requests, each with the lock's name: ``("acquire", name, identity, ttl)`` gives ("held", token) or ("other",
    token, identity); ``("renew", name, held, ttl)``, ``("release", name, held)``, ``("write", name, held, value)``
    whether it was done; ``("break", name)`` None (it was free) or (token, whether it was done); ``("info", name)``
    None or (token, identity); ``("read", name)`` the value.

    ``over``: when the last known operation ended. ``unseen``: identities and values that no result shows. Nothing
    else is compared with them, so that of operations of unknown outcome they can't be told apart.
    """

    def __init__(
        self, lag: float, slack: float, over: float = inf, unseen: frozenset[str] = frozenset()
    ) -> None:
        self._lag = lag
        self._slack = slack
        self._over = over
        self._unseen = unseen

    @property
    def start(self) -> Lock:
        """Never held."""
        return Lock()

    def step(self, state: Lock, op: Op) -> Iterable[Hashable]:
        """See Model."""
        verb, _, *args = op.request
        if verb == "read":
            return (state,) if op.result == state.value else ()
        if not op.known:
            return self._unknown(state, op)
        if verb == "acquire":
            token, *other = op.result[1:]
            return self._taken(state, op, token) if not other else self._seen(state, op, (token, *other))
        if verb == "info":
            return self._free(state, op) if op.result is None else self._seen(state, op, op.result)
        if verb == "break":
            return self._broken(state, op)
        return self._owned(state, op, verb, args)

    def parts(self, ops: Sequence[Op]) -> list[tuple[Model, list[Op]]]:
        """See Model: one lock has no parts."""
        over = max((op.ret for op in ops if op.known), default=-inf)
        return [(Locked(self._lag, self._slack, over, _never_shown(ops)), list(ops))]

    def reads(self, op: Op) -> bool:
        """See Model. Who finds a lease ended says something of all that comes later, but changes nothing."""
        verb = op.request[0]
        if verb in ("read", "info"):
            return True
        if not op.known:
            return False
        if verb == "acquire":
            return bool(op.result[0] == "other")
        return not op.result or (verb == "break" and op.result[1] is False)

    def besides(self, op: Op, lost: int, failed: bool, others: Sequence[Op]) -> list[Op]:
        """See Model. Who takes a lock, gets no reply, and finds it taken away or its lease ended, takes it anew. If
        that fails, somebody broke it meanwhile or the lease must have ended."""
        if op.request[0] != "acquire":
            return []
        if not op.known:
            lost -= 1
        elif failed and not any(self._breaks(other) and _overlap(op, other) for other in others):
            lost = min(lost, int((op.ret - op.call) / op.request[3]))
        return [as_unknown(op)] * lost

    def alike(self, op: Op) -> Hashable:
        """See Model. A lease begins when it is given, so the call counts, unless it outlasts the history."""
        verb, _, *args = op.request
        if verb == "acquire":
            return verb, self._told(op, args[0]), self._early(op, args[1])
        if verb == "renew":
            return verb, args[0].token, self._early(op, args[1])
        if verb == "write":
            return verb, args[0].token, self._told(op, args[1])
        return (verb, args[0].token) if verb == "release" else verb

    def show(self, op: Op) -> str:
        """See Model."""
        verb, *args = op.request
        asked = " ".join(_asked(a) for a in args)
        return f"{verb} {asked}  {op.result if op.known else 'unknown'}"

    def _breaks(self, op: Op) -> bool:
        return op.request[0] == "break" and not self.reads(op)

    def _there(self, state: Lock, op: Op) -> bool:
        return state.holder is not None and op.call <= state.late

    def _free(self, state: Lock, op: Op) -> tuple[Lock, ...]:
        """The state with its lease gone: it was, or may have ended before ``op`` did."""
        if state.holder is None:
            return (state,)
        return (state._replace(holder=None),) if min(op.ret, op.until) >= state.early else ()

    def _seen(self, state: Lock, op: Op, who: tuple[Any, ...]) -> tuple[Lock, ...]:
        return (state,) if self._there(state, op) and who == (state.token, state.holder) else ()

    def _taken(self, state: Lock, op: Op, token: int) -> tuple[Lock, ...]:
        _, _, identity, ttl = op.request
        if token != state.token + 1:
            return ()
        holder = self._told(op, identity)
        return tuple(
            self._leased(free._replace(token=token, holder=holder), op, ttl) for free in self._free(state, op)
        )

    def _leased(self, state: Lock, op: Op, ttl: float) -> Lock:
        late = op.ret + ttl + self._lag
        return state._replace(early=self._early(op, ttl), late=inf if late >= self._over else late)

    def _early(self, op: Op, ttl: float) -> float:
        """When a lease ends at the earliest."""
        early: float = op.call + ttl - self._slack
        return inf if early > self._over else early

    def _told(self, op: Op, what: str) -> str | None:
        """An identity or a value that is put, as far as anybody can tell: "" is neither."""
        return "" if not op.known and what in self._unseen else what

    def _broken(self, state: Lock, op: Op) -> tuple[Lock, ...]:
        if op.result is None:
            return self._free(state, op)
        token, done = op.result
        if not done:
            return (state,)
        if token != state.token or not self._there(state, op):
            return ()
        return (state._replace(token=token + 1, holder=None),)

    def _owned(self, state: Lock, op: Op, verb: str, args: Sequence[Any]) -> tuple[Lock, ...]:
        """What only the holder may do."""
        mine = args[0].token == state.token
        if op.result:
            return (self._done(state, op, verb, args),) if mine and self._there(state, op) else ()
        return self._free(state, op) if mine else (state,)

    def _done(self, state: Lock, op: Op, verb: str, args: Sequence[Any]) -> Lock:
        if verb == "renew":
            return self._leased(state, op, args[1])
        return (
            state._replace(holder=None)
            if verb == "release"
            else state._replace(value=self._told(op, args[1]))
        )

    def _unknown(self, state: Lock, op: Op) -> tuple[Lock, ...]:
        verb, _, *args = op.request
        if verb == "acquire":
            return self._taken(state, op, state.token + 1)
        if verb == "info" or state.holder is None:
            return ()
        if verb == "break":
            return (state._replace(token=state.token + 1, holder=None),)
        return (self._done(state, op, verb, args),) if args[0].token == state.token else ()


def _overlap(one: Op, other: Op) -> bool:
    return one.call <= other.ret and other.call <= one.ret


def _never_shown(ops: Sequence[Op]) -> frozenset[str]:
    """The identities and the values of operations of unknown outcome, without those that a result shows."""
    put: set[str] = set()
    shown: set[str] = set()
    for op in ops:
        verb, _, *args = op.request
        if not op.known and verb in ("acquire", "write"):
            put.add(args[verb == "write"])
        elif verb == "read":
            shown.add(op.result)
        elif verb in ("acquire", "info") and isinstance(op.result, tuple):
            shown.add(op.result[-1])
    return frozenset(put - shown)


def _asked(argument: Any) -> str:
    if isinstance(argument, float):
        return f"{argument:g} s"
    return f"under token {argument.token}" if isinstance(argument, Held) else str(argument)
