"""Why: all broken stores are one good store, and what they do otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.store import ABSENT, ANY, Change, Check, Entry, Rev
from tests.linearizability.sim import Sim

Changes = Sequence[Change | Check]


class Shared:
    """What the handles of one store have in common: the entries, and what a faulty store keeps beside them."""

    def __init__(self, sim: Sim) -> None:
        self.sim = sim
        self.store = MemoryStore(sim.clock)
        self.old: dict[str, Entry | None] = {}
        """Entries as they were before they were last changed."""
        self.new: list[str] = []
        """Keys that were made, in order."""
        self.count: dict[str, int] = {}


class Broken:
    """A handle without a fault yet."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.inner = shared.store
        self.traits = self.inner.traits
        self.sim = shared.sim

    def get(self, key: str) -> Entry | None:
        """See Store."""
        return self.inner.get(key)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        found = [
            e for e in self.entries(prefix) if not after or (e.key < after if reverse else e.key > after)
        ]
        found.sort(key=lambda e: e.key, reverse=reverse)
        return iter(found if limit is None else found[:limit])

    def entries(self, prefix: str) -> list[Entry]:
        """What a scan finds, before it is cut."""
        return list(self.inner.scan(prefix))

    def commit(self, changes: Changes) -> list[Rev]:
        """See Store."""
        return self.inner.commit(changes)

    def close(self) -> None:
        """See Store."""

    def chance(self, part: float) -> bool:
        """True in that part of all cases."""
        return self.sim.random.random() < part

    def rev(self, key: str) -> Rev:
        """The Rev that a key has now."""
        entry = self.inner.get(key)
        return entry.rev if entry else ABSENT

    def force(self, changes: Changes) -> list[Rev]:
        """Apply without looking at what is expected."""
        return self.inner.commit([c._replace(expect=ANY) for c in changes])
