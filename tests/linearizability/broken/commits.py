"""Why: a store may do something else than it was asked for, or twice, or not."""

from __future__ import annotations

from sloth_runner.errors import Conflict, StoreDown
from sloth_runner.state.layout import LEASE, namespace_of, place
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check, Entry, Rev, holds
from tests.linearizability.broken.base import Broken, Changes
from tests.linearizability.sim import HOP


class LostCompareAndSet(Broken):
    """A put that expects a Rev takes place whatever is there."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit([c._replace(expect=PRESENT) if self._is_old(c) else c for c in changes])

    def _is_old(self, change: Change | Check) -> bool:
        return isinstance(change, Change) and 0 < change.expect != self.rev(change.key) > 0


class ExpectedBefore(Broken):
    """Expectations are looked at first, outside of the step that writes."""

    def commit(self, changes: Changes) -> list[Rev]:
        failed = [c.key for c in changes if not holds(c.expect, self.rev(c.key))]
        if failed:
            raise Conflict("changed", keys=failed)
        self.sim.pause()
        return self.force(changes)


class WriteSkew(Broken):
    """Checks are judged by the picture at the beginning, writes by what is there in the end (snapshot isolation)."""

    def commit(self, changes: Changes) -> list[Rev]:
        failed = [c.key for c in changes if isinstance(c, Check) and not holds(c.expect, self.rev(c.key))]
        if failed:
            return self.inner.commit(changes)
        self.sim.pause(2 * HOP)
        return self.inner.commit([c._replace(expect=ANY) if isinstance(c, Check) else c for c in changes])


class DoubleApplied(Broken):
    """A lost reply is met by doing it again, on top of whatever is there by then."""

    def commit(self, changes: Changes) -> list[Rev]:
        revs = self.inner.commit(changes)
        if self.chance(0.2):
            self.sim.pause(2 * HOP)
            return self.force(changes)
        return revs


class SaysNotApplied(Broken):
    """A reply is lost, and that is called a failure."""

    def commit(self, changes: Changes) -> list[Rev]:
        revs = self.inner.commit(changes)
        if self.chance(0.1):
            raise StoreDown("the connection was lost", unchanged=["nothing was changed"])
        return revs


class OwnConflict(Broken):
    """A reply is lost, the client's library sends the same again, and that conflicts with its own first try."""

    def commit(self, changes: Changes) -> list[Rev]:
        revs = self.inner.commit(changes)
        return self.inner.commit(changes) if self.chance(0.2) else revs


class TornCommit(Broken):
    """What is changed together is seen in parts."""

    def commit(self, changes: Changes) -> list[Rev]:
        failed = [c.key for c in changes if not holds(c.expect, self.rev(c.key))]
        if failed:
            raise Conflict("changed", keys=failed)
        revs = []
        for change in changes:
            revs += self.force([change])
            self.sim.pause(HOP / 2)
        return revs


class HalfCommit(Broken):
    """What stands before the expectation that fails has been applied."""

    def commit(self, changes: Changes) -> list[Rev]:
        failed = [c.key for c in changes if not holds(c.expect, self.rev(c.key))]
        for change in changes if failed else ():
            if change.key in failed:
                raise Conflict("changed", keys=failed)
            self.inner.commit([change])
        return self.inner.commit(changes)


class CheckIgnored(Broken):
    """Checks are not looked at."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit([Check(c.key, ANY) if isinstance(c, Check) else c for c in changes])


class ForeignCheckIgnored(Broken):
    """Checks of other namespaces than the one that is written are not looked at."""

    def commit(self, changes: Changes) -> list[Rev]:
        own = {namespace_of(c.key) for c in changes if isinstance(c, Change)}
        return self.inner.commit(
            [Check(c.key, ANY) if own and namespace_of(c.key) not in own else c for c in changes]
        )


class CheckTouches(Broken):
    """A Check is made by writing the entry as it is, which gives it another Rev."""

    def commit(self, changes: Changes) -> list[Rev]:
        revs = self.inner.commit(changes)
        for change in changes:
            entry = self.inner.get(change.key)
            if isinstance(change, Check) and entry is not None and place(change.key).kind != LEASE:
                self.inner.commit([Change(change.key, entry.value)])
        return revs


class LostWrite(Broken):
    """Now and then what was acknowledged is gone."""

    def commit(self, changes: Changes) -> list[Rev]:
        if not self.chance(0.1):
            return self.inner.commit(changes)
        before = [(c.key, self.inner.get(c.key)) for c in changes if isinstance(c, Change)]
        revs = self.inner.commit(changes)
        self.inner.commit([Change(key, entry.value if entry else None) for key, entry in before])
        return revs


class LateWrite(Broken):
    """What was acknowledged is applied a little later, perhaps after what came next."""

    def commit(self, changes: Changes) -> list[Rev]:
        plain = all(isinstance(c, Change) and c.expect == ANY and c.value for c in changes)
        if not plain or not self.chance(0.5):
            return self.inner.commit(changes)

        def later() -> None:
            self.sim.pause(4 * HOP)
            self.inner.commit(changes)

        self.sim.start(later)
        return [self.inner.commit([Change("lin1\x1fm\x1fserial", b"")])[0]] * len(changes)


class RevReused(Broken):
    """Revs count from 1 again when an entry is made anew."""

    def get(self, key: str) -> Entry | None:
        entry = self.inner.get(key)
        return None if entry is None else self._seen(entry)

    def entries(self, prefix: str) -> list[Entry]:
        return [self._seen(entry) for entry in self.inner.scan(prefix)]

    def commit(self, changes: Changes) -> list[Rev]:
        failed = [c.key for c in changes if not holds(c.expect, self._rev(c.key))]
        if failed:
            raise Conflict("changed", keys=failed)
        before = [self.rev(c.key) for c in changes]
        self.force(changes)
        revs = []
        for change, was in zip(changes, before, strict=True):
            if isinstance(change, Change):
                self.shared.count[change.key] = self.shared.count.get(change.key, 0) + 1 if was else 1
            revs.append(self._rev(change.key))
        return revs

    def _rev(self, key: str) -> Rev:
        return self.shared.count[key] if self.inner.get(key) is not None else ABSENT

    def _seen(self, entry: Entry) -> Entry:
        return entry._replace(rev=self.shared.count[entry.key])


class RevByClock(RevReused):
    """Revs are the time in whole milliseconds: what is written twice in one has one Rev."""

    def commit(self, changes: Changes) -> list[Rev]:
        failed = [c.key for c in changes if not holds(c.expect, self._rev(c.key))]
        if failed:
            raise Conflict("changed", keys=failed)
        self.force(changes)
        for change in changes:
            if isinstance(change, Change):
                self.shared.count[change.key] = 1 + int(self.sim.now * 1000)
        return [self._rev(change.key) for change in changes]


class PresentAsAny(Broken):
    """What is expected to be there may as well not be."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit([c._replace(expect=ANY) if c.expect == PRESENT else c for c in changes])


class AbsentAsAny(Broken):
    """What is expected to be absent is overwritten."""

    def commit(self, changes: Changes) -> list[Rev]:
        return self.inner.commit([c._replace(expect=ANY) if c.expect == ABSENT else c for c in changes])


class ConflictNamesAll(Broken):
    """A Conflict names keys whose expectation held."""

    def commit(self, changes: Changes) -> list[Rev]:
        try:
            return self.inner.commit(changes)
        except Conflict:
            raise Conflict("changed", keys=[change.key for change in changes]) from None
