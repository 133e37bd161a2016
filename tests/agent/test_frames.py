"""Why: a stream may be cut anywhere and hold anything; what was sent comes out, and nothing costs more than it
should."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.agent import frames
from sloth_runner.agent.frames import BadFrame, Frame, Reader, message

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([frames.REQUEST, frames.RESULT, frames.OUTPUT, frames.CANCEL]),
        st.integers(0, (1 << 64) - 1),
        st.binary(max_size=600) | st.integers(0, 3 * frames.PIECE).map(lambda n: bytes(n)),
    ),
    max_size=6,
)


@given(MESSAGES, st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(message(*one) for one in sent)
    got: list[tuple[int, int, bytes]] = []
    reader, at = Reader(), 0
    while at < len(stream):
        size = cuts[len(got) % len(cuts)]
        got += [(frame.kind, frame.number, frame.payload) for frame in reader.feed(stream[at : at + size])]
        at += size
    assert got == sent
    assert reader.between


def test_messages_may_be_mixed_piece_by_piece() -> None:
    one = list(frames.frames(frames.RESULT, 1, b"a" * (2 * frames.PIECE)))
    two = list(frames.frames(frames.RESULT, 2, b"b" * (2 * frames.PIECE)))
    stream = b"".join(piece for pair in zip(one, two, strict=True) for piece in pair)
    got = list(Reader().feed(stream))
    assert [(frame.number, len(frame.payload)) for frame in got] == [
        (1, 2 * frames.PIECE),
        (2, 2 * frames.PIECE),
    ]


def test_contents_come_piece_by_piece() -> None:
    digest = bytes(32)
    stream = b"".join(frames.frames(frames.CONTENT, 0, b"x" * (frames.PIECE + 1), digest))
    got = list(Reader().feed(stream))
    assert [frame.more for frame in got] == [True, False]
    assert b"".join(frame.payload[32:] for frame in got) == b"x" * (frames.PIECE + 1)
    assert all(frame.payload[:32] == digest for frame in got)


def test_what_compresses_travels_compressed() -> None:
    assert len(message(frames.RESULT, 1, b"abc" * 50_000)) < 2000


@pytest.mark.parametrize(
    "stream",
    [
        frames.HEADER.pack(0, 0, 0, 0),
        frames.HEADER.pack(99, 0, 0, 0),
        frames.HEADER.pack(frames.RESULT, 4, 0, 0),
        frames.HEADER.pack(frames.RESULT, 0, 1 << 30, 0),
        frames.HEADER.pack(frames.RESULT, 0, frames.PIECE + 1, 0),
        frames.HEADER.pack(frames.RESULT, frames.ZIPPED, 3, 0) + b"abc",
        frames.HEADER.pack(frames.RESULT, frames.ZIPPED, 0, 0),
    ],
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Reader().feed(stream))


def test_a_bomb_of_zeros_costs_nothing() -> None:
    bomb = zlib.compress(bytes(100 << 20), 9)
    stream = frames.HEADER.pack(frames.RESULT, frames.ZIPPED, len(bomb), 1) + bomb
    tracemalloc.start()
    with pytest.raises(BadFrame):
        list(Reader().feed(stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_message_without_end_is_refused() -> None:
    piece = frames.HEADER.pack(frames.REQUEST, frames.MORE, 1000, 1) + bytes(1000)
    reader = Reader(limit=10_000)
    with pytest.raises(BadFrame):
        for _ in range(20):
            assert not list(reader.feed(piece))


def test_thousands_of_beginnings_are_refused() -> None:
    reader = Reader()
    with pytest.raises(BadFrame):
        for number in range(2000):
            assert not list(reader.feed(frames.HEADER.pack(frames.REQUEST, frames.MORE, 0, number)))


@given(st.binary(max_size=400))
def test_noise_is_frames_or_refused(data: bytes) -> None:
    try:
        for frame in Reader().feed(data):
            assert isinstance(frame, Frame)
    except BadFrame:
        pass
