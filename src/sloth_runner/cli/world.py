"""Why: a command sees the outside through one object, so that tests hand in streams, clock and width."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sloth_runner.plain import NamedTuple, TextIO


class World(NamedTuple):
    """The outside. ``clock``: seconds since the epoch; ``new_id``: 128 random bits in hex; ``sleep`` waits
    seconds; ``columns``: the terminal's width now. The ``*_tty`` flags say which streams are a terminal.
    ``who``: user and host, where not those of this process."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    environ: Mapping[str, str]
    cwd: Path
    clock: Callable[[], float]
    new_id: Callable[[], str]
    sleep: Callable[[float], None]
    columns: Callable[[], int]
    stdin_tty: bool
    stdout_tty: bool
    stderr_tty: bool
    who: tuple[str, str] | None = None


def system_world() -> World:
    """The real one. Standard output and error take any text: what their encoding lacks is escaped. One that was
    closed before the program began (``>&-``) has nothing to read, takes no result, and swallows what is said."""
    stdin, stdout, stderr = _streams()
    for stream in (stdout, stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    return World(
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        environ=os.environ,
        cwd=_cwd(),
        clock=time.time,
        new_id=lambda: os.urandom(16).hex(),
        sleep=time.sleep,
        columns=_columns,
        stdin_tty=_is_tty(stdin),
        stdout_tty=_is_tty(stdout),
        stderr_tty=_is_tty(stderr),
    )


def _streams() -> tuple[TextIO, TextIO, TextIO]:
    """Standard input, output and error; Python has None where one is closed.

    The number of one that is closed is taken, lowest first: else the next file that is opened gets it, and what is
    meant for standard error ends up in a database. Output is opened such that nothing can be written: a result that
    nobody gets is an error, as on a full disk.
    """
    # The program's own variables may be None, whatever their type says.
    given: tuple[TextIO | None, ...] = (sys.stdin, sys.stdout, sys.stderr)
    stdin, stdout, stderr = given
    return (
        _nowhere(os.O_RDONLY, "r") if stdin is None else stdin,
        _nowhere(os.O_RDONLY, "w") if stdout is None else stdout,
        _nowhere(os.O_WRONLY, "w") if stderr is None else stderr,
    )


def _nowhere(flags: int, mode: str) -> TextIO:
    raw = io.FileIO(os.open(os.devnull, flags), mode, closefd=False)
    return io.TextIOWrapper(
        io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw), encoding="utf-8"
    )


def _cwd() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # the folder was removed under us
        return Path("/")


def _is_tty(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _columns() -> int:
    for descriptor in (1, 2, 0):
        try:
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            continue
    return 80
