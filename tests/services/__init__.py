"""Real servers for tests: one file each. ``scripts/services`` starts and stops them; tests find them here.

A server that tests share is started once (``scripts/services up``) and described in ``.services/NAME.json``. A test
that kills or stops its server starts one of its own with the same class, in a folder of its own.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.services.base import Server

ROOT = Path(__file__).parents[2] / ".services"
NAMES: tuple[str, ...] = ("consul", "etcd", "postgres", "s3")
"""The servers that ``up`` starts; each is the module of this package of that name, which has ``make(folder)``."""


def make(name: str, folder: Path, **settings: Any) -> Server:
    """A server of one's own, not started yet; ``settings`` are its module's own."""
    server: Server = import_module(f"{__name__}.{name}").make(folder, **settings)
    return server


def shared_url(name: str) -> str:
    """The URL of the shared server, to which a test adds what makes its part of it its own.

    Skips the test where the server was not started; in CI that is a failure.
    """
    file = ROOT / f"{name}.json"
    if not file.exists():
        why = f"the {name} server was not started: scripts/services up {name}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    url: str = json.loads(file.read_text())["url"]
    return url
