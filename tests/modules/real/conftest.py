"""Why: the program that plays rounds is started once for all tests that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.modules.real.laws import Driver
from tests.modules.ways import WAYS
from tests.scratch import scratch_or_skip


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Plays rounds on copies of this machine; where there can be none, a visible skip (in CI: a failure)."""
    folder = tmp_path_factory.mktemp("rounds")
    scratch_or_skip(folder).close()  # says why, where namespaces are denied
    own = Driver(tmp_path_factory.mktemp("spaces"))
    yield own
    own.close()


@pytest.fixture(scope="session", params=list(WAYS))
def agent_driver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    """The same, where modules work through an agent on a pipe, behind SSH, and as a service."""
    folder = tmp_path_factory.mktemp("rounds")
    scratch_or_skip(folder).close()  # says why, where namespaces are denied
    own = Driver(tmp_path_factory.mktemp("spaces"), way=request.param)
    yield own
    own.close()


@pytest.fixture(scope="session")
def systemd_driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Plays rounds on one machine that runs systemd."""
    with scratch_or_skip(tmp_path_factory.mktemp("systemd"), systemd=True) as scratch:
        own = Driver(tmp_path_factory.mktemp("unused"), scratch.argv(()), here=True)
        yield own
        own.close()
