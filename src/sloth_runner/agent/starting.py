"""Why: how a program is started, and how its end is told, is the same whoever watches it in between.

Standard library only; runs on Python 3.8.
"""

from __future__ import annotations

import errno
import os

from sloth_runner.agent.identity import spawn_as
from sloth_runner.agent.looking import look
from sloth_runner.agent.names import raw
from sloth_runner.ops import FOLDER, OpError, Ran, Stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sloth_runner.agent.identity import Spawn
    from sloth_runner.agent.output import Capture
    from sloth_runner.ops import Exec

BASE = ("PATH", "HOME", "LANG")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What programs get of an environment: PATH, HOME and LANG, no more."""
    base = {"PATH": DEFAULT_PATH, **{key: environ[key] for key in BASE if environ.get(key)}}
    if "HOME" not in base:
        base["HOME"] = home()
    return base


def home() -> str:
    """The home folder of the user we are."""
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def prepare(op: Exec, base: Mapping[str, str]) -> tuple[Spawn, str]:
    """How to start the program, and where. Raises OpError."""
    argv = list(op.argv) if op.line is None else ["/bin/sh", "-c", no_option(op.line)]
    spawn = spawn_as(op.user, argv, base, op.env)
    cwd = op.cwd if op.cwd is not None else spawn.env["HOME"]
    if look(Stat(cwd, follow=True)).kind != FOLDER:
        raise OpError("no-folder", cwd, "there is no such folder to start a command in")
    return spawn, cwd


def no_option(line: str) -> str:
    """A line as the shell takes it: one that begins with a sign would pass for an option."""
    return " " + line if line.startswith(("-", "+")) else line


def as_bytes(text: str) -> bytes:
    """Text as the bytes it stands for. Raises OpError for what no program can be given."""
    if "\0" in text:
        raise OpError("bad-path", text.replace("\0", "␀"), "holds a NUL byte, which nothing can be given")
    return raw(text)


def not_started(error: OSError, spawn: Spawn, cwd: str) -> OpError:
    """Why a program could not be started."""
    program = spawn.argv[0]
    if isinstance(error, FileNotFoundError):
        if spawn.sudo is not None:
            return OpError("not-found", "sudo", f"is needed to run as {spawn.sudo}, and is not installed")
        where = f"is in no folder of PATH ({spawn.env['PATH']})"
        if "/" in program:
            there = os.path.exists(os.path.join(cwd, program))
            where = "there is no such program"
            where = (
                "what runs it (the interpreter behind #!, or a binary's loader) is not there"
                if there
                else where
            )
        return OpError("not-found", program, where)
    if isinstance(error, PermissionError):
        return OpError("denied", program, f"can't be started (in {cwd}): permission denied")
    reasons = {
        errno.ENOEXEC: "it is no program for this machine, or a script whose first line names no interpreter (#!)",
        errno.ETXTBSY: "it is open for writing by another program",
    }
    why = reasons.get(error.errno or 0, error.strerror or str(error))
    kind = "files" if error.errno == errno.EMFILE else "system"
    return OpError(kind, program, f"can't be started: {why}")


def ran(code: int, out: Capture, err: Capture, left_open: bool) -> Ran:
    """How a program ended; ``code`` below 0 is the number of the signal that killed it."""
    name = None
    if code < 0:
        import signal

        known = {int(number): number.name for number in signal.Signals}
        name = known.get(-code, f"signal {-code}")
        code = 128 - code
    return Ran(code, name, out.content(), err.content(), (out.cut, err.cut), left_open)
