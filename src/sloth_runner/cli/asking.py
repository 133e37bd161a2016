"""Why: a passphrase is typed unseen, and a new one twice: a slip would lock its owner out for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sloth_runner.cli.world import World
from sloth_runner.errors import BadConfig, Declined
from sloth_runner.plain import TextIO


def ask_secret(world: World, question: str, twice: bool) -> str:
    """What the user types, without its newline. Raises BadConfig (no terminal), Declined."""
    if not (world.stdin_tty and world.stderr_tty):
        raise BadConfig(
            "a passphrase is needed, and there is no terminal to ask on",
            unchanged=["nothing was read or written"],
            next=[
                'give it in a variable: variable = "NAME" in [state.encryption]',
                'or in a file of yours alone: file = "…"',
                "for an export or import: --passphrase-env NAME",
            ],
        )
    given = _line(world, question)
    if twice and _line(world, "The same again:") != given:
        raise Declined("the two were not the same", unchanged=["nothing was changed"])
    return given


def _line(world: World, question: str) -> str:
    world.stderr.write(f"{question} ")
    world.stderr.flush()
    with _unseen(world.stdin):
        line = world.stdin.readline()
    world.stderr.write("\n")
    given = line.removesuffix("\n").removesuffix("\r")
    if not given:
        raise Declined("nothing was typed", unchanged=["nothing was changed"])
    return given


@contextmanager
def _unseen(stream: TextIO) -> Iterator[None]:
    """The terminal shows nothing of what is typed. A stream that only stands for one is left as it is."""
    import io

    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, io.UnsupportedOperation):
        yield
        return
    import termios

    before = termios.tcgetattr(descriptor)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
