"""Why: replaying the log gives every process the same state; this is that state, and nothing here waits or
asks.

What the newest checkpoint holds lies in its segments (``Base``); what was committed since is kept here. The
state is a function of the log's contents alone: no clock takes part, so whoever has replayed up to a number
knows exactly what a writer who had replayed as far would accept. A lease that has ended is therefore a delete
in the log like any other; ``s3_lease`` says who may write it, and when.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence

from sloth_runner.errors import SlothError
from sloth_runner.plain import Final, NamedTuple, Protocol
from sloth_runner.state.backends.s3_log import Commit, Official, Put, Written, number_of, rev_of
from sloth_runner.state.store import ABSENT, Change, Check, Entry, Rev, beyond, holds

KNOWN: Final = 4096
"""Log objects whose commits are remembered by id, to know one's own again."""
MARGIN: Final = 2.0
"""Seconds that a lease lasts beyond its length: one because the server gives its time in whole seconds, one for
machines of the server whose clocks differ."""
ENTRY: Final = 200
"""Bytes that an entry takes in memory besides its key and value, about."""

Row = tuple[bytes | None, Rev]
"""A value and its Rev; or None, and the Rev that a put would have had in the place of the delete."""


class Base(Protocol):
    """A checkpoint: the state as of one log object."""

    @property
    def at(self) -> int:
        """The number of the last log object that is in it."""
        ...

    def find(self, key: str) -> Row | None:
        """What it holds under a key. May read from S3."""
        ...

    def rows(self, low: str, high: str, reverse: bool) -> Iterator[tuple[str, Row]]:
        """All from ``low`` up to ``high`` ("": the end), in order."""
        ...


class Nothing:
    """The base of a store without checkpoints."""

    at = 0

    def find(self, key: str) -> Row | None:
        """See Base."""
        return None

    def rows(self, low: str, high: str, reverse: bool) -> Iterator[tuple[str, Row]]:
        """See Base."""
        return iter(())


class Lease:
    """What is known of an entry that vanishes: ``granted`` is when, by the server's clock, the log object
    ``number`` was written (None: not asked yet). Before ``look_at``, by this machine's clock, there is no use
    in asking."""

    __slots__ = ("granted", "length", "look_at", "number", "rev")

    def __init__(self, rev: Rev, number: int, length: float, granted: float | None, look_at: float) -> None:
        self.rev = rev
        self.number = number
        self.length = length
        self.granted = granted
        self.look_at = look_at


class Pending:
    """A commit that waits to be made. ``id`` is under what it is known again; ``until``: when patience ends."""

    __slots__ = ("changes", "error", "found", "id", "made", "size", "slot", "until")

    def __init__(self, name: str, changes: Sequence[Change | Check], until: float) -> None:
        self.id = name
        self.changes = changes
        self.until = until
        self.size = sum(len(c.value) for c in changes if isinstance(c, Change) and c.value is not None)
        self.found: Sequence[Rev] = ()
        """The Rev of each key as the last evaluation found it."""
        self.made: list[Rev] | None = None
        """The answer, once it is applied."""
        self.error: SlothError | None = None
        self.slot = 0
        """The log object that it was, or may have been, put into."""

    @property
    def done(self) -> bool:
        """Whether its fate is settled."""
        return self.made is not None or self.error is not None

    def take(self, revs: Sequence[Rev]) -> None:
        """It was applied, and these are the Revs of its puts and deletes."""
        rest = iter(revs)
        pairs = zip(self.changes, self.found, strict=True)
        self.made = [next(rest) if isinstance(change, Change) else rev for change, rev in pairs]


class Attempt(NamedTuple):
    """What becomes the next log object, ``number``, if nobody else makes one first."""

    number: int
    accepted: list[Pending]
    revs: list[list[Rev]]
    """For each of them, those of its puts and deletes."""
    written: Written
    failed: list[tuple[Pending, list[str]]]
    """Those whose expectations do not hold, after the accepted ones; with the keys."""


class State:
    """The state as of the log object ``tail``."""

    __slots__ = (
        "_known",
        "_since",
        "base",
        "bytes",
        "delta",
        "keys",
        "known_from",
        "leases",
        "official",
        "tail",
    )

    def __init__(self, base: Base, official: Official | None, leases: Mapping[str, Lease]) -> None:
        self.base = base
        self.tail = base.at
        self.official = official
        self.leases = dict(leases)
        self.delta: dict[str, Row] = {}
        self.keys: list[str] = []
        """Those of ``delta``, in order."""
        self.bytes = 0
        """About what ``delta`` takes."""
        self.known_from = base.at + 1
        """From here on every commit's id is known."""
        self._known: dict[str, tuple[int, list[Rev]]] = {}

    def find(self, key: str) -> Row | None:
        """What stands under a key now; None when nothing does."""
        row = self.delta.get(key)
        if row is None:
            row = self.base.find(key)
        return None if row is None or row[0] is None else row

    def rev(self, key: str) -> Rev:
        """Its Rev, or ABSENT."""
        row = self.find(key)
        return ABSENT if row is None else row[1]

    def recent(self, low: str, high: str) -> list[tuple[str, Row]]:
        """What was put or deleted since the checkpoint, from ``low`` up to ``high`` ("": the end)."""
        first = bisect_left(self.keys, low)
        last = bisect_left(self.keys, high) if high else len(self.keys)
        return [(key, self.delta[key]) for key in self.keys[first:last]]

    def known(self, name: str) -> list[Rev] | None:
        """The Revs of the puts of a commit, if it is among those in the log that are remembered."""
        found = self._known.get(name)
        return None if found is None else found[1]

    def attempt(self, pendings: Sequence[Pending]) -> Attempt:
        """Evaluate commits one after the other, each on top of those before it that hold."""
        number = self.tail + 1
        new: dict[str, Rev] = {}
        commits: list[Commit] = []
        accepted: list[Pending] = []
        made: list[list[Rev]] = []
        failed: list[tuple[Pending, list[str]]] = []
        index = 0
        for pending in pendings:
            found = [new[c.key] if c.key in new else self.rev(c.key) for c in pending.changes]
            bad = [c.key for c, rev in zip(pending.changes, found, strict=True) if not holds(c.expect, rev)]
            if bad:
                failed.append((pending, bad))
                continue
            pending.found = found
            puts = tuple(Put(c.key, c.value, c.lease) for c in pending.changes if isinstance(c, Change))
            revs = [
                ABSENT if put.value is None else rev_of(number, place)
                for place, put in enumerate(puts, index)
            ]
            new.update(zip((put.key for put in puts), revs, strict=True))
            index += len(puts)
            accepted.append(pending)
            made.append(revs)
            commits.append(Commit(pending.id, puts))
        return Attempt(number, accepted, made, Written(tuple(commits)), failed)

    def apply(self, number: int, written: Written, granted: float | None, since: float) -> None:
        """Go on to the next log object. ``granted``: when the server wrote it; ``since``: a moment of this
        machine's clock at which it was not there yet."""
        index = 0
        for commit in written.commits:
            revs: list[Rev] = []
            for key, value, length in commit.puts:
                rev = rev_of(number, index)
                index += 1
                self._set(key, (value, rev))
                if value is None or length is None:
                    self.leases.pop(key, None)
                else:
                    self.leases[key] = Lease(rev, number, length, granted, since + length + MARGIN)
                revs.append(ABSENT if value is None else rev)
            self._known[commit.id] = (number, revs)
        if written.official is not None:
            self.official = written.official
        self.tail = number
        while self._known and (number - self.known_from >= KNOWN or len(self._known) > 4 * KNOWN):
            oldest = next(iter(self._known))
            self.known_from = self._known.pop(oldest)[0] + 1

    def _set(self, key: str, row: Row) -> None:
        before = self.delta.get(key)
        if before is None:
            insort(self.keys, key)
            self.bytes += ENTRY + len(key)
        elif before[0] is not None:
            self.bytes -= len(before[0])
        self.delta[key] = row
        self.bytes += len(row[0] or b"")

    def rebase(self, base: Base, leases: Mapping[str, Lease]) -> None:
        """Rest on a newer checkpoint, and forget what is in it. Of ``leases``, those of its moment, is taken when
        they were granted: the log objects don't tell that for much longer."""
        for key, then in leases.items():
            lease = self.leases.get(key)
            if lease is not None and lease.rev == then.rev:
                lease.granted = then.granted
        self.base = base
        self.delta = {key: row for key, row in self.delta.items() if number_of(row[1]) > base.at}
        self.keys = sorted(self.delta)
        self.bytes = sum(ENTRY + len(key) + len(row[0] or b"") for key, row in self.delta.items())


def between(prefix: str, after: str, reverse: bool) -> tuple[str, str]:
    """Where a scan begins and ends: from, up to ("": the end)."""
    low, high = prefix, beyond(prefix) if prefix else ""
    if after and reverse:
        return low, after if not high or after < high else high
    if after:
        low = max(low, after + "\x00")
    return low, high


def merge(
    base: Iterator[tuple[str, Row]], recent: Sequence[tuple[str, Row]], reverse: bool
) -> Iterator[Entry]:
    """Both in one order, the recent one for a key that is in both; without what was deleted."""
    later = iter(reversed(recent) if reverse else recent)
    old, new = next(base, None), next(later, None)
    while old is not None or new is not None:
        if old is not None and new is not None and old[0] == new[0]:
            old = next(base, None)
        elif new is None or (old is not None and (old[0] > new[0] if reverse else old[0] < new[0])):
            assert old is not None
            if old[1][0] is not None:
                yield Entry(old[0], old[1][0], old[1][1])
            old = next(base, None)
            continue
        assert new is not None
        if new[1][0] is not None:
            yield Entry(new[0], new[1][0], new[1][1])
        new = next(later, None)
