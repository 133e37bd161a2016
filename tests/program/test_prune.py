"""Why: prune takes things away: it must take no more than its own, and put everything back as it was, also in pieces."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sloth_runner.state.layout import LOCAL
from sloth_runner.state.ledger import Entry, Intent, Ledger, entries
from tests.program.kit import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    return home


def task(home: Home, *lines: str, name: str = "t", file: str = "site.sloth", more: str = "") -> None:
    """A task file with one task of these lines; ROOT is the folder ``t``."""
    body = "\n".join(lines)
    text = f'task({{name = "{name}", run = function()\n{body}\nend}})\n{more}'
    home.file(file, text.replace("ROOT", str(home.cwd / "t")))


def tree(home: Home) -> dict[str, object]:
    """All below ``t``: kind, mode, content."""
    root = home.cwd / "t"
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), what)
    return found


def prune(home: Home, *more: str) -> dict[str, str]:
    """Prune; the actions by file name."""
    document = home.run("prune", "site.sloth", "--yes", "-o", "json", *more).json
    return {Path(row["address"]).name: row["action"] for row in document["resources"]}


def test_a_link_that_a_file_took_the_place_of_is_put_back(home: Home) -> None:
    (home.cwd / "t" / "l").symlink_to("nowhere")
    before = tree(home)
    task(home, 'file.write({dest = "ROOT/l", content = "x"})')
    home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"l": "restore"}
    assert tree(home) == before


def test_a_content_first_touched_after_the_mode_is_put_back(home: Home) -> None:
    path = home.cwd / "t" / "a"
    path.write_text("old")
    path.chmod(0o604)
    before = tree(home)
    task(home, 'file.write({dest = "ROOT/a", content = "old", mode = "0600"})')
    home.run("run", "site.sloth")
    task(home, 'file.write({dest = "ROOT/a", content = "new", mode = "0600"})')
    home.run("run", "site.sloth")
    task(home)
    assert prune(home) == {"a": "restore"}
    assert tree(home) == before
