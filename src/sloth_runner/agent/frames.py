"""Why: many operations share one stream of bytes, so it is cut into frames that say whose they are and how long.

A frame is ``kind (1 byte) | flags (1) | length (4) | number (8) | payload``, big-endian. ``number`` is that of the
request concerned (0: none). A longer message travels as several frames, all but the last marked MORE; each payload
may be compressed by itself (ZIPPED). Whatever carries the frames (a pipe, SSH, gRPC) adds nothing to them. Every
length is checked before anything is kept, so that neither a frame that claims a gigabyte nor a bomb of zeros costs
memory.
"""

from __future__ import annotations

import struct
import zlib

from sloth_runner.plain import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\n\x00sloth-runner agent\x00\n"
"""Comes before the first frame, so that what a login shell prints by itself can be told from it."""
HELLO, START, REQUEST, RESULT, FAILURE, OUTPUT, CONTENT, CANCEL, PING, PONG = range(1, 11)
"""Kinds. HELLO (agent) and START (controller) open a stream. REQUEST asks for an operation; OUTPUT is what its
program says (a byte for the stream, 1 or 2, then the piece); RESULT or FAILURE ends it; CANCEL stops it. CONTENT is
a piece of what later requests name by digest: the digest (32 bytes), then bytes; the last one is not marked MORE.
PING is answered by PONG."""
MORE, ZIPPED = 1, 2
HEADER = struct.Struct(">BBIQ")
PIECE = 256 << 10
"""Bytes of a payload at most, zipped or not."""
MESSAGE = 64 << 20
"""Bytes of a message at most."""
PARTIAL = 128 << 20
"""Bytes of all messages that have begun and not ended, at most."""
WORTH = 200
"""Bytes from which it is worth trying to compress."""


class BadFrame(Exception):
    """What came over the stream is no frame; nothing that follows can be trusted."""


class Frame(NamedTuple):
    """One message, put together: what it is, whose, and what is in it. ``more``: of a content, whether more
    follows."""

    kind: int
    number: int
    payload: bytes
    more: bool = False


def frames(kind: int, number: int, payload: bytes = b"", prefix: bytes = b"") -> Iterator[bytes]:
    """The frames of a message, each whole; ``prefix`` stands before each piece of the payload."""
    size = PIECE - len(prefix)
    view = memoryview(payload)
    start = 0
    while True:
        piece = prefix + view[start : start + size]
        start += size
        flags = MORE if start < len(payload) else 0
        if len(piece) >= WORTH:
            zipped = zlib.compress(piece, 3)
            if len(zipped) < len(piece) - len(piece) // 16:
                piece, flags = zipped, flags | ZIPPED
        yield HEADER.pack(kind, flags, len(piece), number) + piece
        if not flags & MORE:
            return


def message(kind: int, number: int, payload: bytes = b"") -> bytes:
    """The same in one piece."""
    return b"".join(frames(kind, number, payload))


class Reader:
    """Takes a stream apart, however it is cut. ``limit``: bytes of a message at most."""

    def __init__(self, limit: int = MESSAGE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._partial: dict[tuple[int, int], list[bytes]] = {}
        self._sizes: dict[tuple[int, int], int] = {}

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The messages that ``data`` completes; the pieces of contents one by one. Raises BadFrame."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= HEADER.size:
                kind, flags, length, number = HEADER.unpack_from(buffer, start)
                _check(kind, flags, length)
                end = start + HEADER.size + length
                if len(buffer) < end:
                    break
                payload = bytes(buffer[start + HEADER.size : end])
                start = end
                frame = self._joined(kind, flags, number, payload)
                if frame is not None:
                    yield frame
        finally:
            del buffer[:start]

    @property
    def between(self) -> bool:
        """Whether the stream may end here: nothing has begun and not ended."""
        return not self._buffer and not self._partial

    def _joined(self, kind: int, flags: int, number: int, payload: bytes) -> Frame | None:
        if flags & ZIPPED:
            payload = _unzipped(payload)
        more = bool(flags & MORE)
        if kind == CONTENT:
            return Frame(kind, number, payload, more)
        key = (kind, number)
        if not more and key not in self._partial:
            return Frame(kind, number, payload)
        size = self._sizes.get(key, 0) + len(payload)
        if size > self._limit or sum(self._sizes.values()) + len(payload) > PARTIAL:
            raise BadFrame(f"a message of more than {self._limit:,} bytes")
        pieces = self._partial.setdefault(key, [])
        pieces.append(payload)
        self._sizes[key] = size
        if more:
            if len(self._sizes) > 1000 or len(pieces) > self._limit // PIECE * 4 + 4:
                raise BadFrame("too many messages have begun and not ended")
            return None
        del self._partial[key], self._sizes[key]
        return Frame(kind, number, b"".join(pieces))


def _check(kind: int, flags: int, length: int) -> None:
    if not HELLO <= kind <= PONG:
        raise BadFrame(f"there is no frame of kind {kind}")
    if flags & ~(MORE | ZIPPED):
        raise BadFrame(f"unknown flags {flags}")
    if length > PIECE:
        raise BadFrame(f"a frame of {length:,} bytes; {PIECE:,} are the most")


def _unzipped(payload: bytes) -> bytes:
    worker = zlib.decompressobj()
    try:
        out = worker.decompress(payload, PIECE)
    except zlib.error as error:
        raise BadFrame(f"damaged: {error}") from None
    if not worker.eof or worker.unused_data:
        raise BadFrame("a frame holds more than it may, or is damaged")
    return out
