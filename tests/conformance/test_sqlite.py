"""The SQLite store passes the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloth_runner.state.backends.bootclock import LeaseClock, boot_id
from sloth_runner.state.backends.sqlite import SQLiteStore
from tests.conformance.bulk import BulkLaws
from tests.conformance.suite import Conformance, Opener
from tests.state.kit import Clock


class TestSQLite(BulkLaws, Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        clock = Clock()
        folder = tmp_path / "state"

        def advance(seconds: float) -> None:
            clock.now += seconds

        def open_store() -> SQLiteStore:
            return SQLiteStore(folder, lease_clock=LeaseClock(boot_id(), clock))

        return Opener(open_store, advance, "sqlite", str(folder))
