"""Why: the same laws hold over every way to a machine; the ways are opened once for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sloth_runner.agent.pack import command, packed
from sloth_runner.transport.line import Line
from sloth_runner.transport.loop import Loop
from sloth_runner.transport.pipe import PipeLine
from sloth_runner.transport.remote import Remote
from sloth_runner.transport.ssh import Jumps, line
from tests.modules.kit import Way
from tests.services.sshd import SSHServer


def opened(made: Line) -> Iterator[Way]:
    """The way over a line, for as long as it is needed."""
    loop, there = Loop(), Remote("there", made)
    yield Way(there, loop)
    loop.run(there.aclose())
    loop.close()


@pytest.fixture(scope="session")
def stdio_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """An agent that is our child."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("agent")), "LANG": "C.UTF-8"}
    yield from opened(PipeLine("pipe://", ["/bin/sh", "-c", command(packed().name)], env))


@pytest.fixture(scope="session")
def ssh_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """An agent behind OpenSSH."""
    server = SSHServer(Path(tmp_path_factory.mktemp("sshd")))
    server.start()
    try:
        yield from opened(line(server.url, Jumps(server.home, {})))
    finally:
        server.stop()
