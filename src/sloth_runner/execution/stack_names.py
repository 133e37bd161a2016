"""Why: a stack's name and its lock are one: who changes the name holds the lock, and no run is under way then."""

from __future__ import annotations

from sloth_runner.engine import records
from sloth_runner.engine.stacks import check_stack_name
from sloth_runner.execution.stack_lock import Purpose, StackLock
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.app import App

WAIT = "do it again when that has ended"
RENAME = Purpose("stack rename", "nothing was renamed", WAIT)
FORGET = Purpose("stack forget", "nothing was forgotten", WAIT)


def rename(app: App, old: str, new: str) -> None:
    """Give a stack another name, under the locks of both. Raises BadStack, StackLocked."""
    check_stack_name(new, RENAME.undone)
    records.renamable(app.store(), old, new)
    with (
        StackLock(app, old, 0.0, purpose=RENAME) as first,
        StackLock(app, new, 0.0, purpose=RENAME) as second,
    ):
        records.rename_stack(app.store(), old, new, first.fences() + second.fences())


def forget(app: App, name: str) -> None:
    """Forget a stack's name, under its lock. Raises BadStack, StackLocked."""
    records.known_stack(app.store(), name, FORGET.undone)
    with StackLock(app, name, 0.0, purpose=FORGET) as lock:
        records.forget_stack(app.store(), name, lock.fences())
