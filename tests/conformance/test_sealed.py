"""Why: a sealed store is a store: what lies below may be any, and nothing above can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloth_runner.state.backends.bootclock import LeaseClock, boot_id
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.sealed import Sealed
from tests.conformance.bulk import BulkLaws
from tests.conformance.suite import Conformance, Opener
from tests.state.kit import Clock, key_source


class TestSealedMemory(Conformance):
    @pytest.fixture
    def opener(self) -> Opener:
        clock = Clock()

        def advance(seconds: float) -> None:
            clock.now += seconds

        return Opener(lambda: Sealed(MemoryStore(clock), key_source()), advance, None, "")


class TestSealedSQLite(BulkLaws, Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        clock = Clock()
        folder = tmp_path / "state"

        def advance(seconds: float) -> None:
            clock.now += seconds

        def open_store() -> Sealed:
            return Sealed(SQLiteStore(folder, lease_clock=LeaseClock(boot_id(), clock)), key_source())

        return Opener(open_store, advance, "sealed+sqlite", str(folder))
