"""Why: all handles of a process on one S3 store share one replayed state, and their commits share log objects.

``commit`` puts a commit into a queue. Whoever gets the turn evaluates all that wait on the replayed state and
creates the next log object. If that name was taken, somebody else committed: replay, evaluate again. Nothing
but the create decides, so it does not matter that more than one may try; a commit whose turn does not come (a
request hangs) tries beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from sloth_runner.errors import Busy, Conflict, Indeterminate, SlothError, StoreDown
from sloth_runner.plain import Final
from sloth_runner.state.backends.s3_client import Created, Objects, World
from sloth_runner.state.backends.s3_keeping import Keeper
from sloth_runner.state.backends.s3_lease import ServerClock
from sloth_runner.state.backends.s3_log import MOST_PUTS, Official, Written, encode, log_name
from sloth_runner.state.backends.s3_proof import prove_creates
from sloth_runner.state.backends.s3_segment import Gone
from sloth_runner.state.backends.s3_state import Attempt, Base, Pending, State, between, merge
from sloth_runner.state.backends.s3_tail import NEVER, Tail
from sloth_runner.state.backends.s3_watch import watching
from sloth_runner.state.store import Change, Check, Doorbell, Entry, Proof, Rev, holds

HEDGE: Final = 1.0
"""Seconds that a commit waits for the turn before it tries without."""
CLOSING: Final = 30.0
"""Seconds that the last handle waits for a checkpoint. One that is not finished is begun again by another
commit."""
GROUP: Final = 8 << 20
"""Bytes of values that are put into one object when several commits wait."""


FREE, PAUSE, LONGEST = 2, 0.02, 0.4
"""Who was overtaken more than so often leaves the others alone for a random part of so many seconds, then of
twice as many, and so on up to the last. Many who try all at once waste each other's time."""


class Replica:
    """Reads and commits. ``objects`` has the time of a request, ``quick`` less, to find out what became of one
    that was not answered; ``seconds``: in which a server has to answer; ``poll``: between two looks of who
    watches. May be used from several threads."""

    def __init__(
        self,
        tail: Tail,
        objects: Objects,
        quick: Callable[[], Objects],
        seconds: float,
        world: World,
        keeper: Keeper,
        poll: float,
    ) -> None:
        self.tail = tail
        self.world = world
        self.keeper = keeper
        self.objects = objects
        self._quick = quick
        self._seconds = seconds
        self._poll = poll
        self._clock = ServerClock(objects, world)
        self._turn = threading.Lock()
        """Held by who commits."""
        self.waiting: deque[Pending] = deque()
        self._proven = False
        self._counting = threading.Lock()
        self._users = 0

    def find(self, key: str) -> Entry | None:
        """The entry as of now."""
        while True:
            self.tail.refresh()
            self._expire(lambda _: [key])
            row, base = self.tail.read(lambda state: (state.delta.get(key), state.base))
            try:
                row = row or base.find(key)
            except Gone:
                self.tail.forget(base)
                continue
            return None if row is None or row[0] is None else Entry(key, row[0], row[1])

    def scan(self, prefix: str, after: str, reverse: bool) -> Iterator[Entry]:
        """All entries of a range as of now, however long it takes to go through them."""
        low, high = between(prefix, after, reverse)
        while True:
            self.tail.refresh()
            try:
                self.tail.rest()  # what one that was replaced long ago needs may be gone before the end
            except Gone:
                pass  # it is being replaced itself; ours will do
            self._expire(lambda state: [k for k in state.leases if k >= low and (not high or k < high)])
            recent, base = self.tail.read(lambda state: (state.recent(low, high), state.base))
            entries = merge(base.rows(low, high, reverse), recent, reverse)
            try:
                first = next(entries, None)
            except Gone:
                self.tail.forget(base)
                continue
            return iter(()) if first is None else self._walk(base, first, entries)

    def check(self, checks: Sequence[Change | Check]) -> list[Rev]:
        """Whether all the checks hold now: the Revs found. Raises Conflict."""
        keys = [check.key for check in checks]
        while True:
            self.tail.refresh()
            self._expire(lambda _: keys)
            base = self.tail.read(lambda state: state.base)
            try:
                found = self.tail.read(lambda state: [state.rev(key) for key in keys])
                break
            except Gone:
                self.tail.forget(base)
        bad = [check.key for check, rev in zip(checks, found, strict=True) if not holds(check.expect, rev)]
        if bad:
            raise Conflict("the store changed meanwhile", keys=bad)
        return found

    def commit(self, pendings: Sequence[Pending]) -> None:
        """Settle commits: afterwards each is made or has an error. Raises BadConfig, if the store is not to be
        trusted."""
        if not self._proven:
            prove_creates(self.objects)
            self._proven = True
        self.waiting.extend(pendings)
        while not all(pending.done for pending in pendings):
            if self._turn.acquire(timeout=HEDGE):
                try:
                    while not all(pending.done for pending in pendings):
                        self._settle(self._batch())
                finally:
                    self._turn.release()
            elif mine := self._leave(pendings):
                self._settle(mine)

    def make_official(self, expected: Official | None, official: Official) -> bool:
        """Have the log say that a checkpoint is official, if ``expected`` still is; whether it does."""
        with self._turn:
            while True:
                number, known = self.tail.read(lambda state: (state.tail + 1, state.official))
                if known != expected:
                    return known == official
                self._create(Attempt(number, [], [], Written((), official), []))

    def watch(self, prefix: str) -> AbstractContextManager[Doorbell]:
        """See Traits."""
        return watching(self.tail, self.objects, self.world, prefix, self._poll)

    def probe(self) -> list[Proof]:
        """See Traits."""
        from sloth_runner.state.backends.s3_proof import Prober

        return Prober(self.objects, self.tail, self.keeper, self.world)()

    def join(self) -> None:
        """One handle more."""
        with self._counting:
            self._users += 1

    def leave(self) -> None:
        """One handle less; the last one waits for a checkpoint that is being made."""
        with self._counting:
            self._users -= 1
            last = not self._users
        if last:
            self.keeper.wait(CLOSING)

    def keep(self) -> None:
        """After a commit: begin what the log's length makes due."""
        number, at, size = self.tail.read(lambda state: (state.tail, state.base.at, state.bytes))
        self.keeper.look(self, number, number - at, size)

    def _walk(self, base: Base, first: Entry, entries: Iterator[Entry]) -> Iterator[Entry]:
        yield first
        try:
            yield from entries
        except Gone:
            self.tail.forget(base)
            raise StoreDown(
                "reading took so long that what was read has been replaced and tidied away",
                next=["read again"],
            ) from None

    def _batch(self) -> list[Pending]:
        """What fits into one object of all that wait, oldest first; at least one."""
        batch: list[Pending] = []
        size = puts = 0
        while self.waiting:
            first = self.waiting[0]
            size += first.size
            puts += len(first.changes)
            if batch and (size > GROUP or puts > MOST_PUTS // 2):
                break
            batch.append(self.waiting.popleft())
        return batch

    def _leave(self, pendings: Sequence[Pending]) -> list[Pending]:
        """Take those out of the queue that are still in it; nobody is at them."""
        mine = []
        for pending in pendings:
            try:
                self.waiting.remove(pending)
            except ValueError:
                continue
            mine.append(pending)
        return mine

    def _settle(self, batch: list[Pending]) -> None:
        """Make commits, or find out why not."""
        everyone = batch
        losses = 0
        try:
            while batch := self._still_open(batch):
                if losses > FREE:
                    self.world.sleep(self.world.chance() * min(PAUSE * 2.0 ** min(losses - FREE, 9), LONGEST))
                    self.tail.refresh()
                losses += self._step(batch)
        except SlothError as error:
            _fail(everyone, error)
        except BaseException:
            _fail(everyone, Indeterminate("the commit was interrupted: whether it was made is not known"))
            raise

    def _still_open(self, batch: list[Pending]) -> list[Pending]:
        """Those not settled yet; what the log has under their ids is."""
        self.tail.ensure()

        def recognize(state: State) -> None:
            for pending in batch:
                revs = state.known(pending.id)
                if pending.done:
                    continue
                if revs is not None:
                    pending.take(revs)
                elif 0 < pending.slot < state.known_from:
                    pending.error = Indeterminate(
                        "whether a commit was made can't be found out: the log is compacted"
                    )
                elif pending.slot <= state.tail:
                    pending.slot = 0

        self.tail.read(recognize)
        return [pending for pending in batch if not pending.done]

    def _step(self, batch: list[Pending]) -> bool:
        """One try to make all of them; whether others were faster. Raises StoreDown, Corrupt, Foreign."""
        base = self.tail.read(lambda state: state.base)
        try:
            self._warm(batch)
            ends = self._ends({change.key for pending in batch for change in pending.changes})
            attempt = self.tail.read(lambda state: state.attempt([*ends, *batch]))
        except Gone:
            self.tail.forget(base)
            return False
        if attempt.accepted:
            if not self._create(attempt):
                self._lost(batch)
                return True
        else:
            self.tail.refresh()
            if self._length() >= attempt.number:
                return False
        for pending, keys in attempt.failed:
            pending.error = Conflict("the store changed meanwhile", keys=keys)
        return False

    def _create(self, attempt: Attempt) -> bool:
        """Make the next log object; False when there is one of its number, which has been read now.

        Raises StoreDown: nothing was applied, unless those concerned have been told that it may have been.
        """
        doubts: list[Indeterminate] = []
        before = [pending.slot for pending in attempt.accepted]
        for pending in attempt.accepted:
            pending.slot = attempt.number
        made = False
        try:
            made = self._race(attempt, doubts)
        except (SlothError, KeyboardInterrupt):
            for pending in attempt.accepted if doubts else ():
                pending.error = doubts[-1]
            raise
        finally:
            if not made and not doubts:  # it was refused, or is another's
                for pending, slot in zip(attempt.accepted, before, strict=True):
                    pending.slot = slot
        return made

    def _race(self, attempt: Attempt, doubts: list[Indeterminate]) -> bool:
        """Create until it is known who made the object. ``doubts``: creates that were not answered. That the
        same object is sent again does no harm: whichever arrives first is the only one."""
        name, body = log_name(attempt.number), encode(attempt.written)
        begun = self.world.now()
        pause = 0.05
        while True:
            try:
                made = self.objects.create(name, body)
            except Indeterminate as error:
                doubts.append(error)
                made = Created.AGAIN if self._quick().get(name) is None else Created.TAKEN
            if made is Created.DONE:
                self.tail.read(lambda state: _take(state, attempt, begun))
                return True
            if made is Created.TAKEN:
                self.tail.refresh()
            if self._length() >= attempt.number:
                return False
            wait = pause * (0.5 + self.world.chance())
            if self.world.now() + wait > begun + self._seconds:
                raise StoreDown(doubts[-1].message if doubts else f"others were writing {name} all the time")
            self.world.sleep(wait)
            pause = min(2 * pause, 1.0)

    def _lost(self, batch: list[Pending]) -> None:
        """Others were faster: who has no patience left is told."""
        for pending in self._still_open(batch):
            if self.world.now() > pending.until:
                pending.error = Busy(
                    "others commit to the store all the time; this commit was not made",
                    unchanged=[change.key for change in pending.changes],
                )

    def _warm(self, batch: list[Pending]) -> None:
        """Read from the checkpoint what evaluating will ask for, while others may go on. Raises Gone."""

        def unknown(state: State) -> tuple[Base, list[str]]:
            keys = [c.key for pending in batch for c in pending.changes if c.key not in state.delta]
            return state.base, keys

        base, keys = self.tail.read(unknown)
        for key in keys:
            base.find(key)

    def _ends(self, keys: Iterable[str]) -> list[Pending]:
        """The deletes for those of the keys whose lease has ended by the server's clock."""
        leases = self.tail.read(lambda state: [(k, state.leases[k]) for k in keys if k in state.leases])
        due = [(key, lease) for key, lease in leases if self.world.now() >= lease.look_at]
        if any(lease.granted is None for _, lease in due):
            try:
                self.tail.rest()  # a checkpoint may know what the log does not tell any more
            except Gone:
                pass
        return [
            Pending(self.world.new_id(), [Change(key, None, lease.rev)], NEVER)
            for key, lease in self._clock.ended(due)
        ]

    def _expire(self, keys: Callable[[State], Sequence[str]]) -> None:
        """Have the log say which of the leases on these keys have ended, before anybody is told so."""
        while True:
            names = self.tail.read(lambda state: keys(state) if state.leases else ())
            ends = self._ends(names) if names else []
            if not ends:
                return
            self.commit(ends)
            for pending in ends:
                if pending.error is not None and not isinstance(pending.error, Conflict):
                    raise pending.error

    def _length(self) -> int:
        return self.tail.read(lambda state: state.tail)


def _take(state: State, attempt: Attempt, since: float) -> None:
    """Our object was created: go on to it, unless a reader of this process was faster."""
    if state.tail + 1 == attempt.number:
        state.apply(attempt.number, attempt.written, None, since)
    for pending, revs in zip(attempt.accepted, attempt.revs, strict=True):
        pending.take(revs)


def _fail(batch: Sequence[Pending], error: SlothError) -> None:
    """Tell those who have not been told. Of a commit that was never sent it is known that it was not made."""
    for pending in batch:
        if not pending.done:
            pending.error = error
