"""Why: what keeps something from being removed is told, and keeps what was made for it where it is, never more."""

from __future__ import annotations

from typing import Any

import pytest

from sloth_runner.errors import Conflict, SlothError, TaskFailed
from sloth_runner.modules.base import Change, Observed, Resource
from sloth_runner.modules.files.kind import converge
from sloth_runner.ops import ABSENT, FOLDER, LINK, Done, Found, OpError, Remove, Stat

FILE = "/a/b/f"
MADE = ["/a", "/a/b"]


def removed(answers: dict[str, str], **options: Any) -> list[str]:
    """The paths that were tried to be removed; ``answers`` says what fails, or what is there that is no folder."""
    change = Change(
        Resource("file", FILE), Observed({"type": "file"}), None, frozenset({"present"}), None, options,
        {"missing": MADE},
    )  # fmt: skip
    steps, tried = converge([change]), []
    op = next(steps)
    while True:
        try:
            if isinstance(op, Stat):
                op = steps.send(Found(answers.get(f"stat {op.path}", FOLDER)))
                continue
            assert isinstance(op, Remove)
            tried.append(op.path)
            kind = answers.get(op.path)
            op = steps.send(Done(True)) if kind is None else steps.throw(OpError(kind, op.path, "it can't"))
        except StopIteration:
            return tried


@pytest.mark.parametrize(
    ("answers", "options", "tried"),
    [
        ({}, {"undo": True}, [FILE, "/a/b", "/a"]),
        ({}, {}, [FILE]),
        ({"stat /a/b": ABSENT}, {"undo": True}, [FILE, "/a/b", "/a"]),
        ({"stat /a/b": LINK}, {"undo": True}, [FILE]),
        *[
            ({"/a/b": kind}, {"undo": True}, [FILE, "/a/b"])
            for kind in ("not-empty", "not-folder", "denied", "read-only", "mount", "flagged")
        ],
    ],
)
def test_folders_that_were_made_for_it_go_as_far_as_they_can(
    answers: dict[str, str], options: dict[str, Any], tried: list[str]
) -> None:
    assert removed(answers, **options) == tried


@pytest.mark.parametrize(
    ("answers", "options", "error", "words"),
    [
        ({FILE: "mount"}, {"undo": True}, Conflict, "it can't"),
        ({FILE: "mount"}, {}, OpError, "it can't"),
        ({FILE: "not-empty"}, {"undo": True}, Conflict, "other things are in it"),
        ({FILE: "not-empty"}, {}, TaskFailed, "/a/b/f is a folder that is not empty"),
        ({FILE: "denied"}, {"undo": True}, OpError, "it can't"),
        ({"/a/b": "io"}, {"undo": True}, OpError, "it can't"),
    ],
)
def test_what_keeps_it_is_told(
    answers: dict[str, str], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        removed(answers, **options)
    if isinstance(caught.value, SlothError):
        assert FILE in (*caught.value.unchanged, *getattr(caught.value, "keys", ()))
