"""Why: a server is tried before it is trusted: until it has proven what this store relies on, nothing is written.

A store over a store. The first commit of a process looks whether this server was proven before, by this URL: the
store says so in a record of its own, which is read together with the keyring, at no further cost. If it was not, the
backend's ``probe`` tries it; a server that fails is refused, and whoever only reads is not kept from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sloth_runner.errors import Conflict, Unfit
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import KEYRING, META, PROVEN, STORE, prefix_of
from sloth_runner.state.store import ABSENT, Change, Entry, Over

if TYPE_CHECKING:
    from sloth_runner.state.store import Bulk, Check, Proof, Rev, Store

FORMAT: Final = 1
"""Of the record; another one if there are new proofs that every store has to give."""
PLACES: Final = 20
"""URLs that a store remembers to have been proven by; the latest."""
_OWN: Final = prefix_of(STORE, META)


class Trust:
    """What this process knows of one store, through however many handles. ``url``: as it may be shown; ``clock``:
    seconds since the epoch."""

    __slots__ = ("clock", "proven", "record", "url")

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self.url = url
        self.clock = clock
        self.proven = False
        self.record: Entry | None = None
        """The store's record of what was proven, as read."""


class Trusting(Over):
    """The store ``inner``, into which nothing is written before its server was proven."""

    def __init__(self, inner: Store, trust: Trust) -> None:
        self.inner = inner
        self._trust = trust
        inside = inner.traits
        self.traits = inside._replace(
            bulk=self._bulk if inside.bulk else None, guard=self._guard if inside.guard else None
        )

    def get(self, key: str) -> Entry | None:
        """See Store. The keyring, which is looked for first of all, brings what was proven with it."""
        if key != KEYRING or self._trust.proven:
            return self.inner.get(key)
        return {entry.key: entry for entry in self.scan(prefix_of(STORE, META))}.get(KEYRING)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store. What the store says of itself tells what was proven, too."""
        found = self.inner.scan(prefix, after=after, limit=limit, reverse=reverse)
        if self._trust.proven or prefix != _OWN or after or limit is not None:
            return found
        own = list(found)
        self._take(next((entry for entry in own if entry.key == PROVEN), None))
        return iter(own)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store. Raises Unfit, too."""
        if not self._trust.proven:
            self._prove()
        return self.inner.commit(changes)

    def close(self) -> None:
        """See Store."""
        self.inner.close()

    @contextmanager
    def _bulk(self, namespace: str) -> Iterator[Bulk]:
        make = self.inner.traits.bulk
        assert make is not None
        if not self._trust.proven:
            self._prove()
        with make(namespace) as bulk:
            yield bulk

    def _guard(self, namespace: str, mark: bytes) -> None:
        guard = self.inner.traits.guard
        assert guard is not None
        if not self._trust.proven:
            self._prove()
        guard(namespace, mark)

    def _take(self, record: Entry | None) -> None:
        self._trust.record = record
        self._trust.proven = self._trust.url in _places(record)

    def _prove(self) -> None:
        self._take(self.inner.get(PROVEN))
        if self._trust.proven:
            return
        probe = self.inner.traits.probe
        if probe is not None:
            judge(probe(), self._trust.url)
        self._remember()
        self._trust.proven = True

    def _remember(self) -> None:
        """Have the store remember it. If another process does that at the same time, one of them is enough."""
        record = self._trust.record
        places = {**_places(record), self._trust.url: round(self._trust.clock())}
        kept = dict(sorted(places.items(), key=lambda item: item[1])[-PLACES:])
        value = json.dumps({"format": FORMAT, "proven": kept}).encode()
        try:
            settle(self.inner, [Change(PROVEN, value, ABSENT if record is None else record.rev)])
        except Conflict:
            pass


def judge(proofs: Sequence[Proof], url: str) -> None:
    """Raises Unfit if one of the proofs failed that a store can't do without."""
    failed = [proof for proof in proofs if proof.vital and not proof.good]
    if failed:
        words = "; ".join(f"{proof.name}: {proof.message}" for proof in failed)
        raise Unfit(
            f"the store {url} does not do what state relies on: {words}",
            unchanged=["nothing was stored"],
            next=[
                "see all that was tried: sloth-runner state doctor",
                "choose another store, or mend this one",
            ],
        )


def _places(record: Entry | None) -> dict[str, int]:
    """When the store was proven by which URL; nothing if that was said by another version, or can't be read."""
    if record is None:
        return {}
    try:
        row = json.loads(record.value)
        if row["format"] != FORMAT:
            return {}
        return {str(url): int(when) for url, when in row["proven"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
