"""Why: commands on keys share how a namespace is chosen and how a moment is given."""

from __future__ import annotations

from sloth_runner.cli.shell import Shell, Where
from sloth_runner.documents.keys import all_views
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.state.state import State


def views(shell: Shell, where: Where) -> list[State]:
    """The namespaces that ``where`` names; of --all-agents each by itself, whole keys."""
    return all_views(shell.app()) if where.all_agents else [shell.view(where)]


def moment(shell: Shell, option: str, given: str) -> float:
    """The moment that an option names, in seconds since the epoch. Raises UsageError."""
    from sloth_runner.durations import TooLong
    from sloth_runner.moments import parse_moment

    try:
        return parse_moment(given, shell.world.clock())
    except TooLong as error:
        raise UsageError(f"{option}: {error}", unchanged=["nothing was changed"]) from error
    except ValueError as error:
        raise UsageError(
            f"{option}: a time such as 2026-01-31T09:00 (UTC), or how long ago such as 2h30m; not {given!r}",
            unchanged=["nothing was changed"],
        ) from error
