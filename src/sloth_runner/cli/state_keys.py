"""Why: commands on keys share how a namespace is chosen and how a missing key is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sloth_runner.cli.shell import Shell, Where
from sloth_runner.errors import KeyMissing, UsageError
from sloth_runner.names import nearest
from sloth_runner.state.layout import SHARED

if TYPE_CHECKING:
    from sloth_runner.state.record import Record
    from sloth_runner.state.state import State


def views(shell: Shell, where: Where) -> list[State]:
    """The namespaces that ``where`` names; of --all-agents each by itself, whole keys."""
    if not where.all_agents:
        return [shell.view(where)]
    app = shell.app()
    names = sorted({*app.known_agents(), *app.namespaces()})
    return [own_view(app.state(shared=True) if name == SHARED else app.state(name)) for name in names]


def own_view(view: State) -> State:
    """The same namespace without what is shared."""
    from sloth_runner.state.state import State

    return State(view.writer, view.namespace, view.by, shared_prefixes=())


def first_kept(view: State, key: str, record: Record) -> tuple[int, int]:
    """The oldest revision of the key that is kept, and its last; ``record`` is one of them."""
    from sloth_runner.state.history import head

    last = head(view.writer.store, view.home(key), key) or record
    return last.first, last.number


def moment(shell: Shell, option: str, given: str) -> float:
    """The moment that an option names, in seconds since the epoch. Raises UsageError."""
    from sloth_runner.moments import parse_moment

    try:
        return parse_moment(given, shell.world.clock())
    except ValueError as error:
        raise UsageError(
            f"{option}: a time such as 2026-01-31T09:00 (UTC), or how long ago such as 2h30m; not {given!r}",
            unchanged=["nothing was changed"],
        ) from error


def missing(view: State, key: str, when: str = "") -> KeyMissing:
    """The error for a key that is not there: with keys of similar name, and where else it is."""
    namespace = view.home(key)
    known = [row.key for row in view.rows(limit=2000)]
    near = nearest(key, known)
    steps = [f"did you mean {near!r}?"] if near else []
    if not near and known:
        steps.append("see what is there: sloth-runner state list" + flags(view.namespace))
    then = f" {when}" if when else ""
    return KeyMissing(
        f"there was no key {key!r} in {namespace}{then}"
        if when
        else f"there is no key {key!r} in {namespace}",
        unchanged=["nothing was changed"],
        next=steps,
    )


def flags(namespace: str) -> str:
    """What a command line adds to mean this namespace."""
    if namespace == SHARED:
        return " --shared"
    return "" if namespace == "local" else f" --agent {namespace}"
