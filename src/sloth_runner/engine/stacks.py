"""Why: what is remembered of runs belongs to a stack, and two files must not share one by accident."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.engine import records
from sloth_runner.errors import BadStack, StackLocked
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.state.store import Store


class Stack(NamedTuple):
    """The stack of a run: its name, its lasting id, and its record so far."""

    name: str
    id: str
    document: dict[str, Any] | None


def choose_stack(
    store: Store, implied: str, file: str, explicit: str | None, new_id: Callable[[], str]
) -> Stack:
    """The stack named, else the implied one. Raises BadStack.

    A name that was only implied and last used from another file is refused: two files that happen to have
    one name must not share what is remembered.
    """
    name = implied if explicit is None else explicit
    check_stack_name(name)
    found = records.find_stack(store, name)
    if found is None:
        return Stack(name, new_id(), None)
    document = found[0]
    if explicit is None and document["file"] != file:
        raise BadStack(
            f"the stack {name!r} was last run from {document['file']}: is this the same one?",
            unchanged=["nothing was run"],
            next=[
                f"it is: sloth-runner run -f {file} {name}",
                f"it is not: give it a name of its own, sloth-runner run -f {file} NAME",
            ],
        )
    return Stack(name, document["id"], document)


def check_unmoved(store: Store, stack: Stack, undone: str = "nothing was run") -> None:
    """Raise StackLocked if the name means another stack by now: renamed, forgotten or first run by others between its
    choice and the moment its lock was taken."""
    found = records.find_stack(store, stack.name)
    if (None if found is None else found[0]["id"]) != (None if stack.document is None else stack.id):
        raise StackLocked(
            f"the stack {stack.name!r} was renamed, forgotten or made anew while its lock was waited for",
            unchanged=[undone],
            next=["see what there is: sloth-runner stack list", "then do it again"],
        )


def check_stack_name(name: str, undone: str = "nothing was run") -> str:
    """Return ``name`` if it may name a stack: 1 to 128 letters, digits, ``.``, ``_``, ``-``. Raises BadStack, which
    says what was ``undone``."""
    good = 0 < len(name) <= 128 and name[0].isalnum() and all(c.isalnum() or c in "._-" for c in name)
    if not good or ".." in name:
        raise BadStack(
            f"{name!r} can't name a stack",
            next=[
                "use letters, digits, '.', '_' and '-', starting with a letter or digit",
                "a file of any name is run under one: sloth-runner run -f FILE STACK",
            ],
            unchanged=[undone],
        )
    return name
