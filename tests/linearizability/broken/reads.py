"""Why: a store may tell what is not so."""

from __future__ import annotations

from sloth_runner.errors import Conflict
from sloth_runner.state.store import Change, Entry, Rev, holds
from tests.linearizability.broken.base import Broken, Changes, Shared
from tests.linearizability.sim import HOP


class StaleRead(Broken):
    """A replica that lags behind answers reads."""

    def get(self, key: str) -> Entry | None:
        if key in self.shared.old and self.chance(0.2):
            return self.shared.old[key]
        return self.inner.get(key)

    def commit(self, changes: Changes) -> list[Rev]:
        before = {c.key: self.inner.get(c.key) for c in changes if isinstance(c, Change)}
        revs = self.inner.commit(changes)
        self.shared.old.update(before)
        return revs


class StaleScan(StaleRead):
    """A replica that lags behind answers scans; single reads are right."""

    def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    def entries(self, prefix: str) -> list[Entry]:
        there = {entry.key: entry for entry in self.inner.scan(prefix)}
        if self.chance(0.5):
            for key, entry in self.shared.old.items():
                if key in there and entry is not None:
                    there[key] = entry
        return list(there.values())


class PhantomScan(StaleRead):
    """An index still lists what was deleted."""

    def get(self, key: str) -> Entry | None:
        return self.inner.get(key)

    def entries(self, prefix: str) -> list[Entry]:
        there = list(self.inner.scan(prefix))
        keys = {entry.key for entry in there}
        gone = [
            e for k, e in self.shared.old.items() if e is not None and k.startswith(prefix) and k not in keys
        ]
        return there + (gone if self.chance(0.5) else [])


class MissingScan(Broken):
    """An index does not list yet what was made last."""

    def entries(self, prefix: str) -> list[Entry]:
        last = self.shared.new[-1] if self.shared.new and self.chance(0.5) else ""
        return [entry for entry in self.inner.scan(prefix) if entry.key != last]

    def commit(self, changes: Changes) -> list[Rev]:
        made = [
            c.key for c in changes if isinstance(c, Change) and c.value is not None and not self.rev(c.key)
        ]
        revs = self.inner.commit(changes)
        self.shared.new += made
        return revs


class DeleteUnseen(Broken):
    """A handle still shows what it has seen after others deleted it."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._seen: dict[str, Entry] = {}

    def get(self, key: str) -> Entry | None:
        entry = self.inner.get(key)
        if entry is not None:
            self._seen[key] = entry
        return self._seen.get(key)

    def commit(self, changes: Changes) -> list[Rev]:
        revs = self.inner.commit(changes)
        for change in changes:
            self._seen.pop(change.key, None)
        return revs


class HandleCache(Broken):
    """A handle answers from what it has read; only its own commits make it look again."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._cache: dict[str, Entry | None] = {}

    def get(self, key: str) -> Entry | None:
        if key not in self._cache:
            self._cache[key] = self.inner.get(key)
        return self._cache[key]

    def commit(self, changes: Changes) -> list[Rev]:
        self._cache.clear()
        return self.inner.commit(changes)


class DirtyRead(Broken):
    """Others see what is being written before it is certain, and is taken back."""

    def commit(self, changes: Changes) -> list[Rev]:
        failed = [c.key for c in changes if not holds(c.expect, self.rev(c.key))]
        first = next((c for c in changes if isinstance(c, Change) and c.value and c.key not in failed), None)
        if not failed or first is None:
            return self.inner.commit(changes)
        before = self.inner.get(first.key)
        (rev,) = self.force([first])
        self.sim.pause(2 * HOP)
        if self.rev(first.key) == rev:
            self.inner.commit([Change(first.key, before.value if before else None)])
        raise Conflict("changed", keys=failed)
