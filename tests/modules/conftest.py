"""Why: the same laws hold over every way to a machine; the ways are opened once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.modules.kit import Way
from tests.modules.ways import WAYS


def opened(name: str, factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The way of that name, for as long as it is needed."""
    with WAYS[name](factory.mktemp(name), factory.mktemp("there")) as way:
        yield way


@pytest.fixture(scope="session")
def stdio_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """An agent that is our child."""
    yield from opened("stdio", tmp_path_factory)


@pytest.fixture(scope="session")
def ssh_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """An agent behind OpenSSH."""
    yield from opened("ssh", tmp_path_factory)


@pytest.fixture(scope="session")
def grpc_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """An agent that is a service."""
    yield from opened("grpc", tmp_path_factory)
