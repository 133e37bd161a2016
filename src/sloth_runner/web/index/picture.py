"""Why: the leaves of one namespace at one moment: where a key stands, how many lie between two, what holds a text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from itertools import accumulate

from sloth_runner.plain import NamedTuple
from sloth_runner.state.store import beyond
from sloth_runner.web.index.leaf import Leaf

SEPARATORS = (":", "/")
"""Where keys fold."""


class Group(NamedTuple):
    """Something of a tree's level: a key (``folded`` false), or all ``keys`` keys that start with ``name``."""

    name: str
    keys: int
    folded: bool


class Picture:
    """Nobody changes it, so any thread may read it."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self.leaves = leaves
        self._lows = [leaf.low for leaf in leaves]
        self._starts = [0, *accumulate(leaf.live for leaf in leaves)]

    @property
    def count(self) -> int:
        """Live keys."""
        return self._starts[-1]

    def number_of(self, key: str) -> int:
        """Which leaf a key belongs to."""
        return max(0, bisect_left(self._lows, key) - 1)

    def names(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Keys that start with ``prefix``, in order, from beyond ``after``."""
        beyond_after = after >= prefix and after != ""
        for leaf in self.leaves[self.number_of(max(prefix, after)) :]:
            names = leaf.names()
            start = bisect_right(names, after) if beyond_after else bisect_left(names, prefix)
            for name in names[start:]:
                if not name.startswith(prefix):
                    return
                yield name

    def below(self, prefix: str) -> int:
        """How many keys start with ``prefix``."""
        return self._rank(beyond(prefix)) - self._rank(prefix) if prefix else self.count

    def level(self, prefix: str, after: str, limit: int) -> list[Group]:
        """The ``limit`` next things below ``prefix``, from beyond ``after`` (the name of one of them)."""
        out: list[Group] = []
        if after.endswith(SEPARATORS) and after > prefix:
            name = self._first(prefix, beyond(after))
        else:
            name = next(self.names(prefix, after), None)
        while name is not None and len(out) < limit:
            group = _group(prefix, name)
            folds = len(group) > len(prefix) and group.endswith(SEPARATORS)
            count = self.below(group) if folds else 1
            if count == 1:
                out.append(Group(name, 1, False))
                name = next(self.names(prefix, name), None)
            else:
                out.append(Group(self._together(group, name), count, True))
                name = self._first(prefix, beyond(group))
        return out

    def search(self, needle: bytes, *, values: bool, prefix: str, after: str) -> Iterator[str]:
        """Keys whose name (or value) holds ``needle`` (lower case), in order, below ``prefix``, beyond ``after``."""
        end = beyond(prefix) if prefix else None
        for leaf in self.leaves[self.number_of(max(prefix, after)) :]:
            if end is not None and leaf.low >= end:
                return
            hits = leaf.hits(needle, values=values)
            if not hits:
                continue
            names = leaf.names()
            for hit in hits:
                if names[hit] > after and names[hit].startswith(prefix):
                    yield names[hit]

    def newest_first(self, prefix: str) -> Iterator[tuple[float, str]]:
        """Keys below ``prefix``, also those without a value, and when they were written last, the latest first."""
        end = beyond(prefix) if prefix else None
        inside = [
            leaf
            for leaf in self.leaves
            if leaf.heads and (leaf.high is None or leaf.high >= prefix) and (end is None or leaf.low < end)
        ]
        inside.sort(key=lambda leaf: leaf.newest, reverse=True)
        open_: list[tuple[float, str, Iterator[tuple[float, str]]]] = []
        while inside or open_:
            # A leaf is taken apart when nothing that is at hand is newer than all of it.
            if inside and (not open_ or -open_[0][0] <= inside[0].newest):
                _push(open_, inside.pop(0).written(), prefix)
                continue
            time, name, rest = heappop(open_)
            yield -time, name
            _push(open_, rest, prefix)

    def _first(self, prefix: str, low: str) -> str | None:
        """The first key below ``prefix`` that is not before ``low``."""
        for leaf in self.leaves[self.number_of(low) :]:
            names = leaf.names()
            at = bisect_left(names, low)
            if at < len(names):
                return names[at] if names[at].startswith(prefix) else None
        return None

    def _together(self, group: str, first: str) -> str:
        """The longest name that all keys of a group start with and that ends with a separator."""
        last = self._last_before(beyond(group))
        same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        return first[: max(first.rfind(mark, 0, same) for mark in SEPARATORS) + 1]

    def _last_before(self, end: str) -> str:
        for leaf in reversed(self.leaves[: self.number_of(end) + 1]):
            names = leaf.names()
            at = bisect_left(names, end)
            if at:
                return names[at - 1]
        return ""

    def _rank(self, key: str) -> int:
        """How many keys stand before ``key``."""
        if not self.leaves:
            return 0
        number = self.number_of(key)
        return self._starts[number] + bisect_left(self.leaves[number].names(), key)


def _push(
    heap: list[tuple[float, str, Iterator[tuple[float, str]]]], rest: Iterator[tuple[float, str]], prefix: str
) -> None:
    """The next of ``rest`` that starts with ``prefix`` goes to the heap, if there is one."""
    for time, name in rest:
        if name.startswith(prefix):
            heappush(heap, (-time, name, rest))
            return


def _group(prefix: str, name: str) -> str:
    """``name`` up to and with the first separator behind ``prefix``; all of it if there is none."""
    ends = [at for mark in SEPARATORS if (at := name.find(mark, len(prefix))) >= 0]
    return name[: min(ends) + 1] if ends else name
