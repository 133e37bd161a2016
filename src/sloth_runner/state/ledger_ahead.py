"""Why: a run that asks a ledger much asks for nearly all of it: one scan is a third of what asking for each costs."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.ledger_queries import claimed
from sloth_runner.state.ledger_records import CALL_PREFIX, CALL_SIZE, Entry, decode

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry as StoreEntry

MOST = 20_000
"""Entries that are read ahead."""
FEW = 256
"""A ledger that has fewer entries is read ahead with the first question."""
AHEAD_FROM, AHEAD_FROM_FAR = 16, 4
"""After so many questions (of a store that is far away) any other is, too."""
_CALL = slice(len(CALL_PREFIX), len(CALL_PREFIX) + CALL_SIZE)
_SEEN = _CALL.stop + len(b'","seen":"')


class Foresight:
    """When a ledger is read ahead, and how far. ``asked`` counts questions; ``far``: the store is far away."""

    def __init__(self, far: bool) -> None:
        self.asked = 0
        self._enough = AHEAD_FROM_FAR if far else AHEAD_FROM
        self._under_way = False
        self._most = FEW

    @property
    def wanted(self) -> bool:
        """Whether the next question is to fetch the rest, too: there may be few others, or many are wanted."""
        return not self._under_way and (self._most == FEW or self.asked >= self._enough)

    def want(self) -> None:
        """All of it is wanted."""
        self.asked = max(self.asked, AHEAD_FROM)

    def begin(self) -> int:
        """How many entries to read now; 0: none."""
        if not self.wanted:
            return 0
        self._under_way = True
        return MOST if self.asked >= self._enough else FEW

    def suffices(self, found: int, most: int) -> bool:
        """Whether the ``found`` entries, of at most ``most``, are kept; else there are more than a few, and whether
        they are worth it shows."""
        self._most = MOST
        self._under_way = most == MOST or found < most
        return self._under_way


class Ahead:
    """The entries of a ledger as one scan of at most ``MOST`` found them, but for ``mine``, which are being written.
    ``skip``: characters of a store key before the (escaped) name."""

    def __init__(self, entries: Sequence[StoreEntry], skip: int, mine: Container[str]) -> None:
        self.whole = len(entries) < MOST
        """There are no others."""
        self.revs: dict[str, int] = {}
        """By store key."""
        self._data: dict[str, bytes] = {}
        self._calls: dict[bytes, tuple[str, str]] = {}
        self._fill(entries, skip, mine)

    def _fill(self, entries: Iterable[StoreEntry], skip: int, mine: Container[str]) -> None:
        data, calls, revs = self._data, self._calls, self.revs
        for key, value, rev in entries:
            if key in mine:
                continue
            name = key[skip:]
            data[name] = value
            revs[key] = rev
            if value.startswith(CALL_PREFIX) and "%" not in name:
                seen = value[_SEEN : value.index(b'"', _SEEN)]
                calls[value[_CALL]] = (name.partition(":")[2], seen.decode())

    def get(self, name: str) -> bytes | None:
        """An entry's data."""
        return self._data.get(name)

    def settled(self, call: str) -> tuple[str, str] | None:
        """The id of the resource that this very call found as wanted last time, and the stamps that it saw."""
        return self._calls.get(call.encode())

    def forget(self, name: str) -> None:
        """An entry is written anew."""
        old = self._data.pop(name, None)
        if old is not None and old.startswith(CALL_PREFIX):
            self._calls.pop(old[_CALL], None)

    def of(self, stack: str) -> Iterator[Entry]:
        """What a stack claims."""
        for data in self._data.values():
            found = claimed(decode(data), stack)
            if found is not None:
                yield found
