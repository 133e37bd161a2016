"""Why: what a call has changed is told also where it failed, was stopped, or was only half done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest

from sloth_runner.engine.drive import Desk, Drive, Skipped
from sloth_runner.errors import Lost, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Deliver, Recall
from sloth_runner.ops import Batch, Done, Exec, Fetch, OpError, Ran, Remove, Stat, Write

DONE = Done(True)
EXEC = Exec("make", ("make",))
GET = Fetch("http://h/x", "http://h/x", into="/x", mutating=True)
PERHAPS = "perhaps something, by {}, which did not succeed"


def nothing(*words: Any) -> Any:
    raise AssertionError(words)


def recalled(name: str) -> Generator[Any, Any, Any]:
    done = yield Stat(name)
    return {"was": done}


def desk(deliver: Callable[[Deliver], bool] = nothing) -> Desk:
    return Desk(
        recalled, nothing, nothing, deliver, nothing, nothing, lambda _, skipped: Outcome(True, "skipped")
    )


def steps(*ops: Any) -> Generator[Any, Any, Outcome]:
    """A module that does these, one after the other."""
    done = []
    for op in ops:
        done.append((yield op))
    return Outcome(False, repr(done))


def drive(*ops: Any, at_once: Callable[[Any], Any] = lambda op: None, **more: Any) -> Drive:
    return Drive(steps(*ops), at_once, desk(**more))


def partial(error: OpError, results: tuple[Any, ...] = ()) -> OpError:
    error.partial, error.results = True, results
    return error


def stopped(results: tuple[Any, ...]) -> OpError:
    error = OpError("full", "/b", "there is no room")
    error.results = results
    return error


LOST = Lost("the line is cut")
FAILED: dict[str, tuple[Any, OpError | Lost | Skipped, list[str], list[str]]] = {
    "a write": (Write("/x", b""), OpError("full", "/x", "no room"), [], []),
    "a removal, half done": (
        Remove("/x"),
        partial(OpError("busy", "/x/y", "")),
        ["changed a part of /x"],
        [],
    ),
    "many, half done": (Batch((EXEC,)), partial(OpError("busy", "/y", "")), ["changed a part of /y"], []),
    "a file that comes, half done": (
        GET,
        partial(OpError("full", "/x", "")),
        [],
        [PERHAPS.format("http://h/x")],
    ),
    "a file that does not come": (GET, OpError("denied", "/x", ""), [], []),
    "many": (Batch((Write("/a", b""), Write("/b", b""))), stopped((DONE,)), ["wrote /a"], []),
    "a program that did not begin": (EXEC, OpError("not-found", "make", ""), [], []),
    "a program on a line that is cut": (EXEC, LOST, [], [PERHAPS.format("make")]),
    "a file on a line that is cut": (GET, LOST, [], [PERHAPS.format("http://h/x")]),
    "a write on a line that is cut": (Write("/x", b""), LOST, [], []),
    "a look on a line that is cut": (Stat("/x"), LOST, [], []),
    "a program that is only rehearsed": (EXEC, Skipped(EXEC), [], []),
}


class Failing:
    """A machine on which nothing succeeds."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def do(self, op: Any, on_output: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("what", FAILED)
def test_what_failed_is_told_as_far_as_it_came(what: str, waits: bool) -> None:
    op, error, changed, perhaps = FAILED[what]

    def at_once(op: Any) -> Any:
        if waits:
            return None
        raise error

    call = drive(op, at_once=at_once)
    try:
        asyncio.run(performed(call, Failing(error), call.advance()))
    except (TaskFailed, Lost) as told:
        assert not isinstance(error, OpError) or told.unchanged == ([] if error.partial else [said(error)])
    else:
        assert call.outcome == Outcome(True, "skipped")
    assert (call.mutations, call.attempts) == (changed, perhaps)


def said(error: OpError) -> str:
    return {"not-found": "the command was not started"}.get(error.kind, error.path)


class Transport:
    """A machine that is slow; the call is stopped while it works."""

    async def do(self, op: Any, on_output: Any) -> Any:
        if op is EXEC:
            raise asyncio.CancelledError
        return DONE


def heard(name: str, piece: bytes) -> None:
    raise AssertionError(name)


async def performed(call: Drive, transport: Any, op: Any) -> None:
    while op is not None:
        op = await call.perform(transport, op, heard)


def test_a_call_that_is_stopped_is_closed_and_tells_what_may_have_changed() -> None:
    closed: list[str] = []

    def module() -> Generator[Any, Any, Outcome]:
        try:
            yield Write("/x", b"")
            yield EXEC
        finally:
            closed.append("module")
        raise AssertionError("it does nothing more")

    call = Drive(module(), lambda op: None, desk())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(performed(call, Transport(), call.advance()))
    assert closed == ["module"] and call.outcome is None
    assert (call.mutations, call.attempts) == (["wrote /x"], [PERHAPS.format("make")])


@pytest.mark.parametrize("differs", [False, True])
def test_what_is_delivered_here_is_told_if_it_differed(differs: bool) -> None:
    call = drive(Deliver("/x", b""), deliver=lambda op: differs)
    assert call.advance() is None
    assert call.mutations == ["wrote /x here"] * differs
    assert call.outcome == Outcome(False, repr([differs]))


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("denied", "as a user who may do this"),
        ("read-only", "for writing"),
        ("no-user", "make the user first"),
        ("no-login", "make the user first"),
        ("no-rights", "sudo_password_env"),
        ("no-group", "make the group first"),
        ("taken", "another name or number"),
        ("mount", "unmount it"),
        ("flagged", "chattr"),
        ("full", "df -h"),
        ("quota", "quota -s"),
        ("files", "ulimit -n"),
        ("no-folder", "workdir"),
        ("system", ""),
    ],
)
def test_an_error_that_a_module_lets_pass_says_what_to_do(kind: str, hint: str) -> None:
    call = drive(EXEC)
    call.advance()
    with pytest.raises(TaskFailed, match="/x: why") as caught:
        call.throw(OpError(kind, "/x", "why"))
    assert hint in " ".join(caught.value.next) and bool(caught.value.next) is bool(hint)
    begun = {"no-folder": "the command was not started"} | dict.fromkeys(
        ("no-login", "no-rights"), "nothing was done as that user"
    )
    assert caught.value.unchanged == [begun.get(kind, "/x")]


@pytest.mark.parametrize("error", [LOST, OpError("denied", "/x", ""), Skipped(EXEC)])
def test_a_module_hears_of_what_failed_on_the_machine(error: Exception) -> None:
    def module() -> Generator[Any, Any, Outcome]:
        try:
            yield Write("/x", b"")
        except (Lost, OpError, Skipped) as caught:
            return Outcome(False, str(caught is error))
        raise AssertionError("it failed")

    call = Drive(module(), lambda op: None, desk())
    asyncio.run(performed(call, Failing(error), call.advance()))
    assert call.outcome == Outcome(False, "True")


@pytest.mark.parametrize("waits", [False, True])
def test_what_is_recalled_may_take_steps_of_its_own(waits: bool) -> None:
    call = drive(Recall("/x"), EXEC, at_once=lambda op: None if waits else Ran(0, None, b"", b""))
    if waits:
        assert call.advance() == Stat("/x")
        assert call.advance(DONE) is EXEC
        assert call.advance(Ran(0, None, b"", b"")) is None
    else:
        assert call.advance() is None
    assert call.mutations == ["ran make"] and call.outcome is not None and "was" in call.outcome.message


def test_a_module_that_goes_on_after_an_error_has_its_own_outcome() -> None:
    def module() -> Generator[Any, Any, Outcome]:
        with pytest.raises(OpError):
            yield Recall("/x")
        yield Write("/y", b"")
        return Outcome(True, "well")

    def at_once(op: Any) -> Any:
        if isinstance(op, Stat):
            raise OpError("denied", "/x", "")
        return DONE

    call = Drive(module(), at_once, desk())
    assert call.advance() is None and call.outcome == Outcome(True, "well")
    assert call.mutations == ["wrote /y"]
