"""Why: who writes a key again and again need not read it each time: its own last write is probably still there.

That is only a guess, and never more: every write made on top of a remembered head is committed with the
expectation that the head still has its Rev, and whoever would not commit reads the store instead. A Rev never
returns, so one that still stands has the same record under it.
"""

from __future__ import annotations

from sloth_runner.plain import NamedTuple
from sloth_runner.state.record import Record
from sloth_runner.state.store import Rev

MOST = 256
LONGEST = 4096
"""Bytes of a record that is worth keeping."""


class Head(NamedTuple):
    """A key's last record, as it is and as it stands in its entry, and the entry's Rev."""

    rev: Rev
    record: Record
    data: bytes


class Heads:
    """The heads that one handle wrote last, by store key: at most ``MOST``, none of them long."""

    __slots__ = ("_heads",)

    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}

    def get(self, key: str) -> Head | None:
        """What was written there last, if it is remembered."""
        return self._heads.get(key)

    def keep(self, key: str, head: Head) -> None:
        """Remember what has just been committed."""
        if len(head.data) > LONGEST or head.record.blob:
            self._heads.pop(key, None)
            return
        if len(self._heads) >= MOST and key not in self._heads:
            self._heads.clear()
        self._heads[key] = head

    def forget(self, key: str) -> None:
        """Have it read the next time."""
        self._heads.pop(key, None)
