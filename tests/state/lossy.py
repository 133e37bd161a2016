"""Why: networks lose requests and replies, delay them, and let others act in between; this one does so on demand."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from sloth_runner.errors import Conflict, Indeterminate, StoreDown
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.patience import Patience
from sloth_runner.state.patient import Patient
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Change, Check, Entry, Rev, Store
from tests.state.kit import Clock, key_source, make_state

FATES = (
    "fine",
    "lost before",
    "lost after",
    "late",
    "down",
    "rival, then lost after",
    "lost after, then rival",
)
"""What may happen to a commit. ``late``: it is made after its sender has given up waiting, before the next one."""


class Lossy:
    """``inner`` behind a bad network. ``fates`` say what becomes of the next commits, then all is fine; ``rival`` is
    somebody else's turn."""

    def __init__(self, inner: Store, rival: Callable[[], object] = lambda: None) -> None:
        self.inner = inner
        self.traits = inner.traits._replace(embedded=False, patience=Patience(1e9, 1e9, sleep=lambda _: None))
        self.rival = rival
        self.fates: deque[str] = deque()
        self._late: list[list[Change | Check]] = []

    def suffer(self, fates: Iterable[str]) -> None:
        """These are the fates of the next commits."""
        self.fates = deque(fates)

    def get(self, key: str) -> Entry | None:
        """See Store."""
        return self.inner.get(key)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        return self.inner.scan(prefix, after=after, limit=limit, reverse=reverse)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        self.arrive()
        fate = self.fates.popleft() if self.fates else "fine"
        if fate in ("rival", "rival, then lost after"):
            self.rival()
        if fate in ("fine", "rival"):
            return self.inner.commit(changes)
        if fate == "down":
            raise StoreDown("the server does not answer")
        if fate == "late":
            self._late.append(list(changes))
        elif fate != "lost before":
            try:
                self.inner.commit(changes)
            except Conflict:
                pass  # that reply is lost, too
        if fate == "lost after, then rival":
            self.rival()
        raise Indeterminate("the reply was lost")

    def arrive(self) -> None:
        """What is late arrives."""
        late, self._late = self._late, []
        for changes in late:
            try:
                self.inner.commit(changes)
            except Conflict:
                pass

    def close(self) -> None:
        """See Store."""


class Line:
    """Somebody (``mine``) at the end of a bad line to a store, and a rival who is right beside it."""

    def __init__(self, *, sealed: bool, retention: Retention | None = None) -> None:
        self.clock = Clock()
        self.memory = MemoryStore(self.clock)
        self.lossy = Lossy(self.memory)
        patience = Patience(1e9, 1e9, sleep=lambda seconds: None)
        patience.contact.reached = True
        patient = Patient(self.lossy, patience)
        self.store = Sealed(patient, key_source()) if sealed else patient
        self.direct = Sealed(self.memory, key_source()) if sealed else self.memory
        self.mine = make_state(self.store, self.clock, retention=retention)
        self.rival = make_state(self.direct, self.clock, retention=retention)
        self.rival.writer.new_id = iter(f"{i:032x}" for i in itertools.count(1 << 64)).__next__

    def suffer(self, fates: list[str], rival: Callable[[], object]) -> None:
        """The fates of the next commits, and what the rival does in its turn."""
        self.lossy.rival = rival
        self.lossy.suffer(fates)

    def calm(self) -> None:
        """All that is late has arrived, and the line is good."""
        self.lossy.suffer(())
        self.lossy.arrive()
