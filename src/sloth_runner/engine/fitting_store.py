"""Why: a state may go to a store whose records are smaller; what runs have said of themselves is then shortened as if
they had been made there, and does not keep the state from going.

Nothing else is touched: what users and modules rely on goes whole, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sloth_runner.engine.fitting import fitted
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.layout import RUN, RUN_LIVE, RUN_TASK, place
from sloth_runner.state.store import Entry, Over, Reader

if TYPE_CHECKING:
    from sloth_runner.state.store import Change, Check, Rev, Store

_OF_RUNS: Final = (RUN, RUN_TASK, RUN_LIVE)


def fitting(most: int) -> Callable[[str, bytes], bytes]:
    """What becomes of a record, by its store key, where records have ``most`` bytes at most."""

    def fit(key: str, value: bytes) -> bytes:
        if len(value) <= most or place(key).kind not in _OF_RUNS:
            return value
        return fitted(json.loads(value), most)

    return fit


class FittingReader:
    """What ``inner`` reads, with records of runs of ``most`` bytes at most."""

    def __init__(self, inner: Reader, most: int) -> None:
        self._reader = inner
        self._most = most
        self._fit = fitting(most)

    def get(self, key: str) -> Entry | None:
        """See Reader."""
        entry = self._reader.get(key)
        return None if entry is None else self._fitted(entry)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Reader."""
        return map(self._fitted, self._reader.scan(prefix, after=after, limit=limit, reverse=reverse))

    def _fitted(self, entry: Entry) -> Entry:
        value = self._fit(entry.key, entry.value)
        return entry if value is entry.value else entry._replace(value=value)


class Fitting(FittingReader, Over):
    """The store ``inner``, read so."""

    def __init__(self, inner: Store, most: int) -> None:
        super().__init__(inner, most)
        self.inner = inner
        self.traits = inner.traits._replace(snapshot=self._snapshot if inner.traits.snapshot else None)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        return self.inner.commit(changes)

    def close(self) -> None:
        """See Store."""
        self.inner.close()

    @contextmanager
    def _snapshot(self, namespace: str) -> Iterator[Reader]:
        assert self.inner.traits.snapshot is not None
        with self.inner.traits.snapshot(namespace) as reader:
            yield FittingReader(reader, self._most)
