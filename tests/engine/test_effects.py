"""Why: what a call is said to have changed is what its operations and their results tell, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from sloth_runner.engine.effects import attempt, mutation
from sloth_runner.ops import (
    Batch,
    Content,
    Done,
    Exec,
    Fetch,
    Fetched,
    Found,
    List,
    Listing,
    MakeDir,
    MakeLink,
    Owned,
    Ran,
    Read,
    Remove,
    SetAttrs,
    SetTimes,
    Stat,
    Unpack,
    Unpacked,
    Whose,
    Write,
)  # fmt: skip

DONE, SAME = Done(True), Done(False)
LOOK = Unpacked((), ("x",))
NONE: list[str] = []
EXEC, READING = Exec("make", ("make",)), Exec("test", ("test",), mutating=False)
POST = Fetch("a request", "http://h/", "POST", mutating=True)
GOT = Fetch("http://h/x", "http://h/x", into="/x", mutating=True)


def ran(status: int) -> Ran:
    return Ran(status, None, b"", b"")


def answer(status: int) -> Fetched:
    return Fetched(status, "", (), None, None, 0)


DID: dict[str, tuple[Any, Any, list[str], list[str]]] = {
    "a look": (Stat("/x"), Found("file"), NONE, NONE),
    "a read": (Read("/x", 1), Content(b""), NONE, NONE),
    "a listing": (List("/x"), Listing(()), NONE, NONE),
    "a question whose it is": (Whose("/x"), Owned(), NONE, NONE),
    "a write": (Write("/x", b""), DONE, ["wrote /x"], NONE),
    "a write of the same": (Write("/x", b""), SAME, NONE, NONE),
    "a write that goes again": (Write("/x", b"", passing=True), DONE, NONE, NONE),
    "a removal": (Remove("/x"), DONE, ["removed /x"], NONE),
    "a removal of what goes again": (Remove("/x", passing=True), DONE, NONE, NONE),
    "a removal of nothing": (Remove("/x"), SAME, NONE, NONE),
    "a folder": (MakeDir("/x", 0o755), DONE, ["made the folder /x"], NONE),
    "a link": (MakeLink("/x", "y"), DONE, ["made the link /x"], NONE),
    "a mode": (SetAttrs("/x", 0o600), DONE, ["set the attributes of /x"], NONE),
    "the same mode": (SetAttrs("/x", 0o600), SAME, NONE, NONE),
    "a time": (SetTimes("/x", 1.0), DONE, ["set the times of /x"], NONE),
    "an archive": (Unpack("/x"), LOOK, ["unpacked an archive into /x"], NONE),
    "an archive that is there": (Unpack("/x"), Unpacked((), ()), NONE, NONE),
    "a look at an archive": (Unpack("/x", look=True), LOOK, NONE, NONE),
    "a program": (EXEC, ran(0), ["ran make"], NONE),
    "a program that failed": (EXEC, ran(1), NONE, ["make"]),
    "a program that was stopped": (EXEC, None, NONE, ["make"]),
    "a program that only reads": (READING, ran(0), NONE, NONE),
    "a program that only reads, and fails": (READING, ran(1), NONE, NONE),
    "a request": (POST, answer(204), ["sent a request"], NONE),
    "a request that was refused": (POST, answer(300), NONE, ["a request"]),
    "a request that was lost": (POST, None, NONE, ["a request"]),
    "a question": (POST._replace(mutating=False), answer(200), NONE, NONE),
    "a question that was lost": (POST._replace(mutating=False), None, NONE, NONE),
    "a file that was fetched": (GOT, answer(200), ["wrote /x"], NONE),
    "a file that was refused": (GOT, answer(404), NONE, NONE),
    "a file that was lost on its way": (GOT, None, NONE, ["http://h/x"]),
}


@pytest.mark.parametrize("what", DID)
def test_what_an_operation_has_changed(what: str) -> None:
    op, result, changed, perhaps = DID[what]
    assert mutation(op, result) == changed
    assert attempt(op, result) == [
        f"perhaps something, by {label}, which did not succeed" for label in perhaps
    ]


def test_of_a_batch_that_failed_what_was_done_before_counts() -> None:
    ops = Batch((Write("/a", b""), EXEC, Write("/c", b"")))
    assert mutation(ops, (DONE, ran(1))) == ["wrote /a"]
    assert attempt(ops, (DONE, ran(1))) == ["perhaps something, by make, which did not succeed"]
    assert mutation(ops, (DONE, ran(0), DONE)) == ["wrote /a", "ran make", "wrote /c"]
    assert mutation(ops, None) == attempt(ops, None) == []
