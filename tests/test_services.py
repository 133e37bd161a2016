"""Servers of tests leave nothing behind, however they fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.services.base import Server


def test_a_server_that_does_not_answer_is_not_left(tmp_path: Path) -> None:
    begun: list[int] = []

    def ready() -> bool:
        assert server.pid is not None
        begun.append(server.pid)
        raise TimeoutError

    server = Server("odd", tmp_path, ["sleep", "600"], "", ready)
    with pytest.raises(TimeoutError):
        server.start()
    assert server.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0], 0)


def test_nor_is_one_that_has_ended(tmp_path: Path) -> None:
    server = Server("odd", tmp_path, ["sh", "-c", "echo no room; exit 3"], "", lambda: False)
    with pytest.raises(RuntimeError, match="no room"):
        server.start()
    assert server.pid is None
