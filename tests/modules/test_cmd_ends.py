"""Why: how a command ended is judged by what the call says, and a command that only looks is run in a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sloth_runner.errors import BadArgument, CommandFailed, TaskFailed
from tests.modules.kit import Machine

ENDS: list[tuple[dict[str, Any], bool | None]] = [
    ({"command": "true"}, True),
    ({"command": "true", "changed_when": False}, False),
    ({"command": "exit 3"}, None),
    ({"command": "exit 3", "changed_when": {"exit_codes": [3]}}, True),
    ({"command": "true", "changed_when": {"exit_codes": [3]}}, False),
    ({"command": "echo 2 upgraded", "changed_when": {"stdout": "^[1-9][0-9]* upgraded"}}, True),
    ({"command": "echo 0 upgraded", "changed_when": {"stdout": "^[1-9][0-9]* upgraded"}}, False),
    ({"command": "echo oops >&2", "failed_when": {"stderr": "oops"}}, None),
    ({"command": "echo fine >&2; exit 9", "failed_when": {"stderr": "oops"}}, True),
    ({"command": "exit 9", "failed_when": {"exit_codes": [9]}}, None),
    ({"command": "exit 9", "failed_when": False, "changed_when": False}, False),
    ({"command": "exit 9", "reads_only": True, "check": False}, False),
]


@pytest.mark.parametrize(("args", "changed"), ENDS)
def test_how_it_ended(args: dict[str, Any], changed: bool | None, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    if changed is None:
        with pytest.raises(CommandFailed):
            machine.call("cmd", args)
    else:
        assert machine.call("cmd", args).changed is changed


def test_what_is_no_program_needs_no_other_user(tmp_path: Path) -> None:
    (tmp_path / "deploy.sh").write_text("#!/bin/sh\n")
    with pytest.raises(CommandFailed) as caught:
        Machine(tmp_path).call("cmd", {"command": "./deploy.sh", "cwd": str(tmp_path)})
    assert "mode x" in caught.value.next[0] and not any("user" in step for step in caught.value.next)


@pytest.mark.parametrize(
    ("args", "message", "step"),
    [
        (
            {"command": "true", "cwd": "/no/such/folder"},
            "/no/such/folder: there is no such folder",
            "workdir",
        ),
        ({"argv": ["no-such-program"]}, "no-such-program: is in no folder of PATH", None),
    ],
)
def test_what_was_not_started_says_so(
    args: dict[str, Any], message: str, step: str | None, tmp_path: Path
) -> None:
    with pytest.raises(TaskFailed) as caught:
        Machine(tmp_path).call("cmd", args)
    error = caught.value
    assert error.message.startswith(message)
    assert error.unchanged == ["the command was not started"]
    assert error.system is None, "the system has said nothing that the message does not"
    assert (step or "") in "".join(error.next)


def test_only_what_reads_is_run_in_a_plan(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    made = tmp_path / "made"
    for more in ({}, {"changed_when": False}, {"failed_when": False}):
        machine.check("cmd", {"command": f"touch {made}", **more})
        assert not made.exists()
    assert machine.check("cmd", {"command": "echo hi", "reads_only": True}).fields["stdout"] == "hi\n"


@pytest.mark.parametrize(
    "more",
    [
        {"failed_when": True, "check": False},
        {"reads_only": True, "once": True},
        {"reads_only": True, "changed_when": True},
        {"changed_when": {"exit_code": [1]}},
        {"failed_when": {"stdout": "("}},
    ],
)
def test_what_does_not_fit_is_refused(more: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadArgument):
        Machine(tmp_path).call("cmd", {"command": "true", **more})
