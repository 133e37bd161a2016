"""Why: to rehearse on another machine how many things are undone must not take a question for each."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from sloth_runner.engine.expecting import look_back, looks_back
from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.execution.trying import REMOVE, attempt
from sloth_runner.modules import kinds
from sloth_runner.ops import Batch, Content, Exec, OpError, Read, Remove, Stat
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_records import Entry
from sloth_runner.transport.ahead import Ahead
from sloth_runner.transport.loop import Loop
from sloth_runner.transport.remembered import Remembered
from sloth_runner.transport.remote import Remote
from tests.transport.test_pipe import line, remote


def test_an_answer_counts_for_all_who_ask(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            way = Remembered(there)
            for name in "abc":
                (tmp_path / name).write_text(name)
            a, b, c = (Stat(str(tmp_path / name)) for name in "abc")
            assert way.at_once(a) is None
            first = await way.do(a)
            await way.look_ahead([b])
            trips = there.traffic.trips
            assert [way.at_once(one) for one in (a, a)] == [first, first]
            assert way.at_once(Batch((a, b, a))) == (first, await way.do(b), first)
            assert there.traffic.trips == trips
            assert way.at_once(Batch((a, c))) is None
            assert await way.do(Batch((a, c))) == (first, await way.do(c))
            assert way.as_user(None) is way

    asyncio.run(go())


class Noting:
    """A way to a machine that notes what is asked of it, together or alone; ``known`` needs no question."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.known: dict[Any, Any] = {}
        self.ahead = Ahead()

    def as_user(self, user: str) -> Noting:
        """Another one."""
        return Noting()

    def at_once(self, op: Any) -> Any:
        """See Transport."""
        return self.known.get(repr(op))

    async def do(self, op: Any, on_output: Any = None) -> Any:
        """See Transport."""
        self.asked.append(op)
        return tuple([answer(one) for one in op.ops]) if isinstance(op, Batch) else answer(op)

    async def look_ahead(self, ops: Any) -> list[tuple[Any, Any]]:
        """See Remote."""
        self.asked.append(list(ops))
        self.ahead.expect(ops)
        return [(op, answer(op)) for op in ops]


def answer(op: Any) -> Content:
    return Content(repr(op).encode())


A, B, C = (Stat(f"/{name}") for name in "abc")
RUN = Exec("x", ("x",))


def test_only_what_is_not_known_is_asked_and_only_looks_are_known() -> None:
    async def go() -> None:
        inner = Noting()
        way = Remembered(cast("Remote", inner))
        inner.known[repr(C)] = answer(C)
        assert way.at_once(C) == answer(C)
        inner.known.clear()
        assert way.at_once(C) == answer(C) and way.at_once(A) is None
        assert [await way.do(A), await way.do(A), await way.do(C)] == [answer(A), answer(A), answer(C)]
        assert (
            await way.do(Batch((A, B, C)))
            == (answer(A), answer(B), answer(C))
            == way.at_once(Batch((A, B, C)))
        )
        assert inner.asked == [A, [B]] and not inner.ahead.expects(B)
        assert [await way.do(RUN), await way.do(RUN)] == [answer(RUN)] * 2 and way.at_once(RUN) is None
        other, mixed = Read("/d", 1), Batch((Read("/d", 1), RUN))
        assert [await way.do(mixed), await way.do(mixed)] == [(answer(other), answer(RUN))] * 2
        assert inner.asked == [A, [B], RUN, RUN, mixed, mixed] and way.at_once(other) == answer(other)
        ann = way.as_user("ann")
        assert ann is way.as_user("ann") and ann is not way and ann.at_once(A) is None

    asyncio.run(go())


def test_a_failure_is_told_whenever_it_is_met(tmp_path: Path) -> None:
    async def go() -> None:
        async with remote(tmp_path) as there:
            way, missing = Remembered(there), Read(str(tmp_path / "missing"), 10)
            for op in (missing, missing, Batch((Stat("/"), missing))):
                with pytest.raises(OpError, match="missing"):
                    await way.do(op)

    asyncio.run(go())


def entry(path: Path) -> Entry:
    """One of a file that we made."""
    digest = sha256(path.read_bytes()).hexdigest()
    seen = {"type": "file", "content": digest, "mode": f"{path.stat().st_mode & 0o7777:04o}"}
    return Entry(
        "file", str(path), {}, seen, seen, None, {}, True, digest, None, 0.0, 0.0,
        ("root", "here", 1, None, "t"), "s", ("",), None, "file.write",
    )  # fmt: skip


def test_to_rehearse_many_takes_no_more_questions_than_to_rehearse_one(tmp_path: Path) -> None:
    """The files are there, or gone; what is asked is known before."""

    def trips(count: int) -> int:
        folder = tmp_path / f"of-{count}"
        folder.mkdir()
        made = []
        for number in range(count):
            (folder / str(number)).write_text("x")
            made.append(entry(folder / str(number)))
        loop, there = Loop(), Remote("there", line(tmp_path))
        try:
            way = Remembered(there)
            loop.run(look_back(way, kinds(), made))
            rehearsal, ledger = Rehearsal(way), Ledger(MemoryStore(), "there", tuple)
            tried = [attempt(one, kinds()["file"], ledger, rehearsal, loop).action for one in made]
            assert tried == [REMOVE] * count
            return there.traffic.trips
        finally:
            loop.run(there.aclose())
            loop.close()

    trips(1)  # it brings the agent
    assert trips(12) == trips(2) == 2


def test_what_was_looked_at_on_the_way_of_a_change_is_not_asked_again(tmp_path: Path) -> None:
    """As prune goes from one thing to the next."""
    for name in "ab":
        (tmp_path / name).write_text("x")
    loop, there = Loop(), Remote("there", line(tmp_path))
    try:
        following = entry(tmp_path / "b")
        there.follow(looks_back(kinds(), following))
        loop.run(there.do(Remove(str(tmp_path / "a"))))
        trips, way = there.traffic.trips, Remembered(there)
        loop.run(look_back(way, kinds(), [following]))
        ledger = Ledger(MemoryStore(), "there", tuple)
        tried = attempt(following, kinds()["file"], ledger, Rehearsal(way), loop)
        assert (tried.action, there.traffic.trips) == (REMOVE, trips)
    finally:
        loop.run(there.aclose())
        loop.close()
