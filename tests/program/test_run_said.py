"""Why: an account of a run says what was done, and of what failed what had been changed until then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program.kit import Home
from tests.program.leftovers import task

WRITE = 'file.write({dest = "ROOT/a", content = "x"})'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user."""
    return Home(tmp_path)


def test_a_command_that_ran_is_named(home: Home) -> None:
    task(
        home,
        'cmd({command = "mkdir ROOT", creates = "ROOT"})',
        'cmd({command = "echo s3cret", sensitive = true})',
    )
    ran = home.run("run", "site.sloth")
    folder = home.cwd / "t"
    assert f"[local] t + cmd: ran `mkdir {folder}`\n" in ran.out
    assert "[local] t + cmd: ran a command (sensitive)\n" in ran.out and "s3cret" not in ran.out


def test_what_fails_says_what_its_task_had_changed(home: Home) -> None:
    loop = 'for i = 1, 3 do file.write({dest = "ROOT/" .. i, content = "x"}) end'
    task(home, WRITE, WRITE, loop, 'state.set("k", 1)', 'error("no more")')
    failed = home.run("run", "site.sloth", "-q", "-o", "json", code=1).json["tasks"][0]["error"]
    assert failed["changed"] == [
        "before that: file.write (line 2); file.write (line 4), 3 times; state (1 write)"
    ]
    assert home.run("run", "site.sloth", "-o", "json", code=1).json["tasks"][0]["error"]["changed"] == []


def test_attempts_count_together_and_what_the_failing_call_did_is_told_once(home: Home) -> None:
    file = home.file("site.sloth", 'task({name = "t", retries = 1, run = function()\n')
    file.write_text(
        f'{file.read_text()}file.write({{dest = [[{home.cwd}/a]], content = "x"}})\ncmd("exit 3")\nend}})\n'
    )
    said = home.run("run", "site.sloth", "-q", code=1).out
    assert "  changed: perhaps something, by `exit 3`, which did not succeed\n" in said
    assert "           before that: file.write (line 2)\n" in said


def test_of_many_lines_some_are_named(home: Home) -> None:
    task(home, *(f'file.write({{dest = "ROOT/{n}", content = "x"}})' for n in range(11)), 'error("no more")')
    said = home.run("run", "site.sloth", "-q", code=1).out
    assert "file.write (line 9); and 3 more lines\n" in said
