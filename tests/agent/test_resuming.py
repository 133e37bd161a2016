"""Why: whatever is lost between two ends, the stream arrives whole, in order, and once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.agent.frames import BadFrame
from sloth_runner.agent.resuming import HEADER, PIECE, TELL, WINDOW, Resumable

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 1), st.binary(max_size=20)),
        st.tuples(st.just("carry"), st.integers(0, 1), st.integers(0, 5)),
        st.tuples(st.just("again"), st.integers(0, 1), st.integers(0, 5)),
        st.tuples(st.just("break"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_nothing_is_lost_and_nothing_comes_twice(steps: list[tuple[str, int, bytes | int]]) -> None:
    ends = (Resumable(), Resumable())
    sent, got = [b"", b""], [b"", b""]
    wires: list[list[bytes]] = [[], []]
    seen: list[list[bytes]] = [[], []]

    def connect() -> None:
        for side in (0, 1):
            wires[side] = list(ends[side].resume(ends[1 - side].received))

    def carry(side: int, count: int) -> None:
        for _ in range(min(count, len(wires[side]))):
            message = wires[side].pop(0)
            seen[side].append(message)
            got[1 - side] += ends[1 - side].take(message)

    for what, side, value in steps:
        if what == "send":
            assert isinstance(value, bytes)
            sent[side] += value
            wires[side] += ends[side].push(value)
        elif what == "carry":
            assert isinstance(value, int)
            carry(side, value)
        elif what == "again" and seen[side]:
            assert isinstance(value, int)
            assert ends[1 - side].take(seen[side][value % len(seen[side])]) == b""  # a replay has no effect
        elif what == "break":
            connect()
    connect()
    for side in (0, 1):
        carry(side, len(wires[side]))
    assert got == [sent[1], sent[0]]


def test_what_the_other_end_can_not_have_sent_is_refused() -> None:
    end = Resumable()
    for message in (
        b"",
        b"x" * 15,
        HEADER.pack(1, 0) + b"gap",
        HEADER.pack(0, 1),
        bytes(HEADER.size + PIECE + 1),
    ):
        with pytest.raises(BadFrame):
            end.take(message)
    with pytest.raises(BadFrame):
        end.resume(1)
    assert end.received == 0


def test_what_is_kept_is_bounded_and_told() -> None:
    one, other = Resumable(), Resumable()
    messages = list(one.push(bytes(WINDOW)))
    assert one.full
    for message in messages[: TELL // PIECE]:
        other.take(message)
    assert other.owing
    one.take(other.note())
    assert not one.full
    assert not other.owing
