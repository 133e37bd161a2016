"""Why: one server is enough for all tests that only read, or write where no other test looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.kit import Ui, make_home


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """A UI with a session, on a home with a little of everything."""
    made = Ui(make_home(tmp_path_factory.mktemp("ui"))).enter()
    yield made
    made.close()
