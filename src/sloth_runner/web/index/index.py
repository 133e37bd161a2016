"""Why: all pictures together answer as a view of state does: an agent's keys with what is shared among them."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from itertools import islice
from threading import Lock

from sloth_runner.plain import NamedTuple
from sloth_runner.state.layout import SHARED
from sloth_runner.web.index.leaf import HEADS
from sloth_runner.web.index.picture import Group, Picture
from sloth_runner.web.index.shelf import Shelf

ROOM = 40 << 20
"""Bytes that the values of all shelves together should take."""


_NOTHING = Picture(())


class Hit(NamedTuple):
    """A key that was found, and where the text stands: in its name ("key") or in its value."""

    namespace: str
    key: str
    match: str


class Index:
    """Shelves by namespace; ``shared_prefixes`` as in ``State``; ``heads``: how many a leaf is made of."""

    def __init__(self, shared_prefixes: tuple[str, ...], heads: int = HEADS) -> None:
        self._heads = heads
        self._shared_prefixes = shared_prefixes
        self._shelves: dict[str, Shelf] = {}
        self.listed = False
        """Whether all namespaces that the store had at the start have a shelf."""
        self._guard = Lock()

    def picture(self, namespace: str) -> Picture:
        """What is known of a namespace; nothing, if it has no shelf."""
        with self._guard:
            found = self._shelves.get(namespace)
        return _NOTHING if found is None else found.picture

    def find(self, namespace: str) -> Shelf | None:
        """The shelf of a namespace, if there is one and it has been read."""
        with self._guard:
            found = self._shelves.get(namespace)
        return found if found is not None and found.loaded else None

    def shelf(self, namespace: str) -> Shelf:
        """The shelf of a namespace, empty and not loaded if it is new."""
        with self._guard:
            found = self._shelves.get(namespace)
            if found is None:
                found = self._shelves[namespace] = Shelf(namespace, self._heads)
            return found

    def shelves(self) -> list[Shelf]:
        """All that there are, by name."""
        with self._guard:
            return [self._shelves[name] for name in sorted(self._shelves)]

    def room(self) -> int:
        """Bytes that the values of one more shelf may take."""
        return max(ROOM // 8, ROOM - sum(shelf.values for shelf in self.shelves()))

    def ready(self, namespace: str) -> bool:
        """Whether a namespace, and what it shares, have been read, if they are there."""
        names = {namespace, SHARED}
        with self._guard:
            known = [shelf.loaded for name, shelf in self._shelves.items() if name in names]
        return self.listed and all(known)

    def level(self, namespace: str, prefix: str, after: str, limit: int) -> list[Group]:
        """The ``limit`` next groups and keys below ``prefix``, own and shared ones, from beyond ``after``."""
        found = self.picture(namespace).level(prefix, after, limit)
        if namespace == SHARED:
            return found
        for start in self._shared(prefix):
            found = _merged(found, _shared_level(self.picture(SHARED), start, prefix, after, limit))
        return found[:limit]

    def count(self, namespace: str, prefix: str) -> int:
        """How many keys lie below ``prefix``, own and shared ones."""
        total = self.picture(namespace).below(prefix)
        if namespace != SHARED:
            shared = self.picture(SHARED)
            total += sum(shared.below(max(start, prefix, key=len)) for start in self._shared(prefix))
        return total

    def search(self, namespace: str, text: str, prefix: str, after: str, limit: int) -> list[Hit]:
        """The ``limit`` next keys whose name holds ``text``, then those whose value does; upper and lower case are
        one (of ASCII). ``after``: ``key/KEY`` or ``value/KEY``, the last one had."""
        place, _, last = after.partition("/")
        out: list[Hit] = []
        if place != "value" and "\n" not in text:  # no key has a line break; between keys there are some
            found = self._search(namespace, needle_of(text), values=False, prefix=prefix, after=last)
            out = [Hit(*pair, "key") for pair in islice(found, limit)]
            last = ""
        if len(out) < limit:
            found = self._search(
                namespace,
                needle_of(json.dumps(text, ensure_ascii=False)[1:-1]),
                values=True,
                prefix=prefix,
                after=last,
            )
            lowered = needle_of(text)
            fresh = (pair for pair in found if lowered not in needle_of(pair[1]))
            out += [Hit(*pair, "value") for pair in islice(fresh, limit - len(out))]
        return out

    def _search(
        self, namespace: str, needle: bytes, *, values: bool, prefix: str, after: str
    ) -> Iterator[tuple[str, str]]:
        parts = [
            _named(
                namespace,
                self.picture(namespace).search(needle, values=values, prefix=prefix, after=after),
            )
        ]
        if namespace != SHARED:
            shared = self.picture(SHARED)
            for start in self._shared(prefix):
                longer = max(start, prefix, key=len)
                parts.append(_named(SHARED, shared.search(needle, values=values, prefix=longer, after=after)))
        return heapq.merge(*parts, key=lambda pair: pair[1])

    def _shared(self, prefix: str) -> list[str]:
        """The shared prefixes below or above ``prefix``."""
        return [one for one in self._shared_prefixes if prefix.startswith(one) or one.startswith(prefix)]


def needle_of(text: str) -> bytes:
    """A text as it is searched for."""
    return text.encode("utf-8", "replace").lower()


def _named(namespace: str, keys: Iterator[str]) -> Iterator[tuple[str, str]]:
    return ((namespace, key) for key in keys)


def _shared_level(picture: Picture, start: str, prefix: str, after: str, limit: int) -> list[Group]:
    if prefix.startswith(start):
        return picture.level(prefix, after, limit)
    count = picture.below(start)
    if count == 1:
        return [Group(name, 1, False) for name in picture.names(start) if name > after]
    return [Group(start, count, True)] if count and start > after else []


def _merged(own: list[Group], shared: list[Group]) -> list[Group]:
    """Both in order; a group that is in both counts together."""
    out: list[Group] = []
    for group in heapq.merge(own, shared, key=lambda one: one.name):
        if out and out[-1].name == group.name:
            out[-1] = Group(group.name, out[-1].keys + group.keys, True)
        else:
            out.append(group)
    return out
