"""The Consul store passes the suite, sealed and not."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Store
from tests.conformance.suite import Conformance, Opener
from tests.services import shared_url
from tests.state.kit import key_source

LAG = 12.0
"""A session of 10 s may be reaped after 20, and its entries a little later."""


def opener_of(url: str, folder: Path, *, sealed: bool = False) -> Opener:
    """Handles on a part of the server that is this test's own."""
    own = f"{url}/{uuid.uuid4().hex}"

    def opened() -> Store:
        store = open_store(own, Options(folder, 60.0))
        return Sealed(store, key_source()) if sealed else store

    return Opener(opened, time.sleep, f"sealed+{own}" if sealed else own, str(folder), lag=LAG)


class TestConsul(Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(shared_url("consul"), tmp_path)


class TestSealedConsul(Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(shared_url("consul"), tmp_path, sealed=True)
