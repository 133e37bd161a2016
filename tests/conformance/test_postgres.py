"""The PostgreSQL store passes the suite, on a real server; each test in a schema of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Store
from tests.conformance.bulk import BulkLaws
from tests.conformance.suite import Conformance, Opener
from tests.services import postgres
from tests.state.kit import key_source


class _Postgres(BulkLaws, Conformance):
    scheme = ""
    wrap: Callable[[Store], Store]

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Iterator[Opener]:
        options = Options(tmp_path, patience=30.0)
        with postgres.schema() as url:
            yield Opener(
                lambda: type(self).wrap(open_store(url, options)),
                time.sleep,
                self.scheme + url,
                str(tmp_path),
                ttl=0.5,
            )


class TestPostgres(_Postgres):
    wrap = staticmethod(lambda store: store)


class TestSealedPostgres(_Postgres):
    scheme = "sealed+"
    wrap = staticmethod(lambda store: Sealed(store, key_source()))
