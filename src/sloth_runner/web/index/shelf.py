"""Why: the picture of a namespace is made by reading all of it once, and kept true by reading what has changed."""

from __future__ import annotations

from threading import Lock

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import HEAD, prefix_of, store_key
from sloth_runner.state.state import Stats
from sloth_runner.web.index.leaf import HEADS, VALUE, Leaf, make_leaf, shortened, signature
from sloth_runner.web.index.picture import Picture

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry, Store

UNCHANGED = -1
LEAST = 8
"""Bytes of each value that are kept in any case."""


class Shelf:
    """One namespace. ``picture`` may be read by any thread. ``heads``: how many a leaf is made of; at twice as
    many it is cut."""

    def __init__(self, namespace: str, heads: int = HEADS) -> None:
        self._heads = heads
        self.namespace = namespace
        self.picture = Picture(())
        self.loaded = False
        self.read = 0
        """Heads read so far, while it is being loaded."""
        self.depth = VALUE
        """Bytes of each value that are searched."""
        self._guard = Lock()
        self._prefix = prefix_of(namespace, HEAD)

    def load(self, store: Store, now: float, room: int = 1 << 62) -> None:
        """Read everything. ``room``: bytes that all values together may take: each is cut shorter to fit."""
        leaves: list[Leaf] = []
        low, self.read, taken = "", 0, 0
        while True:
            entries = self._scan(store, low, self._heads)
            high = self._name(entries[-1]) if len(entries) == self._heads else None
            leaves.append(make_leaf(low, high, len(self._prefix), entries, now, self.depth))
            self.read += len(entries)
            taken += len(leaves[-1].values)
            while taken > room and self.depth > LEAST:
                self.depth //= 2
                leaves = [shortened(leaf, self.depth) for leaf in leaves]
                taken = sum(len(leaf.values) for leaf in leaves)
            if high is None:
                break
            low = high
        with self._guard:
            self.picture = Picture(leaves)
            self.loaded = True

    def look_at(self, store: Store, key: str, now: float) -> int:
        """A key has changed: make its leaf anew; the writes since it was made."""
        with self._guard:
            return self._refresh(store, self.picture.number_of(key), now, anyway=True)

    def look_over(self, store: Store, low: str, now: float) -> tuple[int, str | None]:
        """Look whether something has changed in the leaf that begins beyond ``low``: the writes since it was made (or
        UNCHANGED), and where the next one begins (None: it was the last)."""
        with self._guard:
            number = self.picture.number_of(low + "\0")
            high = self.picture.leaves[number].high
            return self._refresh(store, number, now), high

    def expire(self, store: Store, now: float) -> bool:
        """Make anew what something has expired in; whether there was any."""
        with self._guard:
            leaves = self.picture.leaves
            due = [n for n in range(len(leaves) - 1, -1, -1) if leaves[n].soonest <= now]
            for number in due:
                self._refresh(store, number, now, anyway=True)
        return bool(due)

    @property
    def values(self) -> int:
        """Bytes that the values take."""
        return sum(len(leaf.values) for leaf in self.picture.leaves)

    def stats(self) -> Stats:
        """As ``State.stats`` counts."""
        leaves = self.picture.leaves
        oldest = min((leaf.oldest for leaf in leaves if leaf.live), default=None)
        newest = max((leaf.newest for leaf in leaves if leaf.heads), default=None)
        return Stats(
            sum(leaf.live for leaf in leaves),
            sum(leaf.size for leaf in leaves),
            sum(leaf.revisions for leaf in leaves),
            oldest,
            newest,
        )

    def _refresh(self, store: Store, number: int, now: float, *, anyway: bool = False) -> int:
        leaves = self.picture.leaves
        old = leaves[number]
        entries = self._range(store, old)
        if not anyway and signature(entries) == old.signature:
            return UNCHANGED
        made = self._cut(old, entries, now)
        self.picture = Picture([*leaves[:number], *made, *leaves[number + 1 :]])
        return sum(leaf.writes for leaf in made) - old.writes

    def _scan(self, store: Store, low: str, limit: int) -> list[Entry]:
        after = store_key(self.namespace, HEAD, low) if low else ""
        return list(store.scan(self._prefix, after=after, limit=limit))

    def _range(self, store: Store, leaf: Leaf) -> list[Entry]:
        """All heads of a leaf's part of the store."""
        end = None if leaf.high is None else self._prefix + leaf.high
        out: list[Entry] = []
        low, page = leaf.low, leaf.heads + 50
        while True:
            entries = self._scan(store, low, page)
            inside = entries if end is None else [entry for entry in entries if entry.key <= end]
            out += inside
            if len(inside) < page:
                return out
            low = self._name(entries[-1])

    def _cut(self, old: Leaf, entries: list[Entry], now: float) -> list[Leaf]:
        """The leaves that come in place of ``old``: more than one if there is too much in it."""
        step = self._heads
        whole = len(entries) <= 2 * step
        parts = [entries] if whole else [entries[i : i + step] for i in range(0, len(entries), step)]
        made: list[Leaf] = []
        low = old.low
        for part in parts:
            high = old.high if part is parts[-1] else self._name(part[-1])
            made.append(make_leaf(low, high, len(self._prefix), part, now, self.depth))
            low = high or ""
        return made

    def _name(self, entry: Entry) -> str:
        return entry.key[len(self._prefix) :]
