"""Why: reading is the same for a handle (as of now) and for a snapshot (as of one revision): get, and scans by pages.

A scan is a snapshot: its pages after the first are read at the revision of the first. If etcd compacts that revision
away in the midst, the scan ends with Busy; what it had given was true.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sloth_runner.errors import Busy
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.backends import etcd_pb as pb
from sloth_runner.state.backends.etcd_errors import Fault
from sloth_runner.state.store import Entry

if TYPE_CHECKING:
    from sloth_runner.state.backends.etcd_link import Link

FIRST: Final = 128
"""Entries of a scan's first page."""
BACK: Final = 256
"""Entries that are asked for in descending order at once."""
MOST: Final = 1000
"""Entries of any page."""
BYTES: Final = 1 << 20
"""Bytes of values that a page should have, going by the page before it."""


class Reading:
    """``get`` and ``scan`` below ``prefix``; at ``revision``, or (0) as of now."""

    def __init__(self, link: Link, prefix: bytes, revision: int = 0) -> None:
        self._link = link
        self._prefix = prefix
        self._skip = len(prefix)
        self._revision = revision

    def get(self, key: str) -> Entry | None:
        """See Store."""
        request = pb.RangeRequest(key=self._prefix + key.encode(), revision=self._revision)
        kvs = self._range(request).kvs
        if not kvs:
            return None
        (found,) = kvs
        return Entry(key, found.value, found.mod_revision)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store; a snapshot. Raises Busy as well."""
        start, end = self.span(prefix)
        if after and reverse:
            end = min(end, self._prefix + after.encode())
        elif after:
            start = max(start, self._prefix + after.encode() + b"\0")
        if start >= end or limit == 0:
            return iter(())
        found = self._backward(start, end, limit) if reverse else self._forward(start, end, limit)
        return found if limit is None else islice(found, limit)

    def span(self, prefix: str) -> tuple[bytes, bytes]:
        """The first name in etcd that begins so, and the first beyond. (The last byte of UTF-8 is never the last.)"""
        start = self._prefix + prefix.encode()
        return start, start[:-1] + bytes([start[-1] + 1])

    def pinned(self) -> Reading:
        """The same as of this moment."""
        reply = self._range(pb.RangeRequest(key=self._prefix, keys_only=True, revision=self._revision))
        return Reading(self._link, self._prefix, self._revision or reply.header.revision)

    def _forward(self, start: bytes, end: bytes, limit: int | None) -> Iterator[Entry]:
        revision, page = self._revision, FIRST
        while True:
            request = pb.RangeRequest(
                key=start, range_end=end, revision=revision, limit=page if limit is None else min(page, limit)
            )
            reply = self._range(request)
            yield from map(self._entry, reply.kvs)
            if not reply.more or (limit is not None and len(reply.kvs) >= limit):
                return
            limit = None if limit is None else limit - len(reply.kvs)
            revision = revision or reply.header.revision
            start = reply.kvs[-1].key + b"\0"
            page = _next_page(reply)

    def _backward(self, start: bytes, end: bytes, limit: int | None) -> Iterator[Entry]:
        """etcd reads the whole range for each page in descending order. So one page is taken that way; for more,
        the places between pages are looked up first, and the pages read from the last to the first."""
        if limit is not None and limit <= BACK:
            request = pb.RangeRequest(
                key=start,
                range_end=end,
                revision=self._revision,
                limit=limit,
                sort_order=pb.RangeRequest.DESCEND,
            )
            yield from map(self._entry, self._range(request).kvs)
            return
        marks, revision = self._marks(start, end)
        for low, high in zip(reversed(marks), [end, *reversed(marks)], strict=False):
            request = pb.RangeRequest(key=low, range_end=high, revision=revision)
            yield from map(self._entry, reversed(self._range(request).kvs))

    def _marks(self, start: bytes, end: bytes) -> tuple[list[bytes], int]:
        """Every so many keys of a range, from its start on; and the revision they were looked up at."""
        marks, revision = [start], self._revision
        while True:
            reply = self._range(
                pb.RangeRequest(
                    key=marks[-1], range_end=end, revision=revision, limit=FIRST + 1, keys_only=True
                )
            )
            revision = revision or reply.header.revision
            if len(reply.kvs) <= FIRST:
                return marks, revision
            marks.append(reply.kvs[-1].key)

    def _range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        try:
            return self._link.look(request)
        except Fault as fault:
            raise Busy(
                f"etcd at {fault.host} compacted its history while it was being read",
                operation="etcd",
                unchanged=["nothing was changed"],
                next=["try again", "let etcd keep more of it: --auto-compaction-retention on the servers"],
            ) from None

    def _entry(self, found: pb.KeyValue) -> Entry:
        return Entry(found.key[self._skip :].decode(), found.value, found.mod_revision)


def _next_page(reply: pb.RangeResponse) -> int:
    """How many entries of the size of these make a page."""
    size = sum(len(kv.value) for kv in reply.kvs)
    return max(1, min(MOST, 4 * len(reply.kvs), BYTES * len(reply.kvs) // max(size, 1)))
