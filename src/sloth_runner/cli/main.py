"""Why: one way in and one way out: arguments to a command, every error to its form and exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from sloth_runner.cli import words
from sloth_runner.cli.base import MODES
from sloth_runner.cli.shell import Shell, flush
from sloth_runner.cli.table import NAME, ROOT
from sloth_runner.cli.world import World, system_world
from sloth_runner.errors import OutputLost, SlothError
from sloth_runner.plain import Any, TextIO

BROKEN_PIPE = 141
"""128 and SIGPIPE: whoever read our output has gone."""


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run one command line; returns its exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    world = world or system_world()
    shell = Shell(world, _wanted_mode(args), [NAME, *args])
    shell.give_up = lambda error: _give_up(shell, error)
    try:
        try:
            code = _invoke(shell, args)
            shell.flush()
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            code = _tell(shell, error)
        finally:
            shell.close()
        _say(shell, ())
    except BrokenPipeError:
        _silence(world.stdout)
        _silence(world.stderr)
        return BROKEN_PIPE
    return code


def _invoke(shell: Shell, args: list[str]) -> int:
    if "_SLOTH_RUNNER_COMPLETE" not in shell.world.environ:
        simple = _simple(args)
        if simple is not None:
            return words.perform(simple[0], shell, simple[1])
    from sloth_runner.cli.clicked import invoke

    return invoke(shell, args)


def _simple(args: list[str]) -> tuple[words.Command, list[tuple[words.Param, Any]]] | None:
    """The command and its values, if the line is one of the simplest form."""
    entries: Mapping[str, Any] = ROOT
    for index, arg in enumerate(args):
        entry = entries.get(arg)
        if entry is None:
            return None
        if isinstance(entry[0], str):
            command = words.load(entry[0])
            values = words.understand(command, args[index + 1 :])
            return None if values is None else (command, values)
        entries = entry[0]
    return None


def _tell(shell: Shell, error: BaseException) -> int:
    """Say what went wrong, and if that can't be written, say so; returns the exit status."""
    try:
        code = report(shell, error)
        shell.flush()
        return code
    except OutputLost as lost:
        return report(shell, lost)


def _give_up(shell: Shell, error: SlothError) -> None:
    """Say what went wrong and end the process, since the thread that should do so can't."""
    code = 1
    try:
        code = _tell(shell, error)
        _say(shell, ())
    finally:
        os._exit(code)


def report(shell: Shell, error: BaseException) -> int:
    """Say what went wrong; returns the exit status."""
    from sloth_runner.cli import problems

    if isinstance(error, KeyboardInterrupt):
        known: SlothError = problems.interrupted()
    elif isinstance(error, SlothError):
        known = error
    else:
        known = problems.bug(error)
    if shell.debug:
        import traceback

        _say(shell, ["".join(traceback.format_exception(error)).rstrip()])
    code = problems.exit_code(known, running=shell.running)
    if isinstance(known, OutputLost):
        shell.mode = "table"  # there is nowhere to write a document to
        _silence(shell.world.stdout)
    document = known.document(code)
    _say(shell, problems.lines(document, shell.columns, shell.error_color))
    if shell.mode == "json":
        shell.document("error", {"error": document})
    elif shell.mode == "jsonl":
        shell.record("error", {"format": "sloth-runner/error", "version": 1, "error": document})
    return code


def _say(shell: Shell, lines: Iterable[str]) -> None:
    """What goes wrong here can be told nowhere."""
    try:
        for line in lines:
            shell.say(line)
        flush(shell.world.stderr)
    except OutputLost:
        _silence(shell.world.stderr)


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
