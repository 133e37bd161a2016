"""Why: a real server is a process that is started in a folder, answers after a while, and can be hurt on purpose."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom

PATIENCE = 60.0
"""Seconds that a server may take to start or to stop."""


class Server:
    """One server in ``folder``, which keeps its data and log. ``argv`` starts it; ``ready``: whether it answers."""

    def __init__(
        self,
        name: str,
        folder: Path,
        argv: Sequence[str],
        url: str,
        ready: Callable[[], bool],
        *,
        environ: Mapping[str, str] | None = None,
        prepare: Callable[[], None] = lambda: None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.folder = folder
        self.url = url
        self.pid: int | None = None
        self._argv = list(argv)
        self._ready = ready
        self._environ = dict(environ or {})
        self._prepare = prepare
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it (again: with the data it had) and wait until it answers. One that does not is not left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environ},
                cwd=self.folder,
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            self.wait_until_ready()
        except BaseException:
            if self._process.poll() is None:
                self.kill()
            self.pid = self._process = None
            raise

    def wait_until_ready(self) -> None:
        """Return when it answers; raises RuntimeError with its log when it has ended instead."""
        end = time.monotonic() + PATIENCE
        while not self._ready():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > end:
                log = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} {'ended' if ended else 'does not answer'}:\n{log}")
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it started: SIGSTOP and SIGCONT hold it and let it go on."""
        assert self.pid is not None
        os.killpg(self.pid, number)
        while number == signal.SIGSTOP and not _stands_still(self.pid):
            time.sleep(0.001)

    def kill(self) -> None:
        """End it without a chance to tidy up, as a power cut would; ``start`` brings it back."""
        self.signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End it in order."""
        if self.pid is None:
            return
        try:
            os.kill(self.pid, self._stop_signal)
        except ProcessLookupError:
            self.pid = None
            return
        self._wait()

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(PATIENCE)
        self.pid = self._process = None


def _stands_still(pid: int) -> bool:
    """Whether all threads of a process are stopped: a signal takes a moment to reach those that run."""
    stats = [task.joinpath("stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.rpartition(")")[2].split()[0] in ("T", "t", "Z", "X") for stat in stats)


def free_port() -> int:
    """A port of loopback that nobody listens on just now, and that no connection out of here is given."""
    chance = SystemRandom()  # the tests' own is seeded, in every process alike
    while True:
        port = chance.randrange(12_000, 32_000)
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def listens(port: int) -> bool:
    """Whether something accepts connections on this port of loopback."""
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0
