"""The S3 store passes the suite, on a real server; and a sealed one on it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Store
from tests.conformance.suite import Conformance, Opener
from tests.services import shared_url
from tests.services.s3 import part
from tests.state.kit import key_source

TTL, LAG = 2.0, 3.0


def opener_of(wrap: Callable[[Store], Store], scheme: str, folder: Path) -> Opener:
    """A prefix of the shared server's bucket. What is short for a lease there: its times are whole seconds."""
    url = part(shared_url("s3"), uuid.uuid4().hex)
    return Opener(
        lambda: wrap(open_store(url, Options(folder, 60.0))),
        time.sleep,
        scheme + url,
        str(folder),
        ttl=TTL,
        lag=LAG,
    )


class TestS3(Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(lambda store: store, "", tmp_path)


class TestSealedS3(Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(lambda store: Sealed(store, key_source()), "sealed+", tmp_path)
