"""Why: ``state.transaction`` reads a steady picture and writes all or nothing, without a lock.

State inside it is a view on an Overlay; at the end one commit asserts everything that was read and applies
everything that was written. If that fails, the Lua side runs the function again.
"""

from __future__ import annotations

from sloth_runner.errors import Conflict, TransactionSpan
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.commits import settle
from sloth_runner.state.overlay import Overlay
from sloth_runner.state.state import State
from sloth_runner.state.store import Change, Check
from sloth_runner.state.writer import Writer, written

if TYPE_CHECKING:
    from sloth_runner.state.store import Store


class Transaction:
    """One try of a transaction. What it prints is kept by the Lua side until it counts."""

    __slots__ = ("_fences", "changes", "namespace", "overlay", "state")

    def __init__(self, outer: State) -> None:
        self._fences = outer.fences
        self.namespace: str | None = None
        self.overlay = Overlay(outer.store)
        writer = Writer(self.overlay, outer.writer.clock, outer.writer.new_id, outer.writer.retention)
        self.state = State(
            writer,
            outer.namespace,
            outer.by,
            shared_prefixes=outer.shared_prefixes,
            on_secret=outer.on_secret,
        )
        self.changes: list[dict[str, object]] = []

    def over(self, store: Store) -> State:
        """Its state, what is not its own being read through this handle."""
        self.overlay.turn_to(store)
        return self.state

    def enter(self, namespace: str) -> None:
        """A call touches this namespace: all calls of one transaction touch the same. Raises TransactionSpan."""
        if self.namespace is None:
            self.namespace = namespace
        elif self.namespace != namespace:
            raise TransactionSpan(
                f"a transaction works on one namespace; this one began on {self.namespace!r} and now "
                f"names {namespace!r}",
                unchanged=["nothing of this transaction was written"],
                next=["use two transactions under one lock (state.with_lock)"],
            )

    def finish(self, store: Store, ok: bool) -> bool:
        """Commit (or, after an error, only verify what was read). False: someone changed it, run again."""
        changes: list[Change | Check] = list(self.overlay.changes())
        if not ok:
            changes = [c if isinstance(c, Check) else Check(c.key, c.expect) for c in changes]
        seen = {change.key for change in changes}
        fences = [check for fence in self._fences for check in fence.checks if check.key not in seen]
        if not changes:
            return True
        try:
            settle(store, [*changes, *fences], lambda: written(store, changes))
        except Conflict as conflict:
            fenced = {check.key for check in fences} & conflict.keys
            if fenced:
                from sloth_runner.errors import LockLost
                from sloth_runner.state.layout import place
                from sloth_runner.state.locks import why_lost

                lost = next(f for f in self._fences if fenced & {check.key for check in f.checks})
                why = why_lost(store, place(lost.checks[0].key).namespace, lost.name, lost.token)
                error = LockLost(
                    f"the lock {lost.name!r} around this transaction is no longer held ({why.words})",
                    unchanged=["nothing of this transaction was written"],
                    next=[why.advice(renewed=lost.renewed)],
                )
                error.final = lost.renewed
                raise error from conflict
            return False
        return True
