"""Why: a command may write more than memory holds; of each stream the start and the end are kept."""

from __future__ import annotations


class Capture:
    """At most ``limit`` bytes of a stream, half from its start and half from its end."""

    __slots__ = ("_head", "_head_room", "_tail", "_tail_room", "total")

    def __init__(self, limit: int) -> None:
        self._head_room = limit - limit // 2
        self._tail_room = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, piece: bytes) -> None:
        """The stream goes on."""
        self.total += len(piece)
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        self._tail += piece
        if len(self._tail) > 2 * self._tail_room + 65536:  # now and then, so that each byte is moved once
            del self._tail[: len(self._tail) - self._tail_room]

    @property
    def cut(self) -> int:
        """Bytes that are not kept."""
        return max(0, self.total - self._head_room - self._tail_room)

    def content(self) -> bytes:
        """What is kept; where something is left out, a line says how much."""
        if not self.cut:
            return bytes(self._head + self._tail)
        tail = self._tail[max(0, len(self._tail) - self._tail_room) :]
        return bytes(self._head) + f"\n[… {self.cut:,} bytes left out …]\n".encode() + bytes(tail)
