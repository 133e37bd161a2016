"""Why: starting an SSH server takes a while; the tests that do it no harm share one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.sshd import SSHServer


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
    """A server that a client whose home is ``sshd.home`` knows, and may log in to."""
    server = SSHServer(Path(tmp_path_factory.mktemp("sshd")))
    server.start()
    try:
        yield server
    finally:
        server.stop()
