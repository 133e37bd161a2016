"""Why: one way in and one way out: arguments to a command, every error to its form and exit status."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click

from sloth_runner import __version__
from sloth_runner.cli import problems
from sloth_runner.cli.base import MODES, LazyGroup
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.table import ROOT
from sloth_runner.cli.world import World, system_world
from sloth_runner.errors import OutputLost, SlothError, UsageError

NAME = "sloth-runner"
BROKEN_PIPE = 141
"""128 and SIGPIPE: whoever read our output has gone."""


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run one command line; returns its exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    world = world or system_world()
    shell = Shell(world, _wanted_mode(args), shlex.join([NAME, *args]))
    try:
        try:
            code = _invoke(shell, args)
            shell.flush()
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            code = _report(shell, error)
            world.stdout.flush()
        finally:
            shell.close()
        world.stderr.flush()
    except BrokenPipeError:
        _silence(world.stdout)
        _silence(world.stderr)
        return BROKEN_PIPE
    return code


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


def _invoke(shell: Shell, args: list[str]) -> int:
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
    except click.ClickException as error:
        raise problems.from_click(error, NAME) from error
    return result if isinstance(result, int) else 0


def _report(shell: Shell, error: BaseException) -> int:
    """Say what went wrong; returns the exit status."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        known: SlothError = problems.interrupted()
    elif isinstance(error, SlothError):
        known = error
    else:
        known = problems.bug(error)
    if shell.debug:
        import traceback

        shell.say("".join(traceback.format_exception(error)).rstrip())
    code = problems.exit_code(known, running=shell.running)
    if isinstance(known, OutputLost):
        shell.mode = "table"  # there is nowhere to write a document to
        _silence(shell.world.stdout)
    document = known.document(code)
    for line in problems.lines(document, shell.columns, shell.error_color):
        shell.say(line)
    if shell.mode == "json":
        shell.document("error", {"error": document})
    elif shell.mode == "jsonl":
        shell.record("error", {"format": "sloth-runner/error", "version": 1, "error": document})
    return code


def _wanted_mode(args: Sequence[str]) -> str:
    """The form of output that the arguments ask for: errors need it even when the rest can't be understood."""
    for index, arg in enumerate(args):
        if arg == "--":
            break
        name, equals, value = arg.partition("=")
        if arg in ("-o", "--output"):
            value = args[index + 1] if index + 1 < len(args) else ""
        elif name == "--output" and equals:
            pass
        elif arg.startswith("-o") and not arg.startswith("--"):
            value = arg[2:]
        else:
            continue
        if value in MODES:
            return value
    return "table"


def _silence(stream: TextIO) -> None:
    """Nothing can be written there any more: what is still buffered must not be tried again at exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # no real stream: it has no buffer to come back to
