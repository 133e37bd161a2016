"""Why: commands are found by name and loaded only when used, and share their options and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sloth_runner.cli.shell import Shell, Where
from sloth_runner.cli.table import LATER
from sloth_runner.errors import SlothError, UsageError
from sloth_runner.names import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from sloth_runner.cli.table import Entries

F = TypeVar("F", bound=Callable[..., Any])
MODES = ("table", "json", "jsonl", "plain")


class Command(click.Command):
    """A command whose help goes to the shell's output."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """See click; the help is printed by us."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
            option.help = "Show this help."
        return option


class LazyGroup(click.Group):
    """Commands from a table of ``name -> (module:attribute, help)``; a nested table is a group."""

    def __init__(self, name: str, entries: Entries, **more: Any) -> None:
        super().__init__(name, invoke_without_command=True, no_args_is_help=False, **more)
        self.entries = entries

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """See click; the help is printed by us."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
            option.help = "Show this help."
        return option

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the command."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        if isinstance(entry[0], Mapping):
            return LazyGroup(cmd_name, entry[0], help=entry[1], callback=_need_command, epilog=entry[2])
        from importlib import import_module

        module, _, attribute = entry[0].partition(":")
        command: click.Command = getattr(import_module(f"sloth_runner.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; an unknown name is our error, with what may have been meant."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            path = ctx.command_path
            later = name in LATER
            raise UsageError(
                f"there is no command {name!r} of {path!r}" + (" in this version" if later else ""),
                unchanged=["nothing was changed"],
                next=[
                    *([] if later else did_you_mean(name, known)),
                    f"commands: {', '.join(known)}",
                    f"{path} --help",
                ],
            )
        return (name if command else None), command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[1]) for name, entry in self.entries.items()])


class Duration(click.ParamType[float]):
    """A duration such as 30s, 5m, 1h30m; seconds without a unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        from sloth_runner.durations import seconds

        try:
            given = float(value) if isinstance(value, str) and value.replace(".", "", 1).isdigit() else value
            return seconds(given, "a duration")
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Count(click.ParamType[int]):
    """A whole number of at least 1."""

    name = "number"

    def __init__(self, most: int | None = None) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= (self.most or int(text))):
            upto = f"from 1 to {self.most:,}" if self.most else "of at least 1"
            self.fail(f"a whole number {upto} is needed, not {text!r}", param, ctx)
        return int(text)


DURATION = Duration()
COUNT = Count()


def command(name: str, **more: Any) -> Callable[[Callable[..., Any]], Command]:
    """``click.command`` with our class; the first line of its docstring is its short help."""
    return click.command(name, cls=Command, **more)


def output_option(function: F) -> F:
    """``-o``; what it says is the shell's mode."""

    def remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.find_object(Shell).mode = value  # type: ignore[union-attr] # always ours

    return click.option(
        "-o",
        "--output",
        type=click.Choice(MODES),
        metavar="FORM",
        callback=remember,
        expose_value=False,
        help="table, json, jsonl, or plain: tabs, whole values, no header (what table is off a terminal).",
    )(function)


def where_options(*, everywhere: bool = False) -> Callable[[F], F]:
    """``--agent``, ``--shared`` and ``--all-agents`` as ``where``; the last is shown only where it is of use."""

    def decorate(function: F) -> F:
        def gather(ctx: click.Context, /, **given: Any) -> Any:
            where = Where(given.pop("agent"), given.pop("shared"), given.pop("all_agents"))
            if (where.agent is not None) + where.shared + where.all_agents > 1:
                raise UsageError("--agent, --shared and --all-agents exclude each other: give one of them")
            return ctx.invoke(function, where=where, **given)

        gather.__name__ = function.__name__
        gather.__doc__ = function.__doc__
        gather.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # as click does
        wrapped = click.pass_context(gather)
        for option in (
            click.option(
                "--all-agents",
                is_flag=True,
                hidden=not everywhere,
                help="All agents and what they share."
                if everywhere
                else "Refused here: one namespace is needed.",
            ),
            click.option("--shared", is_flag=True, help="The namespace that all agents share."),
            click.option(
                "--agent", metavar="NAME", shell_complete=complete_agent, help="This agent instead of local."
            ),
        ):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value] # the same command to click

    return decorate


def yes_option(function: F) -> F:
    """``--yes``."""
    return click.option("-y", "--yes", is_flag=True, help="Don't ask.")(function)


def reveal_option(function: F) -> F:
    """``--reveal``."""
    return click.option("--reveal", is_flag=True, help="Show sensitive values; that you did is recorded.")(
        function
    )


def complete_agent(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Known agents, for the shell."""
    shell = ctx.find_object(Shell)
    return [] if shell is None else _items(shell.app().known_agents, incomplete)


def complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Keys of the namespace that the line names so far, for the shell."""
    shell = ctx.find_object(Shell)
    if shell is None:
        return []
    where = Where(ctx.params.get("agent"), bool(ctx.params.get("shared")))
    return _items(lambda: [row.key for row in shell.view(where).rows(incomplete, limit=200)], incomplete)


def _items(find: Callable[[], list[str]], incomplete: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    try:
        return [CompletionItem(name) for name in find() if name.startswith(incomplete)]
    except SlothError:  # a shell that waits for suggestions is no place for an error
        return []


def _show_help(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        shell = ctx.find_object(Shell)
        assert shell is not None
        shell.print(ctx.get_help())
        ctx.exit()


@click.pass_context
def _need_command(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        raise UsageError(
            f"{ctx.command_path!r} needs a command",
            next=[
                f"commands: {', '.join(ctx.command.list_commands(ctx))}",  # type: ignore[attr-defined] # a group
                f"{ctx.command_path} --help",
            ],
        )
