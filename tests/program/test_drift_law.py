"""Law: drift and the next run tell of the same changes.

Random short task files over a small tree; others edit the tree. Drift is no all-clear exactly when a run repairs
something, or can't; it changes nothing itself, and after the repair it shows no difference.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.program.kit import Home
from tests.program.leftovers import task, tree
from tests.program.test_prune_law import NAMES, calls, changes, world


def write(path: Path) -> None:
    """Other content."""
    path.write_text("edited\n")


def append(path: Path) -> None:
    """Content that is added."""
    with path.open("a") as file:
        file.write("more\n")


def change(path: Path) -> None:
    """The content of our parts, changed."""
    path.write_text(path.read_text().replace("line", "Line").replace("k1", "K1").replace("block", "Block"))


def chmod(path: Path) -> None:
    """Another mode."""
    if not path.is_symlink():
        path.chmod(0o711)


def remove(path: Path) -> None:
    """Nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def folder(path: Path) -> None:
    """A folder in the place of what was there."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        path.mkdir()


def link(path: Path) -> None:
    """A link that leads elsewhere."""
    if path.is_symlink():
        path.unlink()
    path.symlink_to("d")


def touch(path: Path) -> None:
    """Other times alone."""
    path.touch()


WHOLE = 'file.write({dest = "ROOT/b", content = "one"})'
EDITS = (write, append, change, chmod, remove, folder, link, touch)
Edit = tuple[Callable[[Path], None], str]


def edit(home: Home, edits: list[Edit]) -> None:
    """Change the tree, as far as that is possible."""
    for what, name in edits:
        try:
            what(home.cwd / "t" / name)
        except OSError:
            continue


def drifted(home: Home) -> bool:
    """Whether drift shows a difference (exit status 2), or what it can't look at (1); it changes nothing."""
    before = tree(home)
    said = home.run("drift", "-o", "json", "--detailed-exitcode", code=None)
    assert tree(home) == before
    found = {row["status"] for row in said.json["resources"]} - {"ok"}
    assert said.code == (2 if found - {"unknown"} else 1 if found else 0), said
    return said.code != 0


def check(where: Path, lines: list[str], edits: list[Edit]) -> None:
    """Apply, edit, look, repair, look again."""
    home = world(where)
    task(home, *lines)
    if changes(home) is None or changes(home) != []:
        return
    assert not drifted(home)
    edit(home, edits)
    seen = drifted(home)
    repaired = changes(home)
    assert seen is (repaired != []), repaired
    if repaired is not None and changes(home) == []:
        assert not drifted(home)


def test_drift_shows_a_difference_exactly_when_a_run_would_repair_one(soak: bool) -> None:
    edits = st.tuples(st.sampled_from(EDITS), st.sampled_from(NAMES))

    @settings(max_examples=400 if soak else 15)
    @given(st.lists(calls(), min_size=1, max_size=4), st.lists(edits, min_size=1, max_size=6))
    @example(['file.line({path = "ROOT/a", line = "line 1"})'], [(change, "a")])
    @example(['file.write({dest = "ROOT/b", content = ""})'], [(folder, "b")])
    @example([WHOLE, 'file.attributes({path = "ROOT/b", mode = "0600"})'], [(append, "b")])
    @example([WHOLE.replace("}", ', mode = "0600"}'), 'file.touch({path = "ROOT/b"})'], [(chmod, "b")])
    @example(['file.link({path = "ROOT/n", target = "a"})'], [(link, "n")])
    def law(lines: list[str], edits: list[Edit]) -> None:
        where = Path(tempfile.mkdtemp())
        try:
            check(where, lines, edits)
        finally:
            shutil.rmtree(where)

    law()
