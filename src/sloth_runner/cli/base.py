"""Why: commands share their options, and the kinds of values that these take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sloth_runner.cli.shell import Shell, Where
from sloth_runner.cli.words import Kind, choice, option
from sloth_runner.errors import UsageError
from sloth_runner.plain import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
MODES = ("table", "json", "jsonl", "plain")


def _duration(text: str) -> float:
    from sloth_runner.durations import seconds

    return seconds(text, "a duration")


def number(most: int | None = None) -> Kind:
    """A whole number of at least 1."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= (most or int(text))):
            upto = f"from 1 to {most:,}" if most else "of at least 1"
            raise ValueError(f"a whole number {upto} is needed, not {text!r}")
        return int(text)

    return Kind("number", parse)


DURATION: Final = Kind("duration", _duration)
"""A duration such as 30s, 5m, 1h30m; seconds without a unit."""
COUNT: Final = number()


def _remember_mode(shell: Shell, value: str) -> None:
    shell.mode = value


def output_option(function: F) -> F:
    """``-o``; what it says is the shell's mode."""
    return option(
        "-o",
        "--output",
        type=choice(*MODES),
        metavar="FORM",
        then=_remember_mode,
        help="table, json, jsonl, or plain: tabs, whole values, no header (as table prints when piped).",
    )(function)


def where_options(*, everywhere: bool = False) -> Callable[[F], F]:
    """``--agent``, ``--shared`` and ``--all-agents`` as ``where``; the last is shown only where it is of use."""

    def decorate(function: F) -> F:
        def gather(shell: Shell, /, **given: Any) -> Any:
            where = Where(given.pop("agent"), given.pop("shared"), given.pop("all_agents"))
            if (where.agent is not None) + where.shared + where.all_agents > 1:
                raise UsageError("--agent, --shared and --all-agents exclude each other: give one of them")
            return function(shell, where=where, **given)

        gather.__name__ = function.__name__
        gather.__doc__ = function.__doc__
        gather.__params__ = getattr(function, "__params__", [])  # type: ignore[attr-defined] # as words does
        wrapped: Any = gather
        every = "All agents and what they share." if everywhere else "Refused here: one namespace is needed."
        for add in (
            option("--all-agents", is_flag=True, hidden=not everywhere, help=every),
            option("--shared", is_flag=True, help="The namespace that all agents share."),
            option("--agent", metavar="NAME", complete=complete_agent, help="This agent instead of local."),
        ):
            wrapped = add(wrapped)
        found: F = wrapped
        return found

    return decorate


def yes_option(function: F) -> F:
    """``--yes``."""
    return option("-y", "--yes", is_flag=True, help="Don't ask.")(function)


def reveal_option(function: F) -> F:
    """``--reveal``."""
    return option("--reveal", is_flag=True, help="Show sensitive values; that you did is recorded.")(function)


def complete_agent(shell: Shell, given: Mapping[str, Any]) -> Sequence[str]:
    """Known agents, for the shell."""
    return shell.app().known_agents()


def complete_key(shell: Shell, given: Mapping[str, Any]) -> Sequence[str]:
    """Keys of the namespace that the line names so far, for the shell; ``given[""]`` is what they begin with."""
    where = Where(given.get("agent"), bool(given.get("shared")))
    return [row.key for row in shell.view(where).rows(given[""], limit=200)]
