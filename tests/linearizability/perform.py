"""Why: one request of a client is done here, on real handles; it needs no memory, so that it may be done in a process
that is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sloth_runner.errors import Conflict, Indeterminate, LockLost, StoreDown
from sloth_runner.model import By
from sloth_runner.state import locks
from sloth_runner.state.batch import Retention
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.patience import Patience
from sloth_runner.state.patient import Patient
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Check, Entry, Rev, Store
from sloth_runner.state.writer import Writer
from tests.linearizability.checker import Request

BY = By("ann", "host1", 7)
SPACES = ("lin1", "lin2")
LOCK = ("acquire", "renew", "release", "write", "break", "info", "read")
"""Requests about a lock."""


class Noting:
    """``inner``, and how many replies to commits were lost."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.traits = inner.traits
        self.lost = 0

    def get(self, key: str) -> Entry | None:
        """See Store."""
        return self.inner.get(key)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        return self.inner.scan(prefix, after=after, limit=limit, reverse=reverse)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        try:
            return self.inner.commit(changes)
        except Indeterminate:
            self.lost += 1
            raise

    def close(self) -> None:
        """See Store."""
        self.inner.close()


class Handles(NamedTuple):
    """One client's own handle on the store, and a State on it."""

    store: Noting
    state: State
    clock: Callable[[], float]


class Outcome(NamedTuple):
    """``fate``: done (``result`` is what the model knows), failed (nothing was applied) or unknown; ``why`` it was
    not done, for people; ``extra`` is for the client only; ``lost``: how many replies were lost on the way."""

    fate: str
    result: Any = None
    why: str = ""
    extra: Any = None
    lost: int = 0


def handles(
    store: Store, clock: Callable[[], float], new_id: Callable[[], str], patience: Patience | None = None
) -> Handles:
    """A client's handles; ``clock`` is a wall clock, for records. With ``patience``, State and locks have it;
    requests to the store itself are made once."""
    noting = Noting(store)
    above: Store = noting if patience is None else Patient(noting, patience)
    return Handles(noting, State(Writer(above, clock, new_id, Retention()), SPACES[0], BY), clock)


def perform(on: Handles, request: Request) -> Outcome:
    """Do one request now."""
    before = on.store.lost
    outcome = _caught(on, request)
    return outcome._replace(lost=on.store.lost - before)


def _caught(on: Handles, request: Request) -> Outcome:
    try:
        return _perform(on, request)
    except Indeterminate as error:
        return Outcome("unknown", why=str(error))
    except StoreDown as error:
        return Outcome("failed", why=f"{type(error).__name__}: {error}")
    except Conflict as conflict:  # given up after many tries, none of which was applied
        return Outcome("failed", why=str(conflict))


def _perform(on: Handles, request: Request) -> Outcome:
    verb, *args = request
    if verb in LOCK:
        return _lock(on, verb, args)
    if verb == "commit":
        try:
            return Outcome("done", ("done", tuple(on.store.commit(args[0]))))
        except Conflict as conflict:
            return Outcome("done", ("conflict", conflict.keys))
    if verb == "entry":
        entry = on.store.get(args[0])
        return Outcome("done", entry and (entry.value, entry.rev))
    if verb == "scan":
        prefix, after, limit, reverse = args
        found = on.store.scan(prefix, after=after, limit=limit, reverse=reverse)
        return Outcome("done", tuple((e.key, e.value, e.rev) for e in found))
    return Outcome("done", _state(on.state, verb, args))


def _state(state: State, verb: str, args: list[Any]) -> Any:
    from sloth_runner.state import edits

    if verb == "get":
        return _frozen(state.get(args[0]))
    if verb == "row":
        row = state.row(args[0])
        return row and (_frozen(row.value), row.record.number)
    if verb == "rows":
        return tuple((r.key, _frozen(r.value), r.record.number) for r in state.rows(args[0]))
    key, *rest = args
    make: dict[str, Callable[..., edits.Edit]] = {
        "set": edits.put, "delete": lambda: edits.delete, "absent": edits.put_if_absent, "swap": edits.swap,
        "add": edits.add, "push": edits.push, "pop": edits.pop,
    }  # fmt: skip
    return state.apply(key, make[verb](*rest))


def _lock(on: Handles, verb: str, args: list[Any]) -> Outcome:
    store, now, name = on.state.writer.store, on.clock(), args[0]
    if verb == "acquire":
        got = locks.acquire(store, SPACES[0], name, Owner(args[1], args[1], BY), args[2], now)
        if isinstance(got, Held):
            return Outcome("done", ("held", got.token), extra=got)
        return Outcome("done", ("other", got.token, got.owner.identity))
    if verb == "read":
        return Outcome("done", on.state.get(name))
    if verb in ("info", "break"):
        found = locks.info(store, SPACES[0], name)
        if verb == "info":
            return Outcome("done", found and (found.token, found.owner.identity))
        return Outcome("done", found and (found.token, locks.break_lock(store, found, BY, "test", now)))
    held = args[1]
    if verb == "release":
        return Outcome("done", locks.release(store, held, now))
    try:
        if verb == "renew":
            locks.renew(store, held, now, args[2])
        else:
            on.state.under((held.fence,)).set(name, args[2])
    except LockLost:
        return Outcome("done", False)
    return Outcome("done", True)


def _frozen(value: Any) -> Any:
    """Lists as tuples; the empty table is the empty list."""
    return tuple(value) if isinstance(value, list) or value == {} else value
