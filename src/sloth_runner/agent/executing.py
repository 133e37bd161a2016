"""Why: a program on a bare machine is run under watch without asyncio, whose loading costs more than most programs.

It runs in a session of its own, so that it and all it has started can be stopped together: TERM, some grace, KILL.
Its output is told as it comes, one piece after the other: whoever hears it slowly slows the program down. Standard
library only; runs on Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from sloth_runner.agent.guarding import GUARD
from sloth_runner.agent.output import Capture
from sloth_runner.agent.starting import as_bytes, not_started, prepare, ran

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sloth_runner.agent.identity import Spawn
    from sloth_runner.ops import Exec, Ran

POLL = 0.02
"""Seconds between two looks whether a process group is empty; the system tells nobody."""
PIECE = 64 << 10


class Overrun(Exception):
    """The program took longer than its ``timeout``, and was stopped; ``said`` is the last that it wrote."""

    def __init__(self, label: str, timeout: float, said: bytes) -> None:
        super().__init__(f"{label} took too long")
        self.label = label
        self.timeout = timeout
        self.said = said


class Cancelled(Exception):
    """The operation was to be stopped, and is."""


class Unstoppable(Exception):
    """The program has to be stopped, but runs as ``user``, whose processes we may not signal."""

    def __init__(self, label: str, user: str, group: int, system: str) -> None:
        super().__init__(system)
        self.label = label
        self.user = user
        self.group = group
        self.system = system


class Running:
    """One program on its way. ``cancel`` may be called from any thread. ``grace``: seconds between TERM and KILL;
    ``linger``: seconds that output is still waited for after the end, while something it started holds it."""

    def __init__(
        self,
        op: Exec,
        base: Mapping[str, str],
        on_output: Callable[[int, bytes], None],
        grace: float = 5.0,
        linger: float = 0.5,
    ) -> None:
        self._op = op
        self._base = base
        self._on_output = on_output
        self._grace = grace
        self._linger = linger
        self._cancelled = threading.Event()
        self._wake: int | None = None
        self._lock = threading.Lock()
        self._captures = {1: Capture(op.output_limit), 2: Capture(op.output_limit)}

    def cancel(self) -> None:
        """Stop it."""
        self._cancelled.set()
        self._ring(b"c")

    def _ring(self, what: bytes) -> None:
        with self._lock:
            if self._wake is not None:
                os.write(self._wake, what)

    def run(self) -> Ran:
        """Run it to its end. Raises OpError, Overrun, Cancelled, Unstoppable."""
        spawn, cwd = prepare(self._op, self._base)
        if self._cancelled.is_set():
            raise Cancelled
        GUARD.ready()
        bell, self._wake = os.pipe()
        try:
            process = self._start(spawn, cwd)
            GUARD.begun(process.pid)
            try:
                return self._watch(process, spawn, bell)
            finally:
                GUARD.ended(process.pid)
                for stream in (process.stdout, process.stderr):
                    if stream is not None:
                        stream.close()
        finally:
            with self._lock:
                os.close(self._wake)
                self._wake = None
            os.close(bell)

    def _start(self, spawn: Spawn, cwd: str) -> subprocess.Popen[bytes]:
        argv = [as_bytes(word) for word in spawn.argv]
        env = {as_bytes(key): as_bytes(value) for key, value in spawn.env.items()}
        given = subprocess.DEVNULL if spawn.script is None else subprocess.PIPE
        try:
            process = subprocess.Popen(  # noqa: S603 - what the task file says
                argv,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=as_bytes(cwd),
                env=env,
                bufsize=0,
                start_new_session=True,
                **other_user(spawn.how),
            )
        except OSError as error:
            raise not_started(error, spawn, cwd) from error
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(spawn.script or b"")
        return process

    def _watch(self, process: subprocess.Popen[bytes], spawn: Spawn, bell: int) -> Ran:
        waiter = threading.Thread(target=self._wait, args=(process,), daemon=True)
        waiter.start()
        try:
            left_open = self._listen(process, bell)
        except BaseException:
            self._stop(process, spawn)
            raise
        finally:
            waiter.join(self._grace)
        return ran(process.wait(), self._captures[1], self._captures[2], left_open)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._ring(b"e")

    def _listen(self, process: subprocess.Popen[bytes], bell: int) -> bool:
        """Hear what the program says up to its end; whether something still holds its output."""
        import selectors

        end = None if self._op.timeout is None else time.monotonic() + self._op.timeout
        ended = False
        assert process.stdout is not None and process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(bell, selectors.EVENT_READ, 0)
            selector.register(process.stdout, selectors.EVENT_READ, 1)
            selector.register(process.stderr, selectors.EVENT_READ, 2)
            while not ended or len(selector.get_map()) > 1:
                left = None if end is None else end - time.monotonic()
                events = selector.select(left) if left is None or left > 0 else []
                if not events:
                    if ended:
                        return True
                    raise Overrun(self._op.label, self._op.timeout or 0.0, self._last_words())
                for key, _ in events:
                    if key.data == 0:
                        os.read(bell, 64)
                        if self._cancelled.is_set():
                            raise Cancelled
                        if not ended:
                            ended, end = True, time.monotonic() + self._linger
                    elif not self._hear(key.fd, key.data):
                        selector.unregister(key.fileobj)
        return False

    def _hear(self, fd: int, stream: int) -> bool:
        piece = os.read(fd, PIECE)
        if piece:
            self._captures[stream].add(piece)
            if not self._op.quiet:
                self._on_output(stream, piece)
        return bool(piece)

    def _last_words(self) -> bytes:
        return (self._captures[2].content() or self._captures[1].content())[-2000:]

    def _stop(self, process: subprocess.Popen[bytes], spawn: Spawn) -> None:
        try:
            stop_group(process.pid, self._grace)
        except PermissionError as error:
            raise Unstoppable(
                self._op.label, spawn.sudo or self._op.user or "", process.pid, str(error)
            ) from error


def stop_group(group: int, grace: float) -> None:
    """End a process group: TERM, up to ``grace`` seconds to leave, KILL. Raises PermissionError."""
    try:
        if send_to_group(group, signal.SIGTERM):
            end = time.monotonic() + grace
            while time.monotonic() < end and send_to_group(group, 0):
                time.sleep(POLL)
    finally:
        send_to_group(group, signal.SIGKILL)


def send_to_group(group: int, number: int) -> bool:
    """Signal a process group (0: only look); False if nobody is left in it. Raises PermissionError."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def other_user(how: Mapping[str, Any]) -> dict[str, Any]:
    """subprocess's arguments for another user, which it knows since Python 3.9."""
    if not how or sys.version_info >= (3, 9):
        return dict(how)

    def become() -> None:
        os.setgroups(how["extra_groups"])
        os.setgid(how["group"])
        os.setuid(how["user"])

    return {"preexec_fn": become}
