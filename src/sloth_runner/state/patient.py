"""Why: a server that is away for a moment (a restart, a failover, a cable) is no reason to fail.

A store over a store: what surely was not done because the server did not answer is tried again, as long as the
handle's patience lasts. A commit whose fate is unknown is not: ``commits.settle`` knows how to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sloth_runner.errors import Busy, Forbidden, StoreDown
from sloth_runner.plain import TYPE_CHECKING, TypeVar
from sloth_runner.state.patience import CONTENTION, OUTAGE, Patience, Tries
from sloth_runner.state.store import Change, Check, Entry, Over, Rev, Store

if TYPE_CHECKING:
    T = TypeVar("T")


class Patient(Over):
    """The store ``inner``, with patience."""

    def __init__(self, inner: Store, patience: Patience) -> None:
        self.inner = inner
        self.traits = inner.traits._replace(patience=patience)
        self._patience = patience
        self._contact = patience.contact

    def get(self, key: str) -> Entry | None:
        """See Store."""
        begun = self._patience.now()
        try:
            found = self.inner.get(key)
        except StoreDown as error:
            found = self._again(error, begun, lambda: self.inner.get(key))
        self._contact.reached = True
        return found

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store. A scan that has begun is not begun anew: it would be of another moment."""

        def start() -> tuple[Iterator[Entry], Entry | None]:
            entries = iter(self.inner.scan(prefix, after=after, limit=limit, reverse=reverse))
            return entries, next(entries, None)

        begun = self._patience.now()
        try:
            rest, first = start()
        except StoreDown as error:
            rest, first = self._again(error, begun, start)
        self._contact.reached = True
        if first is not None:
            yield first
            yield from rest

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        begun = self._patience.now()
        try:
            revs = self.inner.commit(changes)
        except StoreDown as error:
            revs = self._again(error, begun, lambda: self.inner.commit(changes))
        self._contact.reached = True
        return revs

    def close(self) -> None:
        """See Store."""
        self.inner.close()

    def _again(self, error: StoreDown, begun: float, work: Callable[[], T]) -> T:
        tries = Tries(self._patience, CONTENTION if isinstance(error, Busy) else OUTAGE, begun)
        while not isinstance(error, Forbidden) and tries.again(error):
            try:
                return work()
            except StoreDown as next_error:
                error = next_error
        raise error
