"""Law: after prune a machine is as if what the file no longer names had never been in it.

Random short task files over a small tree that holds something already; lines come and go between three runs.
``--check`` tells what prune does, a second prune has nothing to do, and what the file still names is as it was.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.program.kit import Home
from tests.program.leftovers import task, tree, tried_and_done

LAST = 2
"""The number of the last run; the first is 0."""
Line = tuple[str, int, int]
"""A line, and the first and the last run that it is in."""
NAMES = ("a", "a", "b", "b", "d", "d/x", "d/x", "d/e", "d/e/y", "l", "n", "n/z")
MODES = ("", "", ', mode = "0700"', ', mode = "0644"')
CREATE = ("", ", create = true", ', state = "absent"')

WRITE = 'file.write({dest = "ROOT/n/m/z", content = ""})'
FOLDER = 'file.directory({path = "ROOT/n", mode = "0700"})'
LINE = 'file.line({path = "ROOT/n/m/z", line = "one", create = true})'
ITSELF = 'file.attributes({path = "ROOT/n/m/z", mode = "0600"})'
BELOW = 'file.directory({path = "ROOT/n/m"})'


@st.composite
def calls(draw: st.DrawFn) -> str:
    """One call that prune can undo, or has no need to, as a line of Lua."""
    path = f'path = "ROOT/{draw(st.sampled_from(NAMES))}"'
    dest = path.replace("path", "dest", 1)
    mode, create = draw(st.sampled_from(MODES)), draw(st.sampled_from(CREATE))
    number = draw(st.integers(1, 2))
    content = json.dumps(draw(st.sampled_from(("", "one\n", "two\n"))))
    target = draw(st.sampled_from(("a", "d", "none")))
    return draw(
        st.sampled_from(
            (
                f"file.write({{{dest}, content = {content}{mode}}})",
                f'file.copy({{{dest}, src = "src"{mode}}})',
                f"file.directory({{{path}{mode}}})",
                f"file.absent({{{path}, recursive = true}})",
                f'file.link({{{path}, target = "{target}", replace = true}})',
                f'file.line({{{path}, line = "line {number}"{create}}})',
                f'file.block({{{path}, block = "block {number}", name = "m{number}"{create}}})',
                f'file.set_key({{{path}, key = "k{number}", value = {number}, format = "ini"{create}}})',
                f'file.attributes({{{path}, mode = "06{number}0"}})',
                f"file.touch({{{path}}})",
            )
        )
    )


def world(folder: Path) -> Home:
    """A user, and a tree ``t`` with something in it."""
    home = Home(folder)
    root = home.cwd / "t"
    (root / "d").mkdir(parents=True)
    (root / "a").write_text("one\n")
    (root / "l").symlink_to("a")
    (root / "d" / "x").write_text("old\n")
    (root / "d" / "x").chmod(0o604)
    home.file("src", "two\n")
    return home


def changes(home: Home) -> list[int] | None:
    """Run; the lines that changed something. None: it failed."""
    said = home.run("run", "site.sloth", "-o", "json", code=None)
    if said.code:
        return None
    document = said.json
    return [call["line"] for ran in document["tasks"] for call in ran["calls"] if call["changed"]]


def whole(line: str) -> str | None:
    """The path that a line names; None if it is about a part of a file."""
    found = re.match(r'file\.(?!line|block|set_key)\w+\(\{\w+ = "([^"]+)"', line)
    return found and found.group(1)


def check(folder: Path, lines: list[Line]) -> None:
    """Apply the lines of each run, and prune."""
    home, fresh = world(folder / "1"), world(folder / "2")
    for number in range(LAST + 1):
        task(home, *(line for line, first, last in lines if first <= number <= last))
        applied = home.run("run", "site.sloth", code=None).code == 0
    settled = applied and changes(home) == []
    rows = tried_and_done(home)
    after = tree(home)
    assert all(row["action"] == "keep" for row in tried_and_done(home))
    assert tree(home) == after
    if not settled:
        return
    assert changes(home) == [], "what is named still is as it was"
    gone = [line for line, _, last in lines if last < LAST]
    left = {whole(line) for line, _, last in lines if last == LAST} - {None}
    undone = all(row["action"] != "keep" for row in rows) and not any("absent" in line for line in gone)
    undone = undone and left.isdisjoint(map(whole, gone))  # what is named still is not taken back in part
    task(fresh, *(line for line, _, last in lines if last == LAST))
    if undone and fresh.run("run", "site.sloth", code=None).code == 0:
        assert after == tree(fresh), rows


def test_a_pruned_machine_is_as_if_it_had_never_been_otherwise(soak: bool) -> None:
    spans = st.sampled_from([(0, 0), (0, 1), (1, 1), (0, LAST), (0, LAST), (1, LAST), (LAST, LAST)])

    @settings(max_examples=400 if soak else 12)
    @given(st.lists(st.builds(lambda line, span: (line, *span), calls(), spans), min_size=1, max_size=6))
    @example([(WRITE, 0, 1), (BELOW, 0, LAST)])
    @example([(LINE, 0, 1), (ITSELF, 0, LAST)])
    def law(lines: list[Line]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            check(folder, lines)
        finally:
            shutil.rmtree(folder)

    law()


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([(WRITE, False), (FOLDER, True)], ["n"]),
        ([(WRITE, False), (FOLDER, False)], []),
        ([(WRITE, True), (FOLDER, False)], ["n", "n/m", "n/m/z"]),
        ([(WRITE, False), (BELOW, True)], ["n", "n/m"]),
        ([(WRITE, False), (BELOW, False), (FOLDER, True)], ["n"]),
        ([(WRITE, False), (BELOW, True), (FOLDER, False)], ["n", "n/m"]),
        ([(LINE, False), (ITSELF, True)], ["n", "n/m", "n/m/z"]),
        ([(LINE, False), (ITSELF, False)], []),
        ([(LINE, False), (ITSELF, True), (FOLDER, False)], ["n", "n/m", "n/m/z"]),
    ],
)
def test_what_a_call_brought_beside_stays_as_long_as_it_is_named_itself(
    tmp_path: Path, lines: list[tuple[str, bool]], left: list[str]
) -> None:
    home = world(tmp_path)
    before = tree(home)
    task(home, *(line for line, _ in lines))
    home.run("run", "site.sloth")
    task(home, *(line for line, stays in lines if stays))
    assert all(row["action"] != "keep" for row in tried_and_done(home))
    assert sorted(tree(home).keys() - before.keys()) == left
    task(home)
    assert all(row["action"] != "keep" for row in tried_and_done(home))
    assert tree(home) == before
