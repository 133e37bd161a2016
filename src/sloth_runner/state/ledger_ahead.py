"""Why: a run that asks a ledger much asks for nearly all of it: one scan is a third of what asking for each costs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.ledger_queries import claimed
from sloth_runner.state.ledger_records import CALL_PREFIX, CALL_SIZE, Entry, decode

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry as StoreEntry
    from sloth_runner.state.store import Store

FEW, FEW_FAR, MOST = 2_000, 256, 20_000
"""Entries that are read with the first question (of a store that is far away), and altogether."""
ENOUGH, ENOUGH_FAR = 16, 4
"""After so many questions (of a store that is far away) the rest is read, too."""
_CALL = slice(len(CALL_PREFIX), len(CALL_PREFIX) + CALL_SIZE)
_SEEN = _CALL.stop + len(b'","seen":"')


class Ahead:
    """The entries of a ledger as far as they have been read ahead, and when more of them are. ``asked`` counts
    questions; ``prefix`` begins the store keys of entries; ``far``: the store is far away."""

    def __init__(self, prefix: str, *, far: bool) -> None:
        self.asked = 0
        self.whole = False
        """There are no others."""
        self._prefix = prefix
        self._few, self._enough = (FEW_FAR, ENOUGH_FAR) if far else (FEW, ENOUGH)
        self._last = ""
        self._left = MOST
        self._most = self._few
        self._under_way = False
        self._data: dict[str, bytes] = {}
        self._calls: dict[bytes, tuple[str, str]] = {}
        self._written: set[str] = set()

    @property
    def wanted(self) -> bool:
        """Whether the next question is to fetch more entries, too: there may be few, or many of them are wanted."""
        if self._under_way or self.whole or not self._left:
            return False
        return not self._last or self.asked >= self._enough

    @property
    def done(self) -> bool:
        """Whether no more is going to be read."""
        return self.whole or not self._left

    def want(self) -> None:
        """All of it is wanted."""
        self.asked = max(self.asked, self._enough)

    def begin(self) -> Callable[[Store], list[StoreEntry]] | None:
        """What reads more; None: that is not wanted now. ``learn`` is told what came of it."""
        if not self.wanted:
            return None
        self._under_way = True
        most = self._most = self._left if self.asked >= self._enough else self._few
        after = self._last
        return lambda store: list(store.scan(self._prefix, after=after, limit=most))

    def learn(self, entries: Sequence[StoreEntry], mine: Container[str]) -> dict[str, int]:
        """Note what was read, but for ``mine``, which are being written; their Revs by store key."""
        self._under_way = False
        self.whole = len(entries) < self._most
        self._left -= len(entries)
        skip = len(self._prefix)
        data, calls = self._data, self._calls
        revs: dict[str, int] = {}
        for key, value, rev in entries:
            if key in mine:
                continue
            name = key[skip:]
            data[name] = value
            revs[key] = rev
            if value.startswith(CALL_PREFIX) and "%" not in name:
                seen = value[_SEEN : value.index(b'"', _SEEN)]
                calls[value[_CALL]] = (name.partition(":")[2], seen.decode())
        if entries:
            self._last = entries[-1].key
        return revs

    def lacks(self, name: str) -> bool:
        """Whether there was no such entry, and none has been written since."""
        return self.whole and name not in self._data and name not in self._written

    def get(self, name: str) -> bytes | None:
        """An entry's data."""
        return self._data.get(name)

    def settled(self, call: str) -> tuple[str, str] | None:
        """The id of the resource that this very call found as wanted last time, and the stamps that it saw."""
        return self._calls.get(call.encode())

    def forget(self, name: str) -> None:
        """An entry is written anew: from now on the store tells of it."""
        self._written.add(name)
        old = self._data.pop(name, None)
        if old is not None and old.startswith(CALL_PREFIX):
            self._calls.pop(old[_CALL], None)

    def of(self, stack: str) -> Iterator[Entry]:
        """What a stack claims."""
        for data in self._data.values():
            found = claimed(decode(data), stack)
            if found is not None:
                yield found
