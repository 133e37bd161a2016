"""Why: a file's mode and its ACL share a digit: calls may contradict each other in it, and undo each other's work."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.program.kit import Home
from tests.program.leftovers import prune, task

ACL = 'file.attributes({path = "ROOT/f", acl = {["user:daemon"] = "rw"}})'
MODE = 'file.attributes({path = "ROOT/f", mode = "0600"})'
WRITE = 'file.write({dest = "ROOT/f", content = "x", mode = "0640"})'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user, and a folder ``t`` with a file in it, whose file system has ACLs."""
    home = Home(tmp_path / "home")
    path = home.cwd / "t" / "f"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    if not os.environ.get("CI") and shutil.which("setfacl") is None:
        pytest.skip("no ACLs here")
    return home


def acl(home: Home) -> str:
    told = ["getfacl", "-cpE", str(home.cwd / "t" / "f")]
    return subprocess.run(told, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("lines", [(ACL, MODE), (WRITE, ACL)])
def test_a_mode_that_takes_away_what_another_call_gives_is_refused(home: Home, lines: Sequence[str]) -> None:
    task(home, *lines)
    for words in (("plan", "site.sloth"), ("run", "site.sloth")):
        error = home.run(*words, "-o", "json", code=None).json["tasks"][0]["error"]
        assert error["code"] == "E-ARGUMENT" and "can't have both the mode" in error["message"]
        assert "one of which line 2 sets" in error["message"] and error["line"] == 3


def test_so_is_one_of_a_call_that_was_as_wanted(home: Home) -> None:
    task(home, WRITE)
    for _ in range(3):  # a file that was changed a moment ago is looked at once more
        home.run("run", "site.sloth")
    before = acl(home)
    task(home, WRITE, ACL)
    error = home.run("run", "site.sloth", "-o", "json", code=1).json["tasks"][0]["error"]
    assert "can't have both the mode 0640" in error["message"] and "line 2 sets" in error["message"]
    assert acl(home) == before


@pytest.mark.parametrize(
    "runs", [((ACL.replace("rw", "r"), MODE.replace("0600", "0640")),), ((ACL,), (MODE,))]
)
@pytest.mark.parametrize("theirs", [False, True])
def test_mode_and_acl_are_as_before_after_one_prune(
    home: Home, runs: Sequence[Sequence[str]], theirs: bool
) -> None:
    if theirs:
        subprocess.run(["setfacl", "-m", "user:bin:rw", str(home.cwd / "t" / "f")], check=True)
    before = acl(home)
    for lines in runs:
        task(home, *lines)
        home.run("run", "site.sloth")
    task(home)
    assert set(prune(home).values()) <= {"remove", "restore", "forget"}
    assert acl(home) == before
    assert prune(home) == {}
