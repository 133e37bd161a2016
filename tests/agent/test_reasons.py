"""Why: what a machine refuses is told with the cause that its error number does not tell."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sloth_runner.agent.identity import Spawn
from sloth_runner.agent.names import problem
from sloth_runner.agent.perform import perform
from sloth_runner.agent.starting import not_started
from sloth_runner.ops import OpError, Remove, SetAttrs, Write

if TYPE_CHECKING:
    from sloth_runner.ops import Op


@pytest.fixture(params=["i", "a"])
def marked(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A folder with a file in it, both marked by chattr."""
    (tmp_path / "f").write_text("x")
    paths = [str(tmp_path / "f"), str(tmp_path)]
    try:
        subprocess.run(["chattr", f"+{request.param}", *paths], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no marks here")
    try:
        yield tmp_path, request.param
    finally:
        subprocess.run(["chattr", f"-{request.param}", *paths], check=True)


def test_what_chattr_has_marked_is_named(marked: tuple[Path, str]) -> None:
    folder, letter = marked
    ops: list[Op] = [
        Write(str(folder / "f"), b"y"),
        Remove(str(folder / "f")),
        SetAttrs(str(folder / "f"), 0o600),
    ]
    for op in ops:
        with pytest.raises(OpError, match=rf"is marked as .* \(chattr \+{letter}\)") as caught:
            perform(op)
        assert caught.value.kind == "flagged"
    if letter == "i":
        with pytest.raises(OpError, match=f"is in {folder}, which is marked as immutable"):
            perform(Write(str(folder / "new"), b"y"))


def test_what_is_marked_by_nobody_is_not_said_to_be(tmp_path: Path) -> None:
    error = problem(PermissionError(errno.EPERM, "x"), str(tmp_path / "f"))
    assert (error.kind, error.reason) == ("denied", "the system does not permit it")


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "quota"), (errno.EMFILE, "files"), (errno.EROFS, "read-only")],
)
def test_what_is_full_is_named(number: int, kind: str) -> None:
    assert problem(OSError(number, "x"), "/f").kind == kind


@pytest.mark.parametrize(
    ("number", "there", "said"),
    [
        (errno.ENOENT, False, "there is no such program"),
        (errno.ENOENT, True, "what runs it"),
        (errno.ENOEXEC, True, "names no interpreter"),
        (errno.ETXTBSY, True, "open for writing"),
    ],
)
def test_why_a_program_is_not_started(tmp_path: Path, number: int, there: bool, said: str) -> None:
    if there:
        (tmp_path / "p").write_text("")
    spawn = Spawn(["./p"], {"PATH": "/bin"})
    assert said in not_started(OSError(number, "x"), spawn, str(tmp_path)).reason
