"""Why: tests of prune apply task files, change them, and compare what is left of a folder."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from tests.program.kit import Home


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
        what = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), what)
    return found


def prune(home: Home, *more: str) -> dict[str, str]:
    """Prune; the actions by file name."""
    document = home.run("prune", "site.sloth", "--yes", "-o", "json", *more).json
    return {Path(row["address"]).name: row["action"] for row in document["resources"]}


def tried_and_done(home: Home) -> list[dict[str, Any]]:
    """Prune; its rows. ``--check`` must have told the same before, and changed nothing."""
    before = tree(home)
    told = home.run("prune", "site.sloth", "--check", "-o", "json").json["resources"]
    assert tree(home) == before
    done: list[dict[str, Any]] = home.run("prune", "site.sloth", "--yes", "-o", "json").json["resources"]
    assert told == done
    return done
