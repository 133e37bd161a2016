"""Why: to write over a log costs half of what it costs to make it longer, and less where each sync of a disk is slow:
for what has its place already, the file system has nothing of its own to record.

So whoever commits again and again makes the log longer beforehand, with zeros, at its very end, and inside a
transaction that writes: then nobody else adds to the log, begins it anew or cuts it off. SQLite takes no notice: what
ends a log is the first frame without the log's salt and a right checksum, not the end of the file
(https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
"""

from __future__ import annotations

import os
from contextlib import suppress

CHECKPOINT = 1000
"""Pages in the write-ahead log (4 MiB) before they are moved and it is begun anew."""
EVERY = 8
"""Commits after which it is looked at: a command that makes one or two never is a part of this."""

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
"""Appended, since what is written to a place that was the end a moment ago may be written over a frame: the log of
this name may be another one by now, in which others write."""

_HEADER, _FRAME_HEADER, _PAGE = 32, 24, 4096
_FRAME = _FRAME_HEADER + _PAGE
_NOTHING = bytes(_FRAME_HEADER)
_AHEAD = 32 * _FRAME
"""Bytes that so many commits mostly don't reach."""
_LEAST = _HEADER + 64 * _FRAME
MOST = _HEADER + (CHECKPOINT + 32) * _FRAME
"""Bytes beyond which no room is made."""


def make_room(log: str) -> None:
    """Make a log twice as long if it is nearly full, up to what it has when it is begun anew. Only while a
    transaction that writes is open on its file."""
    with suppress(OSError):  # the commit itself tells of whatever hinders it, too
        descriptor = os.open(log, FLAGS)
        try:
            size = os.fstat(descriptor).st_size
            if size < MOST and os.pread(descriptor, _FRAME_HEADER, max(_HEADER, size - _AHEAD)) != _NOTHING:
                wanted = min(max(2 * size - _HEADER, _LEAST), MOST)
                os.write(descriptor, bytes(wanted - size))
        finally:
            os.close(descriptor)
