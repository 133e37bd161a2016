"""Why: a checkpoint of a million keys must be read in parts, and written in parts.

A *segment* is an object of sorted records: blocks of about 64 KiB, then an index of them, so that one key costs
one block. Segments that follow each other make a *run*; a checkpoint is a few runs, the newer hiding the older.
Objects are never written twice: their names are new each time, so that nothing which is on its way can hit
another's.
"""

from __future__ import annotations

import json
import struct
import threading
import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from sloth_runner.errors import Corrupt
from sloth_runner.plain import Final, NamedTuple
from sloth_runner.state.backends.s3_client import Objects
from sloth_runner.state.backends.s3_state import Row

WHOLE: Final = 256 << 10
"""Bytes up to which a segment is read in one piece."""
INDEXES: Final = 4096
"""Indexes of segments that are kept; each has some KiB."""
_HEAD = struct.Struct("<IIQ")
_DELETED = 0xFFFFFFFF


class Sizes(NamedTuple):
    """Bytes at which a block, and a segment, is closed; how many times larger an older run must be than all
    newer ones together to be left alone."""

    block: int = 64 << 10
    segment: int = 4 << 20
    ratio: int = 4


SIZES: Final = Sizes()


class Segment(NamedTuple):
    """What a manifest says of a segment: its name, bytes, where its index begins, records, first and last
    key."""

    name: str
    size: int
    index_at: int
    records: int
    first: str
    last: str


class Block(NamedTuple):
    """What an index says of a block: its first key, where it begins, its bytes and their checksum."""

    first: str
    start: int
    size: int
    crc: int


class Gone(Exception):
    """A segment of a checkpoint that newer ones have replaced for long is not there any more."""


Rows = tuple[list[str], list[Row]]
"""A block's keys in order, and what stands under them."""


class Segments:
    """Reads segments; keeps what was read last, up to ``cache`` bytes. May be used from several threads."""

    def __init__(self, objects: Objects, cache: int) -> None:
        self._objects = objects
        self._most = cache
        self._guard = threading.Lock()
        self._indexes: dict[str, list[Block]] = {}
        self._blocks: OrderedDict[tuple[str, int], tuple[Rows, int]] = OrderedDict()
        self._size = 0

    def find(self, segment: Segment, key: str) -> Row | None:
        """What it holds under a key. Raises Gone, Corrupt, StoreDown."""
        blocks = self._index(segment)
        place = bisect_right(blocks, key, key=_first) - 1
        if place < 0:
            return None
        keys, rows = self._load(segment, blocks, place, 1)
        found = bisect_left(keys, key)
        return rows[found] if found < len(keys) and keys[found] == key else None

    def rows(self, segment: Segment, low: str, high: str, reverse: bool) -> Iterator[tuple[str, Row]]:
        """All from ``low`` up to ``high`` ("": the end), in order; more at once the longer it goes on."""
        blocks = self._index(segment)
        first = max(bisect_right(blocks, low, key=_first) - 1, 0)
        end = bisect_left(blocks, high, key=_first) if high else len(blocks)
        places = range(end - 1, first - 1, -1) if reverse else range(first, end)
        ahead = 1
        for place in places:
            keys, rows = self._load(segment, blocks, place, 1 if reverse else min(ahead, end - place))
            start = bisect_left(keys, low)
            stop = bisect_left(keys, high) if high else len(keys)
            chosen = range(stop - 1, start - 1, -1) if reverse else range(start, stop)
            for index in chosen:
                yield keys[index], rows[index]
            ahead = min(2 * ahead, 64)

    def _index(self, segment: Segment) -> list[Block]:
        with self._guard:
            known = self._indexes.get(segment.name)
        if known is not None:
            return known
        start = 0 if segment.size <= WHOLE else segment.index_at
        data = self._get(segment, start, segment.size)
        try:
            table = json.loads(data[segment.index_at - start :])
            blocks = [Block(*row) for row in table]
        except (ValueError, TypeError) as error:
            raise Corrupt(f"the index of {segment.name} can't be read: {error!r}") from error
        if start == 0:
            for place in range(len(blocks)):
                self._keep(segment, blocks, place, data, 0)
        with self._guard:
            if len(self._indexes) >= INDEXES:
                self._indexes.clear()
            self._indexes[segment.name] = blocks
        return blocks

    def _load(self, segment: Segment, blocks: list[Block], place: int, ahead: int) -> Rows:
        """A block; if it has to be fetched, with those after it, ``ahead`` altogether."""
        with self._guard:
            known = self._blocks.get((segment.name, place))
            if known is not None:
                self._blocks.move_to_end((segment.name, place))
                return known[0]
        last = blocks[place + ahead - 1]
        start = blocks[place].start
        data = self._get(segment, start, last.start + last.size)
        for other in range(place + ahead - 1, place, -1):
            self._keep(segment, blocks, other, data, start)
        return self._keep(segment, blocks, place, data, start)

    def _keep(self, segment: Segment, blocks: list[Block], place: int, data: bytes, start: int) -> Rows:
        block = blocks[place]
        part = data[block.start - start : block.start - start + block.size]
        if zlib.crc32(part) != block.crc:
            raise Corrupt(f"{segment.name} is damaged: a checksum differs")
        rows = _decode(part)
        with self._guard:
            if (segment.name, place) not in self._blocks:
                self._size += block.size
                self._blocks[segment.name, place] = rows, block.size
            while self._size > self._most and len(self._blocks) > 1:
                _, (_, size) = self._blocks.popitem(last=False)
                self._size -= size
        return rows

    def _get(self, segment: Segment, start: int, end: int) -> bytes:
        data = self._objects.get_range(segment.name, start, end)
        if data is None:
            raise Gone(segment.name)
        if len(data) != end - start:
            raise Corrupt(f"{segment.name} is damaged: it is too short")
        return data


class RunWriter:
    """Puts sorted rows into new segments. ``new_name`` names them."""

    def __init__(self, objects: Objects, new_name: Callable[[], str], sizes: Sizes) -> None:
        self._objects = objects
        self._new_name = new_name
        self._sizes = sizes
        self._segments: list[Segment] = []
        self._parts: list[bytes] = []
        self._blocks: list[Block] = []
        self._block = bytearray()
        self._low = ""
        """The first key of the block that is being filled."""
        self._start = 0
        self._count = 0

    def write(self, rows: Iterable[tuple[str, Row]]) -> list[Segment]:
        """Write all of them. Raises StoreDown."""
        last = ""
        for last, (value, rev) in rows:
            if not self._block:
                self._low = last
            name = last.encode()
            size = _DELETED if value is None else len(value)
            self._block += _HEAD.pack(len(name), size, rev) + name + (value or b"")
            self._count += 1
            if len(self._block) >= self._sizes.block:
                self._close_block()
                if self._start >= self._sizes.segment:
                    self._close_segment(last)
        self._close_block()
        self._close_segment(last)
        return self._segments

    def _close_block(self) -> None:
        if not self._block:
            return
        data = bytes(self._block)
        self._parts.append(data)
        self._blocks.append(Block(self._low, self._start, len(data), zlib.crc32(data)))
        self._start += len(data)
        self._block.clear()

    def _close_segment(self, last: str) -> None:
        if not self._blocks:
            return
        table = json.dumps(self._blocks, ensure_ascii=False, separators=(",", ":"))
        body = b"".join((*self._parts, table.encode()))
        name, first = self._new_name(), self._blocks[0].first
        self._objects.put(name, body)
        self._segments.append(Segment(name, len(body), self._start, self._count, first, last))
        self._parts, self._blocks = [], []
        self._start = self._count = 0


def _decode(data: bytes) -> Rows:
    keys: list[str] = []
    rows: list[Row] = []
    at = 0
    try:
        while at < len(data):
            name, size, rev = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            keys.append(data[at : at + name].decode())
            at += name
            if size == _DELETED:
                rows.append((None, rev))
            else:
                rows.append((data[at : at + size], rev))
                at += size
    except (struct.error, UnicodeDecodeError) as error:
        raise Corrupt(f"a checkpoint's record can't be read: {error!r}") from error
    return keys, rows


def _first(block: Block) -> str:
    return block.first
