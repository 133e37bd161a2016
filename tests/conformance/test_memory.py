"""The memory store passes the suite."""

from __future__ import annotations

import pytest

from sloth_runner.state.backends.memory import MemoryStore
from tests.conformance.suite import Conformance, Opener
from tests.state.kit import Clock


class TestMemory(Conformance):
    @pytest.fixture
    def opener(self) -> Opener:
        clock = Clock()

        def advance(seconds: float) -> None:
            clock.now += seconds

        return Opener(lambda: MemoryStore(clock), advance, None, "")
