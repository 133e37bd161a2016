"""docs/coming-from.md teaches what works: its Lua is taken, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sloth_runner.modules.habits import CALLS
from sloth_runner.reference.entries import find, names
from tests.lua.driver import Desk

TEXT = (Path(__file__).parents[1] / "docs" / "coming-from.md").read_text(encoding="utf-8")
MODULES = TEXT.partition("| Ansible's module |")[2].partition("\n\n")[0].splitlines()[2:]


@pytest.mark.parametrize("code", re.findall(r"```lua\n(.*?)```", TEXT, re.DOTALL))
def test_its_lua_is_taken(tmp_path: Path, code: str) -> None:
    Desk(tmp_path).load(code)


@pytest.mark.parametrize("row", MODULES)
def test_modules_are_called_as_it_says(row: str) -> None:
    theirs, ours = (re.findall(r"`([^`]+)`", cell) for cell in row.strip("|").split("|"))
    for name in ours or theirs:
        assert find(name), name
    for name in theirs:
        meant = CALLS.get(name, name)
        assert any(our == meant or our.startswith(f"{meant}.") for our in ours or theirs), name


def test_what_is_meant_is_there_and_what_is_there_is_not_hidden() -> None:
    for theirs, ours in CALLS.items():
        assert find(ours), ours
        assert theirs not in names() or theirs in ("template", "systemd")
