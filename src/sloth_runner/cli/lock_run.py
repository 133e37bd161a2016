"""Why: ``lock run`` keeps a lease alive beside a command, and stops the command, children too, if it is lost.

The command has a process group of its own, in the foreground of our terminal if we were there, as a shell does it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sloth_runner import documents
from sloth_runner.cli import text
from sloth_runner.cli.shell import Shell
from sloth_runner.engine.holding import PATIENCE, Holding, Renewer
from sloth_runner.errors import LockHeld, LockLost, SlothError, UsageError
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state import locks

if TYPE_CHECKING:
    import subprocess

    from sloth_runner.state.locks import Held

PAUSE = 0.1
"""Seconds between tries to get the lock."""
GRACE = 5.0
"""Seconds between TERM and KILL for a command whose lock was lost."""


def run_locked(
    shell: Shell, namespace: str, name: str, argv: Sequence[str], ttl: float, wait: float, holder: str
) -> int:
    """Take the lock, run the command, release; returns its exit status (128 + n for signal n).

    Raises LockHeld (nothing was run), LockLost (the command was stopped), UsageError (it can't be run).
    """
    app = shell.app()
    held = _acquire(shell, namespace, name, ttl, wait, holder)
    renewer = Renewer(lambda seconds: app.fresh_store(PATIENCE, seconds), shell.world.clock)
    lost: list[SlothError] = []
    try:
        environ = {**shell.world.environ, "SLOTH_LOCK_NAME": name, "SLOTH_LOCK_TOKEN": str(held.token)}
        with _terminal(shell) as terminal:
            process = _start(argv, environ, str(shell.cwd))
            code = _attend(process, terminal, renewer, held, lost)
    finally:
        renewer.close()
        released = locks.release(app.store(), held, shell.world.clock())
    if lost or not released:
        why = "" if lost else locks.why_lost(app.store(), namespace, name, held.token).words
        raise LockLost(
            lost[0].message if lost else f"the lock {name!r} was lost before the command ended: {why}",
            changed=["the command was stopped" if lost else f"the command ran to its end with status {code}"],
            next=["see who has it now: sloth-runner lock list", "a longer --ttl survives longer stops"],
        )
    return code


def _acquire(shell: Shell, namespace: str, name: str, ttl: float, wait: float, holder: str) -> Held:
    app, clock = shell.app(), shell.world.clock
    owner = app.owner(holder, shell.world.new_id())
    end = clock() + wait
    told = False
    while True:
        found = locks.acquire(app.store(), namespace, name, owner, ttl, clock())
        if isinstance(found, locks.Held):
            longer = locks.lengthened(found, ttl)
            if longer is not None:
                shell.say(text.pictures(longer))
            return found
        if clock() >= end:
            raise _held_by_another(shell, found, wait)
        if not told:
            told = True
            shell.say(
                f"waiting for the lock {text.pictures(name)}, held by {documents.who_text(found.owner.by)}"
            )
        shell.world.sleep(min(PAUSE, max(0.0, end - clock())))


def _held_by_another(shell: Shell, found: locks.Info, wait: float) -> LockHeld:
    from sloth_runner.durations import human

    by = found.owner.by
    after = f" after {human(wait)}" if wait else ""
    return LockHeld(
        f"the lock {found.name!r} is held by {found.owner.holder!r} ({documents.who_text(by)}, pid {by.pid}){after}; "
        f"it {text.lease_end(found.expires, shell.world.clock())}",
        unchanged=["the command was not run"],
        next=["wait for it: --wait 5m", f"see it: sloth-runner lock show {found.name}"],
    )


def _start(argv: Sequence[str], environ: dict[str, str], folder: str) -> subprocess.Popen[bytes]:
    import subprocess

    try:
        return subprocess.Popen(list(argv), env=environ, cwd=folder, process_group=0)  # noqa: S603 - the user's own
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{argv[0]!r} can't be run: {why}", system=repr(error), unchanged=["the command was not run"]
        ) from error


@contextmanager
def _terminal(shell: Shell) -> Iterator[int | None]:
    """The terminal's descriptor if we are in its foreground; it is ours again afterwards."""
    try:
        descriptor = shell.world.stdin.fileno()
        ours = shell.world.stdin_tty and os.tcgetpgrp(descriptor) == os.getpgrp()
    except (OSError, ValueError):
        ours = False
    if not ours:
        yield None
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        yield descriptor
    finally:
        os.tcsetpgrp(descriptor, os.getpgrp())
        signal.signal(signal.SIGTTOU, before)


def _attend(
    process: subprocess.Popen[bytes],
    terminal: int | None,
    renewer: Renewer,
    held: Held,
    lost: list[SlothError],
) -> int:
    """Wait for the command; pass signals on to it, and stop it when the lock is lost."""
    timers: list[threading.Timer] = []

    def stop(error: SlothError) -> None:
        lost.append(error)
        _kill(process, signal.SIGTERM)
        _kill(process, signal.SIGCONT)
        timers.append(threading.Timer(GRACE, _kill, (process, signal.SIGKILL)))
        timers[-1].daemon = True
        timers[-1].start()

    holding = Holding(held, keep=False, until=time.monotonic() + held.ttl)
    holding.on_lost = stop
    before = _pass_on(process)
    try:
        if terminal is not None:
            os.tcsetpgrp(terminal, process.pid)
            _kill(process, signal.SIGCONT)  # it may have read before the terminal was its own
        renewer.add(holding)
        code = _wait(process, terminal)
        renewer.remove(holding)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for timer in timers:
            timer.cancel()
    if lost:
        _kill(process, signal.SIGKILL)  # what the command left running in its group
    return code


def _wait(process: subprocess.Popen[bytes], terminal: int | None) -> int:
    """The exit status; a command that was stopped at the terminal (Ctrl-Z) stops us with it."""
    while True:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode if process.returncode >= 0 else 128 - process.returncode
        if terminal is None:
            continue
        os.tcsetpgrp(terminal, os.getpgrp())
        os.killpg(0, signal.SIGSTOP)
        os.tcsetpgrp(terminal, process.pid)
        _kill(process, signal.SIGCONT)


def _pass_on(process: subprocess.Popen[bytes]) -> dict[int, Any]:
    def handle(number: int, frame: object) -> None:
        _kill(process, number)

    if threading.current_thread() is not threading.main_thread():
        return {}
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return {number: signal.signal(number, handle) for number in numbers}


def _kill(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # all of it has ended
