"""Why: a pattern that means other files in a plan than in a run makes the plan lie, and one that follows links never
ends."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.agent.matching import compiled, fits
from sloth_runner.agent.perform import perform, takes_time
from sloth_runner.ops import Glob, Matches

NAMES = st.sampled_from(("a", "b", "ab", ".a", "[a]", "ü"))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PARTS = st.sampled_from(
    ("**", "*", "?", "a*", ".*", "[ab]", "[!a]", "**b", "a", "b", ".a", "..", ".", "", "[a", "[[]a]")
)
PATTERNS = st.lists(PARTS, min_size=1, max_size=4).map("/".join).filter(lambda text: not text.startswith("/"))


def found(pattern: str, base: Path) -> list[str]:
    matches = perform(Glob((pattern,), str(base)))
    assert isinstance(matches, Matches)
    return [os.path.relpath(path, base) for path, _ in matches.files]


def grow(root: Path, paths: list[str]) -> None:
    for path in paths:
        parent = (root / path).parent
        if not any(one.is_file() for one in (parent, *parent.parents)) and not (root / path).exists():
            parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(path)


@given(st.lists(PATHS, max_size=6), PATTERNS)
def test_what_a_walk_finds_is_what_a_pattern_names(paths: list[str], pattern: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "p", "q", "x[y]", "*")  # as deep as a pattern may go up
        base.mkdir(parents=True)
        grow(base, paths)
        files = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
        meant = [os.path.relpath(path, base) for path in files if fits(compiled(pattern, str(base)), path)]
        assert found(pattern, base) == meant


@given(st.lists(PATHS, max_size=6), PATTERNS)
def test_patterns_are_those_of_glob(paths: list[str], pattern: str) -> None:
    import glob

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        grow(base, paths)
        if not glob.has_magic(pattern) or ".." in pattern.split("/"):
            return  # a folder means all in it; whether what ".." leaves is there does not matter
        names = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207 - pathlib's means dots, too
        meant = {os.path.normpath(name) for name in names if (base / name).is_file() and name[-1] != "/"}
        assert found(pattern, base) == sorted(meant)


def test_links_in_a_circle_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "f").write_text("x")
    (tmp_path / "loop" / "g").symlink_to("f")
    (tmp_path / "loop" / "a").symlink_to(".")
    (tmp_path / "loop" / "b").symlink_to("..")
    assert found("loop/**", tmp_path) == ["loop/f", "loop/g"]
    assert found("**/f", tmp_path) == ["loop/f"]
    assert found("loop/*/f", tmp_path) == ["loop/a/f"], "a name that the pattern gives may be a link"
    assert found("loop/a/**/g", tmp_path) == ["loop/a/g"]
    assert found("loop/b/loop", tmp_path) == ["loop/b/loop/f", "loop/b/loop/g"]


def test_a_walk_is_waited_for() -> None:
    assert takes_time(Glob(("*",), "/"))
