"""Why: what others changed and what a later call of ours changed are told apart, also where little is known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.engine import since
from sloth_runner.engine.drifting import MISSING, OK, UNKNOWN, Found, look_all, without_ours
from sloth_runner.engine.recording import covered
from sloth_runner.modules import kinds
from sloth_runner.state.ledger_records import Entry
from sloth_runner.transport.local import LocalTransport
from sloth_runner.transport.loop import Loop

ENTRY = Entry(
    "file.line", "/f#x", {"path": "/f"}, {"line": "x"}, {"line": "x"}, None, {}, True, None, None, 1.0, 5.0,
    ("ann", "host", 1, "run", "task"), "stack", (), 1, "file.line", file="ours",
)  # fmt: skip
WRITTEN = ENTRY._replace(kind="file", id="/f", params={}, applied={"content": "theirs"}, file="", time=7.0)


def named(entry: Entry | None) -> str | None:
    """The task of a call."""
    return None if entry is None else entry.by[4]


def at(time: float, task: str, **more: Any) -> Entry:
    """An edit of the same file."""
    return ENTRY._replace(id=f"/f#{task}", time=time, by=(*ENTRY.by[:4], task), file="new", **more)


@pytest.mark.parametrize(
    ("about_it", "digest", "task"),
    [
        ((at(6.0, "c"), at(8.0, "a"), at(7.0, "b")), "new", "a"),
        ((at(8.0, "c"), at(6.0, "a")), "another", None),
        ((at(4.0, "a"),), "new", None),
        ((ENTRY,), "ours", None),
        ((at(9.0, "gone")._replace(file="", applied=None), at(8.0, "a")), "new", "a"),
        ((at(9.0, "a")._replace(file="", applied={"content": "new"}),), "new", "a"),
        (
            (at(9.0, "a")._replace(salt="s", file=str(covered({"content": "new"}, "s")["content"])),),
            "new",
            "a",
        ),
        ((at(9.0, "a")._replace(salt="s", file="new"),), "new", None),
        ((), "new", None),
    ],
    ids=[
        "the last",
        "others",
        "an earlier one",
        "itself",
        "gone",
        "the whole",
        "a secret",
        "no secret",
        "nobody",
    ],
)
def test_whose_call_left_the_file_as_it_is(
    about_it: tuple[Entry, ...], digest: str, task: str | None
) -> None:
    assert named(since.author(ENTRY, about_it, digest)) == task


def test_what_calls_on_other_resources_change_too() -> None:
    everything = frozenset({"content", "mode", "extra", "line"})
    assert since.of_ours(kinds()["file.line"], everything) == everything
    assert since.of_ours(kinds()["file"], everything) == {"content"}
    lists = [kind for kind in kinds().values() if kind.lists]
    assert lists
    for kind in lists:
        assert since.of_ours(kind, everything | {kind.lists}) == {"content", kind.lists}


def test_a_call_outside_of_a_run_is_told_without_one() -> None:
    assert since.words(ENTRY) == "file.line of task task changed it since, in run run"
    outside = ENTRY._replace(by=("ann", "host", 1, None, "task"))
    assert since.words(outside) == "file.line of task task changed it since"


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as found:
        yield found


def test_each_resource_is_looked_at_whatever_is_wrong_with_another(tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "folder").mkdir()

    def entry(kind: str, name: str) -> Entry:
        path = str(tmp_path / name)
        if kind != "file.line":
            return ENTRY._replace(kind=kind, id=path, params={}, applied={"type": "file"})
        return ENTRY._replace(id=f"{path}#x", params={"path": path, "line": "x"}, applied={"line": "x"})

    recorded = [
        entry("of.tomorrow", "there"), entry("file", "there"), entry("file.line", "folder"),
        entry("file.line", "there"), entry("file", "none"),
    ]  # fmt: skip
    transport = LocalTransport(os.environ, grace=0.2)
    found = look_all(kinds(), transport, recorded, lambda digest: None, loop)
    assert [one.entry for one in found] == recorded
    assert [one.status for one in found] == [UNKNOWN, OK, UNKNOWN, OK, MISSING]
    assert found[0].reason == "this version has no kind of resource 'of.tomorrow'"
    assert found[2].reason is not None and "folder" in found[2].reason
    for one in found:
        assert without_ours(kinds(), transport, one, {}, loop) == one


def test_what_a_later_call_made_is_no_drift_but_its_mode_is(tmp_path: Path, loop: Loop) -> None:
    path = tmp_path / "f"
    path.write_text("new")
    recorded = WRITTEN._replace(id=str(path), applied={"content": "old", "mode": "0600"}, time=5.0)
    rows = (("content", "old", "new"), ("mode", "0600", "0644"))
    found = Found(recorded, "drifted", rows)
    transport = LocalTransport(os.environ, grace=0.2)
    digest = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"  # of the word
    edit = at(8.0, "a")._replace(file=digest)
    told = without_ours(kinds(), transport, found, {str(path): [recorded, edit]}, loop)
    assert told.attributes == rows[1:] and told.reason == since.words(edit)
    assert without_ours(kinds(), transport, found, {str(path): [recorded]}, loop) == found
    path.unlink()
    assert without_ours(kinds(), transport, found, {str(path): [edit]}, loop) == found
