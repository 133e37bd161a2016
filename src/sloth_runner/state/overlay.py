"""Why: a transaction must see its own writes before anyone else does, and a plan must write nothing at all.

``Overlay`` is a Store over a Store. Its own writes lie on top; nothing reaches the inner store. It keeps what
it has read, so that one commit can later assert all of it and apply all writes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from sloth_runner.errors import Bug, Conflict
from sloth_runner.state.store import ABSENT, Change, Check, Entry, Rev, Store, Traits, check_commit, holds

FIRST_REV = 1 << 62
"""Own writes are numbered from here: no inner store gets that far."""


class Overlay:
    """Own writes over ``inner``. ``reads`` maps each key looked at to the inner Rev first seen (0: absent). With
    ``leases`` it takes them, for an overlay that is thrown away: they never end."""

    def __init__(self, inner: Store, *, leases: bool = False) -> None:
        self._inner = inner
        self._leases = leases
        inside = inner.traits
        self.traits = Traits(True, 1, inside.max_changes, inside.max_value)
        self.reads: dict[str, Rev] = {}
        self._own: dict[str, Entry | None] = {}
        self._last = FIRST_REV

    def turn_to(self, inner: Store) -> None:
        """From now on use this handle on the inner store."""
        self._inner = inner

    def get(self, key: str) -> Entry | None:
        """See Store."""
        if key in self._own:
            return self._own[key]
        entry = self._inner.get(key)
        self.reads.setdefault(key, entry.rev if entry else ABSENT)
        return entry

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store. What it returns from the inner store counts as read; keys that it lacked do not."""
        hidden = 0 if limit is None else sum(key.startswith(prefix) for key in self._own)
        most = None if limit is None else limit + hidden
        inner = self._inner.scan(prefix, after=after, limit=most, reverse=reverse)
        own = sorted(
            (e for e in self._own.values() if e is not None and e.key.startswith(prefix)), reverse=reverse
        )
        if after:
            own = [e for e in own if (e.key < after if reverse else e.key > after)]
        count = 0
        for entry in heapq.merge(inner, own, key=lambda e: e.key, reverse=reverse):
            mine = entry.rev > FIRST_REV
            if not mine and entry.key in self._own:
                continue
            if limit is not None and count >= limit:
                return
            if not mine:
                self.reads.setdefault(entry.key, entry.rev)
            count += 1
            yield entry

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store; applied to the top only. Leases belong to a store's clock and are refused here."""
        check_commit(changes, self.traits)
        found = [entry.rev if (entry := self.get(c.key)) else ABSENT for c in changes]
        failed = [c.key for c, rev in zip(changes, found, strict=True) if not holds(c.expect, rev)]
        if failed:
            raise Conflict("the picture of this transaction changed", keys=failed)
        revs: list[Rev] = []
        for change, rev in zip(changes, found, strict=True):
            if isinstance(change, Change):
                if change.lease is not None and not self._leases:
                    raise Bug("a lease can't be taken inside an overlay")
                self._last += 1
                gone = change.value is None
                self._own[change.key] = None if gone else Entry(change.key, change.value or b"", self._last)
                rev = ABSENT if gone else self._last
            revs.append(rev)
        return revs

    def changes(self) -> list[Change | Check]:
        """The commit that makes it so: every read asserted, every write applied."""
        out: list[Change | Check] = []
        for key, rev in self.reads.items():
            if key not in self._own:
                out.append(Check(key, rev))
            elif self._own[key] is not None or rev != ABSENT:
                entry = self._own[key]
                out.append(Change(key, None if entry is None else entry.value, rev))
            else:
                out.append(Check(key, ABSENT))
        return out

    def close(self) -> None:
        """See Store; the inner store stays open."""
