"""Why: who writes under a lock and has lost it is told that, and why, whatever was to be written."""

from __future__ import annotations

from sloth_runner.errors import LockLost
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sloth_runner.errors import Conflict
    from sloth_runner.state.store import Check, Store


def tell_lost(store: Store, conflict: Conflict, fences: Sequence[Check], unwritten: str) -> None:
    """Raise LockLost if a commit failed by a lock's fence; ``unwritten`` says what that has left undone."""
    if not conflict.keys & {check.key for check in fences}:
        return
    from sloth_runner.state.locks import why_lost

    lock = place(fences[0].key)
    why = why_lost(store, lock.namespace, lock.name)
    raise LockLost(
        f"the lock {lock.name!r} is no longer held ({why.words}): {unwritten}",
        next=["see who has it: sloth-runner lock list --shared", "run again"],
    ) from conflict
