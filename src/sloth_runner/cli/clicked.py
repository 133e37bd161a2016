"""Why: help, completion, and what is wrong with a command line are a library's work; it gets the same data that
``words`` reads, and is loaded only where that is not enough.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from sloth_runner import __version__
from sloth_runner.cli import words
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.table import ELSEWHERE, NAME, ROOT
from sloth_runner.errors import SlothError, UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.cli.table import Entries


class Clicked(click.Command):
    """A command of ours as one of click's. Its help goes to the shell's output."""

    def __init__(self, inner: words.Command) -> None:
        params = [_param(one) for one in inner.params]
        settings = {"ignore_unknown_options": inner.negative}
        super().__init__(inner.name, params=params, help=inner.help, context_settings=settings)
        self.inner = inner

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """See click; the help is printed by us."""
        return _own_help(super().get_help_option(ctx))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """See click."""
        return [*super().get_params(ctx), _short_help()]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click, whose parser does not say of every error which command it is about."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> int:
        """Do it with what was parsed."""
        shell = ctx.find_object(Shell)
        assert shell is not None
        values = [(param, ctx.params[param.name]) for param in self.inner.params]
        return words.perform(self.inner, shell, values)


class LazyGroup(click.Group):
    """Commands from a table of ``name -> (module:attribute, help)``; a nested table is a group."""

    def __init__(self, name: str, entries: Entries, **more: Any) -> None:
        super().__init__(name, invoke_without_command=True, no_args_is_help=False, **more)
        self.entries = entries

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """See click; the help is printed by us."""
        return _own_help(super().get_help_option(ctx))

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """See click."""
        return [*super().get_params(ctx), _short_help()]

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
        return Clicked(words.load(entry[0]))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; an unknown name is our error, with what may have been meant."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            path = ctx.command_path
            raise UsageError(
                f"there is no command {name!r} of {path!r}",
                unchanged=["nothing was changed"],
                next=[*_meant(ctx, args, known), f"{path} --help"],
            )
        return (name if command else None), command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[1]) for name, entry in self.entries.items()])


class _Kind(click.ParamType[Any]):
    """A kind of ours, for click."""

    def __init__(self, kind: words.Kind) -> None:
        self.name = kind.name
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        if not isinstance(value, str):
            return value
        try:
            return self._kind.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def root() -> LazyGroup:
    """The command line as click's tree; commands are loaded when they are used."""
    return LazyGroup(
        NAME,
        ROOT,
        callback=_root,
        help="Run tasks written in Lua, and remember what they did.",
        epilog=f"Help on a command: {NAME} COMMAND --help. On an error: {NAME} explain CODE.",
        params=[
            click.Option(
                ["-C", "--directory"],
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="Work as if started in DIR.",
            ),
            click.Option(
                ["--config"],
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Use FILE instead of looking for sloth.toml.",
            ),
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an unexpected error."),
            click.Option(["--version"], is_flag=True, is_eager=True, help="Print the version."),
        ],
    )


def invoke(shell: Shell, args: list[str]) -> int:
    """Do what a command line says; the exit status. Raises UsageError, KeyboardInterrupt."""
    tree = root()
    instruction = shell.world.environ.get("_SLOTH_RUNNER_COMPLETE")
    if instruction:
        from sloth_runner.cli.completion import answer

        return answer(shell, tree, instruction)
    try:
        with tree.make_context(NAME, args, obj=shell, terminal_width=min(shell.columns, 100)) as ctx:
            result = tree.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        from sloth_runner.cli import problems

        raise problems.from_click(error, NAME) from error
    return result if isinstance(result, int) else 0


def _param(one: words.Param) -> click.Parameter:
    kind: Any = click.Path(path_type=Path) if one.kind is words.PATH else _Kind(one.kind)
    if one.kind.choices:
        kind = click.Choice(one.kind.choices)
    complete = None if one.complete is None else _completer(one)
    if not one.flags:
        default = {} if one.multiple or one.default is None else {"default": one.default}
        return click.Argument(
            [one.name],
            type=kind,
            metavar=one.metavar,
            required=one.required,
            nargs=-1 if one.multiple else 1,
            shell_complete=complete,
            **default,
        )
    flags = one.flags if one.off is None else (f"{one.flags[0]}/{one.off}",)
    return click.Option(
        [*flags, one.name],
        type=None if one.is_flag else kind,
        metavar=one.metavar,
        help=one.help if one.shown is None else f"{one.help}  [default: {one.shown}]",
        is_flag=one.is_flag or None,
        multiple=one.multiple,
        default=() if one.multiple else one.default,
        hidden=one.hidden,
        shell_complete=complete,
    )


def _completer(one: words.Param) -> Any:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        shell = ctx.find_object(Shell)
        if shell is None:
            return []
        assert one.complete is not None
        try:
            found = one.complete(shell, {**_given(ctx), "": incomplete})
        except SlothError:  # a shell that waits for suggestions is no place for an error
            return []
        if found is None:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(name) for name in found if name.lower().startswith(incomplete.lower())]

    return complete


def _given(ctx: click.Context) -> dict[str, Any]:
    """What the line says so far. Before an option that still lacks its value, click leaves arguments unassigned."""
    given, left = dict(ctx.params), list(ctx.args)
    for param in ctx.command.params:
        if isinstance(param, click.Argument) and left and given.get(param.name or "") is None:
            given[param.name or ""] = left.pop(0)
    return given


def _meant(ctx: click.Context, args: list[str], known: list[str]) -> list[str]:
    """What may have been meant by a line whose first word is no command: all there are, if nothing else is known."""
    name, *more = args
    shell = ctx.find_object(Shell)
    if shell is not None and (shell.cwd / name).is_file():
        return [f"{ctx.command_path} {shlex.join(['run', *args])}"]
    if name == "help" and more and more[0] in known:
        return [f"{ctx.command_path} {more[0]} --help"]
    ours = ELSEWHERE.get(name)
    if ours and ours.split()[0] in known:
        return [f"here that is {ctx.command_path} {ours}"]
    return [*did_you_mean(name, known), f"commands: {', '.join(known)}"]


def _short_help() -> click.Option:
    """-h, which many try first; the help speaks of --help alone."""
    return click.Option(
        ["-h", "short_help"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        hidden=True,
        callback=_show_help,
    )


def _own_help(option: click.Option | None) -> click.Option | None:
    if option is not None:
        option.callback = _show_help
        option.help = "Show this help."
    return option


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


@click.pass_context
def _root(
    ctx: click.Context, directory: Path | None, config: Path | None, debug: bool, version: bool
) -> None:
    shell = ctx.find_object(Shell)
    assert shell is not None
    shell.debug = debug
    shell.config = config
    if directory is not None:
        if not (shell.world.cwd / directory).is_dir():
            raise UsageError(f"-C: there is no folder {str(directory)!r}", unchanged=["nothing was changed"])
        shell.directory = directory
    if version:
        shell.print(f"{NAME} {__version__}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        shell.say(ctx.get_help())
        ctx.exit(UsageError.exit_code)
