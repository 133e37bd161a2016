"""Why: a stream outlives its connections: what was lost with one is sent again over the next, nothing comes twice.

Both ends number the bytes that they send. A message is ``offset of its first byte (8) | bytes received so far (8) |
data``; the second number lets the other end forget what has arrived. When a new connection is made, each end says how
much it has received, and gets the rest. (The idea is TCP's own, RFC 9293, one storey up.) Pure: no I/O, no clock.
"""

from __future__ import annotations

import struct
from collections import deque

from sloth_runner.agent.frames import BadFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Deque

HEADER = struct.Struct(">QQ")
PIECE = 256 << 10
"""Bytes of data in a message, at most."""
WINDOW = 8 << 20
"""Bytes that are kept until the other end has them; whoever sends waits when there are more."""
GOODBYE = b"goodbye"
"""Instead of a message: the stream is over. The end of a connection says nothing of that."""
TELL = 512 << 10
"""After so many received bytes the other end is told, even if there is nothing to send."""


class Resumable:
    """One end of such a stream."""

    def __init__(self) -> None:
        self._sent = 0
        self._kept: Deque[bytes] = deque()
        self._arrived = 0
        self._received = 0
        self._told = 0

    @property
    def received(self) -> int:
        """Bytes that have come, in order and once each."""
        return self._received

    @property
    def full(self) -> bool:
        """Whether it is time to wait until the other end has more of what was sent."""
        return self._sent - self._arrived >= WINDOW

    @property
    def owing(self) -> bool:
        """Whether the other end should be told what has come: ``note``."""
        return self._received - self._told >= TELL

    def push(self, data: bytes) -> Iterator[bytes]:
        """The messages that carry ``data``; they are kept until they have arrived."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            piece = bytes(view[start : start + PIECE])
            self._kept.append(piece)
            yield self._message(self._sent, piece)
            self._sent += len(piece)

    def note(self) -> bytes:
        """A message without data."""
        return self._message(self._sent, b"")

    def take(self, message: bytes) -> bytes:
        """What is new in a message. Raises BadFrame for one that the other end can't have sent."""
        if len(message) < HEADER.size or len(message) > HEADER.size + PIECE:
            raise BadFrame(f"a message of {len(message):,} bytes")
        offset, arrived = HEADER.unpack_from(message)
        if offset > self._received:
            raise BadFrame("a part of the stream is missing")
        self.forget(arrived)
        fresh = (
            message[HEADER.size + self._received - offset :]
            if offset < self._received
            else message[HEADER.size :]
        )
        self._received += len(fresh)
        return fresh

    def resume(self, arrived: int) -> list[bytes]:
        """The messages that the other end, which has received so many bytes, has still to get. Raises BadFrame."""
        self.forget(arrived)
        offset, again = self._sent - sum(map(len, self._kept)), []
        for piece in self._kept:
            again.append(self._message(offset, piece))
            offset += len(piece)
        return again

    def forget(self, arrived: int) -> None:
        """The other end has so many bytes. Raises BadFrame when they were never sent."""
        if arrived > self._sent:
            raise BadFrame("the other end has more than was sent")
        if arrived <= self._arrived:
            return
        self._arrived = arrived
        start = self._sent - sum(map(len, self._kept))
        while self._kept and start + len(self._kept[0]) <= arrived:
            start += len(self._kept.popleft())

    def _message(self, offset: int, data: bytes) -> bytes:
        self._told = self._received
        return HEADER.pack(offset, self._received) + data
