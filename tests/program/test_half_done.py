"""Why: a call that fails half-way leaves nothing behind that no command knows of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.program.kit import PROGRAM, Home
from tests.program.leftovers import prune, task, tree

COPY = 'file.copy({src = "tree", dest = "ROOT/d"%s})'
LARGE = 24 << 20
MOST_BLOCKS = (16 << 20) // 512
"""So large may files be, in the words of sh(1)."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user with a folder to copy, and an empty folder ``t`` that tasks may change."""
    home = Home(tmp_path / "home")
    (home.cwd / "t").mkdir()
    (home.cwd / "tree" / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (home.cwd / "tree" / name).write_text(name)
    return home


@pytest.mark.parametrize("follow", ["", ", follow = true"])
def test_what_stands_in_the_way_is_seen_before_anything_is_written(home: Home, follow: str) -> None:
    (home.cwd / "t" / "d").mkdir()
    (home.cwd / "t" / "d" / "sub").symlink_to("/tmp")
    before = tree(home)
    task(home, COPY % follow)
    said = home.run("run", "site.sloth", code=1)
    assert "sub is a symbolic link to /tmp, not a folder" in said.out
    assert "follow = true" not in said.out and f'file.absent("{home.cwd}/t/d/sub")' in said.out
    assert tree(home) == before


def test_what_was_made_before_a_call_failed_is_known_and_pruned(home: Home) -> None:
    (home.cwd / "tree" / "b").write_bytes(b"x" * LARGE)
    task(home, COPY % "")
    limited = ["sh", "-c", f'ulimit -f {MOST_BLOCKS}; exec "$@"', "sh", *PROGRAM, "run", "site.sloth"]
    assert subprocess.run(limited, env=home.env, cwd=home.cwd, capture_output=True).returncode == 1
    assert sorted(tree(home)) == ["d", "d/a"]
    known = home.run("resource", "list", "-o", "json").json["resources"]
    assert [one["address"] for one in known] == [f"file:{home.cwd}/t/{name}" for name in ("d", "d/a")]
    task(home)
    assert prune(home) == {"a": "remove", "d": "remove"}
    assert tree(home) == {}
