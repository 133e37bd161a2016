"""Why: some hundred neighbouring keys are kept as a few runs of bytes: searching them is one search in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.record import glance

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry

HEADS = 1000
"""Heads that a leaf is made of, usually."""
VALUE = 96
"""Bytes of a value that are kept to be searched."""
_NEVER = float("inf")


class Leaf(NamedTuple):
    """The keys beyond ``low`` and up to ``high`` (None: to the end), of which ``live`` have a value. ``keys`` and
    ``values`` hold one line for each of those (no key and no canonical text has a line break); ``lower``: there is no
    upper case in them.

    ``times`` are when each was written last (doubles): of those lines, then of the keys of ``gone``, which have no
    value.

    ``heads``, ``size``, ``revisions``, ``oldest``, ``newest``: as ``State.stats`` counts; ``writes``: how often its
    keys were ever written; ``soonest``: when the first of them expires; ``signature``: changes with any of its heads.
    """

    low: str
    high: str | None
    keys: bytes
    values: bytes
    gone: bytes
    times: bytes
    lower: tuple[bool, bool]
    live: int
    heads: int
    size: int
    revisions: int
    writes: int
    oldest: float
    newest: float
    soonest: float
    signature: int

    def names(self) -> list[str]:
        """Its keys, in order."""
        return self.keys.decode().split("\n") if self.keys else []

    def written(self) -> Iterator[tuple[float, str]]:
        """All its keys, also those without a value, and when they were written last, the latest first."""
        times = array("d", self.times)
        names = [*self.names(), *(self.gone.decode().split("\n") if self.gone else [])]
        for number in sorted(range(len(times)), key=times.__getitem__, reverse=True):
            yield times[number], names[number]

    def hits(self, needle: bytes, *, values: bool) -> list[int]:
        """The places (from 0) of keys whose name, or value, holds ``needle`` (lower case)."""
        text = self.values if values else self.keys
        if not self.lower[values]:
            text = text.lower()
        found: list[int] = []
        start = text.find(needle)
        line, seen = 0, 0
        while start >= 0:
            line += text.count(b"\n", seen, start)
            found.append(line)
            end = text.find(b"\n", start)
            if end < 0:
                break
            line, seen = line + 1, end + 1
            start = text.find(needle, seen)
        return found


def shortened(leaf: Leaf, most: int) -> Leaf:
    """The leaf with at most so many bytes of each value."""
    return leaf._replace(values=b"\n".join(line[:most] for line in leaf.values.split(b"\n")))


def signature(entries: Sequence[Entry]) -> int:
    """Names a state of these heads: each change of one gives it another Rev."""
    return hash((len(entries), tuple(entry.rev for entry in entries)))


def make_leaf(
    low: str, high: str | None, prefix: int, entries: Sequence[Entry], now: float, most: int = VALUE
) -> Leaf:
    """The leaf of these heads; ``prefix``: characters of a store key that stand before the name; ``most``: bytes of
    each value that are kept."""
    keys: list[str] = []
    gone: list[str] = []
    values: list[bytes] = []
    times, last = array("d"), array("d")
    size = revisions = writes = 0
    oldest, newest, soonest = _NEVER, 0.0, _NEVER
    for entry in entries:
        number, first, text, present, length, time, created, expires = glance(entry.value)
        revisions += number - first + 1
        writes += number
        newest = max(newest, time)
        if not present or (expires is not None and expires <= now):
            gone.append(entry.key[prefix:])
            last.append(time)
            continue
        if expires is not None:
            soonest = min(soonest, expires)
        size += length
        oldest = min(oldest, created)
        keys.append(entry.key[prefix:])
        times.append(time)
        values.append(b"" if text is None else text.encode()[:most])
    names, texts = "\n".join(keys).encode(), b"\n".join(values)
    lower = (names == names.lower(), texts == texts.lower())
    return Leaf(
        low, high, names, texts, "\n".join(gone).encode(), (times + last).tobytes(), lower,
        len(keys), len(entries), size, revisions, writes, oldest, newest, soonest, signature(entries),
    )  # fmt: skip
