"""Why: changes that travel together must be what they are one by one: in their order, up to the first that fails."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.files.together import LARGE, MOST, together
from sloth_runner.ops import Batch, Done, MakeDir, OpError, Read, Remove, SetAttrs, Write

Part = Generator[Any, Any, str]
OPS = ("write", "make", "folder above", "read first", "remove", "nothing", "refused")


class Machine:
    """Notes what is done; ``failing`` are paths where nothing can be changed."""

    def __init__(self, failing: frozenset[str]) -> None:
        self.failing = failing
        self.done: list[Any] = []
        self.journeys = 0

    def run(self, steps: Generator[Any, Any, list[str]]) -> list[str]:
        """Go through steps; what they return."""
        answer: Any = None
        error: OpError | None = None
        while True:
            try:
                op = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as end:
                return list(end.value)
            self.journeys += 1
            answer, error = None, None
            try:
                answer = self._batch(op) if isinstance(op, Batch) else self._one(op)
            except OpError as failure:
                error = failure

    def _batch(self, batch: Batch) -> tuple[Any, ...]:
        results: list[Any] = []
        for op in batch.ops:
            try:
                results.append(self._one(op))
            except OpError as error:
                error.results = tuple(results)
                raise
        return tuple(results)

    def _one(self, op: Any) -> Done:
        if op.path in self.failing:
            raise OpError("denied", op.path, "can't be changed")
        self.done.append(op)
        return Done(not isinstance(op, MakeDir))


def part(path: str, what: str, *, forgiving: bool) -> Part:
    """One change; ``forgiving``: a failure of its own is none."""
    try:
        if what == "folder above":
            yield MakeDir("/above", 0o755)
        if what == "read first":
            yield Read(path, 1)
        if what == "refused":
            raise TaskFailed(f"{path} is refused")
        if what == "make":
            done = yield MakeDir(path, 0o755)
            if not done.changed:
                yield SetAttrs(path, 0o755)
        elif what == "remove":
            yield Remove(path)
        elif what != "nothing":
            yield Write(path, b"x")
    except OpError:
        if not forgiving:
            raise
        return "forgiven"
    return what


def one_by_one(parts: list[tuple[str, Part]]) -> Generator[Any, Any, list[str]]:
    """What ``together`` must be like."""
    done = []
    for _, steps in parts:
        done.append((yield from steps))
    return done


@given(
    st.lists(st.tuples(st.sampled_from(OPS), st.booleans()), max_size=2 * MOST), st.sets(st.integers(0, 20))
)
def test_together_is_as_one_by_one(parts: list[tuple[str, bool]], failing: set[int]) -> None:
    def tried(way: Any) -> tuple[object, list[Any]]:
        machine = Machine(frozenset(f"/{number}" for number in failing))
        all_parts = [
            (f"/{n}", part(f"/{n}", what, forgiving=forgiving)) for n, (what, forgiving) in enumerate(parts)
        ]
        try:
            return machine.run(way(all_parts)), machine.done
        except (OpError, TaskFailed) as error:
            return str(error), machine.done

    (left, done), (right, one) = tried(together), tried(one_by_one)
    assert left == right
    assert [op for op in done if not isinstance(op, SetAttrs)] == [
        op for op in one if not isinstance(op, SetAttrs)
    ]
    assert {op for op in done if isinstance(op, SetAttrs)} == {op for op in one if isinstance(op, SetAttrs)}


@pytest.mark.parametrize(
    ("count", "size", "journeys"),
    [(1, 1, 1), (MOST, 1, 1), (MOST + 1, 1, 2), (4, LARGE // 2, 2), (2, LARGE, 2)],
)
def test_many_changes_take_few_journeys(count: int, size: int, journeys: int) -> None:
    def write(path: str) -> Part:
        yield Write(path, bytes(size))
        return ""

    machine = Machine(frozenset())
    assert machine.run(together([(f"/{n}", write(f"/{n}")) for n in range(count)])) == [""] * count
    assert (machine.journeys, len(machine.done)) == (journeys, count)
