"""Why: the same laws hold over every way to a machine, so every test that reaches one can be given each of them.

Whatever is at the other end is real: an agent that is our child, OpenSSH's server, ``agent serve`` with certificates.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from sloth_runner.agent.pack import command, packed
from sloth_runner.transport.line import Line
from sloth_runner.transport.loop import Loop
from sloth_runner.transport.pipe import PipeLine
from sloth_runner.transport.remote import Remote
from sloth_runner.transport.ssh import Jumps, line
from tests.daemon.kit import serving
from tests.modules.kit import Way
from tests.services.sshd import SSHServer


@contextmanager
def opened(made: Line) -> Iterator[Way]:
    """The way over a line, for as long as it is needed."""
    loop, there = Loop(), Remote("there", made)
    try:
        yield Way(there, loop)
    finally:
        loop.run(there.aclose())
        loop.close()


@contextmanager
def stdio(folder: Path, home: Path) -> Iterator[Way]:
    """An agent that is our child, and keeps nothing on this machine; AGENT_PYTHON names another Python for it."""
    python = os.environ.get("AGENT_PYTHON") or sys.executable
    argv = ["/bin/sh", "-c", command(packed().name, python, keep=False)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    with opened(PipeLine("pipe://", argv, environ)) as way:
        yield way


@contextmanager
def ssh(folder: Path, home: Path) -> Iterator[Way]:
    """An agent behind OpenSSH."""
    server = SSHServer(folder, home)
    server.start()
    try:
        with opened(line(server.url, Jumps(server.home, {}))) as way:
            yield way
    finally:
        server.stop()


@contextmanager
def grpc(folder: Path, home: Path) -> Iterator[Way]:
    """An agent that is a service."""
    with serving(folder, home=home) as place, opened(place.line()) as way:
        yield way


WAYS: Final[dict[str, Callable[[Path, Path], AbstractContextManager[Way]]]] = {
    "stdio": stdio,
    "ssh": ssh,
    "grpc": grpc,
}
"""By name: how to a machine, with an empty folder for what it takes, and the home of whoever is logged in there."""
