"""Why: what drift tells of a resource is what its entry says and what is there, and of a secret neither."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.engine.drifting import DRIFTED, MISSING, OK, Found, look_all
from sloth_runner.engine.recording import covered
from sloth_runner.modules import kinds
from sloth_runner.modules.difference import HIDDEN
from sloth_runner.state.ledger_records import Entry
from sloth_runner.transport.local import LocalTransport
from sloth_runner.transport.loop import Loop


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


OURS: dict[str, Any] = {"type": "file", "content": sha("ours\n"), "mode": "0644"}
THEIRS = {"content": sha("theirs\n"), "mode": "0600"}


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as found:
        yield found


def look(
    path: Path,
    loop: Loop,
    applied: dict[str, Any] | None,
    *,
    salt: str = "",
    kept: str | None = "ours\n",
    whole: bool = False,
) -> Found:
    """How a file is met of which this was applied, with what is kept of it."""
    digest = None if kept is None or salt else sha("ours\n")
    known = None if applied is None else covered(applied, salt)
    entry = Entry(
        "file", str(path), {}, known, known, None, {}, True, digest, None, 1.0, 1.0,
        ("ann", "host", 1, "run", "task"), "stack", (), 1, "file.write", salt,
    )  # fmt: skip

    def content(asked: str) -> bytes | None:
        assert asked == digest
        return kept.encode() if kept else None

    transport = LocalTransport(os.environ, grace=0.2)
    (found,) = look_all(kinds(), transport, [entry], content, loop, whole=whole)
    assert found.entry is entry and found.observed is not None and found.reason is None
    return found


def test_what_is_there_and_what_is_not(tmp_path: Path, loop: Loop) -> None:
    path = tmp_path / "f"
    assert look(path, loop, None)[1:4] == (OK, (), None)
    assert look(path, loop, OURS)[1:4] == (MISSING, (("present", True, False),), None)
    path.write_text("ours\n")
    path.chmod(0o644)
    assert look(path, loop, OURS)[1:4] == (OK, (), None)
    assert look(path, loop, None)[1:4] == (DRIFTED, (("present", False, True),), None)


def test_what_differs_is_told_with_what_is_kept(tmp_path: Path, loop: Loop) -> None:
    path = tmp_path / "f"
    path.write_text("theirs\n")
    path.chmod(0o600)
    rows = tuple((name, OURS[name], THEIRS[name]) for name in ("content", "mode"))
    found = look(path, loop, OURS)
    assert found[1:3] == (DRIFTED, rows)
    assert found.diff is not None and "-ours\n+theirs" in found.diff
    assert look(path, loop, OURS, kept="").diff is None, "it is lost"
    assert look(path, loop, OURS, kept=None).diff is None, "it was too large"
    only = look(path, loop, {"mode": "0644"})
    assert only[1:4] == (DRIFTED, rows[1:], None)
    seen = only.observed
    assert seen is not None and seen.attributes is not None and "content" not in seen.attributes
    seen = look(path, loop, {"mode": "0644"}, whole=True).observed
    assert (
        seen is not None and seen.attributes is not None and seen.attributes["content"] == THEIRS["content"]
    )


def test_of_a_secret_only_the_name_is_told(tmp_path: Path, loop: Loop) -> None:
    path = tmp_path / "f"
    path.write_text("ours\n")
    path.chmod(0o600)
    assert look(path, loop, OURS, salt="s")[1:4] == (DRIFTED, (("mode", HIDDEN, HIDDEN),), None)
    path.write_text("theirs\n")
    rows = (("content", HIDDEN, HIDDEN), ("mode", HIDDEN, HIDDEN))
    assert look(path, loop, OURS, salt="s")[1:4] == (DRIFTED, rows, HIDDEN)
    path.write_text("ours\n")
    path.chmod(0o644)
    assert look(path, loop, OURS, salt="s").status == OK
