"""The PostgreSQL store passes the suite, on a real server; each test in a schema of its own."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Store
from tests.conformance.suite import Conformance, Opener
from tests.services import shared_url
from tests.state.kit import key_source

_NUMBERS = itertools.count()


def fresh_url() -> str:
    """A schema of the shared server that nobody else has."""
    return f"{shared_url('postgres')}?schema=t{os.getpid()}_{next(_NUMBERS)}"


def dropped(url: str) -> None:
    """Take the schema away again."""
    import psycopg

    base, _, schema = url.partition("?schema=")
    with psycopg.connect(base, autocommit=True, options="-c client_min_messages=warning") as server:
        server.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


class _Postgres(Conformance):
    scheme = ""
    wrap: Callable[[Store], Store]

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Iterator[Opener]:
        url = fresh_url()
        options = Options(tmp_path, patience=30.0)
        yield Opener(
            lambda: type(self).wrap(open_store(url, options)),
            time.sleep,
            self.scheme + url,
            str(tmp_path),
            ttl=0.5,
        )
        dropped(url)


class TestPostgres(_Postgres):
    wrap = staticmethod(lambda store: store)


class TestSealedPostgres(_Postgres):
    scheme = "sealed+"
    wrap = staticmethod(lambda store: Sealed(store, key_source()))
