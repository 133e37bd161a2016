"""Why: a store may let two hold one lock."""

from __future__ import annotations

from sloth_runner.state.layout import FENCE, LEASE, place
from sloth_runner.state.store import ABSENT, ANY, Change, Check, Entry, Rev
from tests.linearizability.broken.base import Broken, Changes, Shared


class FenceIgnored(Broken):
    """Whether the token is still the newest is not looked at."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit(
            [Check(c.key, ANY) if isinstance(c, Check) and place(c.key).kind == FENCE else c for c in changes]
        )


class LeaseIgnored(Broken):
    """Whether the own lease has ended is not looked at."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit(
            [Check(c.key, ANY) if isinstance(c, Check) and place(c.key).kind == LEASE else c for c in changes]
        )


class LeaseEndsEarly(Broken):
    """A lease lasts half as long as was asked for."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit(
            [c._replace(lease=c.lease / 2) if isinstance(c, Change) and c.lease else c for c in changes]
        )


class LeaseNeverEnds(Broken):
    """A lease is kept for good."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit([c._replace(lease=None) if isinstance(c, Change) else c for c in changes])


class ShiftedClock(Broken):
    """A handle whose host's clock is an hour ahead takes running leases for ended."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._ahead = self.chance(0.3)

    def get(self, key: str) -> Entry | None:
        return None if self._ahead and place(key).kind == LEASE else self.inner.get(key)

    def commit(self, changes: Changes) -> list[Rev]:
        if not self._ahead:
            return self.inner.commit(changes)
        return self.inner.commit(
            [
                c._replace(expect=ANY) if place(c.key).kind == LEASE and c.expect == ABSENT else c
                for c in changes
            ]
        )


class RenewalBumpsFence(Broken):
    """Renewing a lease gives the fence another Rev."""

    def commit(self, changes: Changes) -> list[Rev]:
        revs = self.inner.commit(changes)
        leased = any(isinstance(c, Change) and c.lease for c in changes)
        for change in changes:
            fence = self.inner.get(change.key)
            if leased and isinstance(change, Check) and fence is not None:
                self.inner.commit([Change(change.key, fence.value)])
        return revs
