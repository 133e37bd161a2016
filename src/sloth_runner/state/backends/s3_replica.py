"""Why: all handles of a process on one S3 store share one replayed state, and their commits share log objects.

``refresh`` replays to the tail: it asks for the next log object until there is none, which is one request when
nothing has happened. Who asks while another's request is under way waits for it and then asks again, for all
that wait: a hundred readers cost two requests.

``commit`` puts a commit into a queue. Whoever gets the turn evaluates all that wait on the replayed state and
creates the next log object. If that name was taken, somebody else committed: replay, evaluate again. Nothing
but the create decides, so it does not matter that more than one may try; a commit whose turn does not come (a
request hangs) tries beside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from sloth_runner.errors import Busy, Conflict, Corrupt, Indeterminate, SlothError, StoreDown
from sloth_runner.state.backends.s3_client import Created, Found, Objects, World
from sloth_runner.state.backends.s3_lease import ServerClock
from sloth_runner.state.backends.s3_log import MOST_PUTS, Marker, decode, encode, log_name
from sloth_runner.state.backends.s3_state import Attempt, Pending, State, between, merge
from sloth_runner.state.store import Change, Check, Entry, Rev, holds

AHEAD: Final = 16
"""Log objects that are asked for at once when there are many to replay."""
HEDGE: Final = 1.0
"""Seconds that a commit waits for the turn before it tries without."""
GROUP: Final = 8 << 20
"""Bytes of values that are put into one object when several commits wait."""
NEVER: Final = float("-inf")


class Replica:
    """The state of one store in this process. ``objects`` has the time of a request, ``quick`` less, to find
    out what became of one that was not answered. ``seconds``: in which a server has to answer. May be used from
    several threads."""

    def __init__(
        self, objects: Objects, quick: Objects, seconds: float, world: World, opened: Callable[[], State]
    ) -> None:
        self.objects = objects
        self.world = world
        self.clock = ServerClock(objects, world)
        self._quick = quick
        self._seconds = seconds
        self._opened = opened
        self._state: State | None = None
        self._guard = threading.Lock()
        """Held to read or change what is in memory."""
        self._probing = threading.Lock()
        """Held by who replays."""
        self._turn = threading.Lock()
        """Held by who commits."""
        self._queue: deque[Pending] = deque()
        self._current = NEVER
        """The state is at least as new as this moment."""
        self._missing: tuple[int, float] = (0, NEVER)
        """A log object, and a moment at which it was not there."""

    def refresh(self) -> None:
        """Replay to the tail as it is now. Raises StoreDown, Corrupt, Foreign."""
        asked = self.world.now()
        if not self._probing.acquire(timeout=self._seconds):
            raise StoreDown("the store did not answer in time")
        try:
            if self._current <= asked:
                self._replay()
        finally:
            self._probing.release()

    def find(self, key: str) -> Entry | None:
        """The entry as of now."""
        self.refresh()
        self._expire(lambda: [key])
        with self._guard:
            state = self._ready()
            row = state.delta.get(key)
            base = state.base
        if row is None:
            row = base.find(key)
        return None if row is None or row[0] is None else Entry(key, row[0], row[1])

    def scan(self, prefix: str, after: str, reverse: bool) -> Iterator[Entry]:
        """All entries of a range as of now, however long it takes to go through them."""
        self.refresh()
        low, high = between(prefix, after, reverse)
        self._expire(lambda: [k for k in self._ready().leases if k >= low and (not high or k < high)])
        with self._guard:
            state = self._ready()
            recent = state.recent(low, high)
            base = state.base
        return merge(base.rows(low, high, reverse), recent, reverse)

    def check(self, checks: Sequence[Change | Check]) -> list[Rev]:
        """Whether all the checks hold now: the Revs found. Raises Conflict."""
        self.refresh()
        self._expire(lambda: [check.key for check in checks])
        with self._guard:
            state = self._ready()
            found = [state.rev(check.key) for check in checks]
        bad = [check.key for check, rev in zip(checks, found, strict=True) if not holds(check.expect, rev)]
        if bad:
            raise Conflict("the store changed meanwhile", keys=bad)
        return found

    def commit(self, pendings: Sequence[Pending]) -> None:
        """Settle commits: afterwards each is made or has an error."""
        self._queue.extend(pendings)
        while not all(pending.done for pending in pendings):
            if self._turn.acquire(timeout=HEDGE):
                try:
                    while not all(pending.done for pending in pendings):
                        self._settle(self._waiting())
                finally:
                    self._turn.release()
            elif mine := self._leave(pendings):
                self._settle(mine)

    def _ready(self) -> State:
        if self._state is None:
            self._state = self._opened()
        return self._state

    def _waiting(self) -> list[Pending]:
        """What fits into one object of all that wait, oldest first; at least one."""
        batch: list[Pending] = []
        size = puts = 0
        while self._queue:
            first = self._queue[0]
            size += first.size
            puts += len(first.changes)
            if batch and (size > GROUP or puts > MOST_PUTS):
                break
            batch.append(self._queue.popleft())
        return batch

    def _leave(self, pendings: Sequence[Pending]) -> list[Pending]:
        """Take those out of the queue that are still in it; nobody is at them."""
        mine = []
        for pending in pendings:
            try:
                self._queue.remove(pending)
            except ValueError:
                continue
            mine.append(pending)
        return mine

    def _settle(self, batch: list[Pending]) -> None:
        """Make commits, or find out why not."""
        everyone = batch
        try:
            while batch := self._still_open(batch):
                self._step(batch)
        except SlothError as error:
            _fail(everyone, error)
        except BaseException:
            _fail(everyone, Indeterminate("the commit was interrupted: whether it was made is not known"))
            raise

    def _still_open(self, batch: list[Pending]) -> list[Pending]:
        """Those not settled yet; what the log has under their ids is."""
        with self._guard:
            state = self._ready()
            for pending in batch:
                revs = state.known(pending.id)
                if not pending.done and revs is not None:
                    pending.take(revs)
                elif not pending.done and 0 < pending.slot < state.known_from:
                    pending.error = Indeterminate(
                        "whether a commit was made can't be found out: the log is compacted"
                    )
        return [pending for pending in batch if not pending.done]

    def _step(self, batch: list[Pending]) -> None:
        """One try to make all of them. Raises StoreDown, Corrupt, Foreign."""
        self._warm(batch)
        ends = self._ends({change.key for pending in batch for change in pending.changes})
        with self._guard:
            attempt = self._ready().attempt([*ends, *batch])
        if attempt.accepted:
            if not self._create(attempt):
                self._lost(batch)
                return
        else:
            self.refresh()
            if self._tail() >= attempt.number:
                return
        for pending, keys in attempt.failed:
            pending.error = Conflict("the store changed meanwhile", keys=keys)

    def _create(self, attempt: Attempt) -> bool:
        """Make the next log object; False when there is one of its number, which has been read now.

        Raises StoreDown: nothing was applied, unless those concerned have been told that it may have been.
        """
        doubts: list[Indeterminate] = []
        try:
            return self._race(attempt, doubts)
        except (SlothError, KeyboardInterrupt):
            if doubts:
                for pending in attempt.accepted:
                    pending.slot = attempt.number
                    pending.error = doubts[-1]
            raise

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
                made = Created.AGAIN if self._quick.get(name) is None else Created.TAKEN
            if made is Created.DONE:
                self._take(attempt, begun)
                return True
            if made is Created.TAKEN:
                self.refresh()
            if self._tail() >= attempt.number:
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

    def _take(self, attempt: Attempt, since: float) -> None:
        """Our object was created: go on to it, unless a reader of this process was faster."""
        with self._guard:
            state = self._ready()
            if state.tail + 1 == attempt.number:
                state.apply(attempt.number, attempt.written, None, since)
            for pending, revs in zip(attempt.accepted, attempt.revs, strict=True):
                pending.take(revs)

    def _warm(self, batch: list[Pending]) -> None:
        """Read from the checkpoint what evaluating will ask for, while others may go on."""
        with self._guard:
            state = self._ready()
            base = state.base
            keys = [c.key for pending in batch for c in pending.changes if c.key not in state.delta]
        for key in keys:
            base.find(key)

    def _ends(self, keys: Iterable[str]) -> list[Pending]:
        """The deletes for those of the keys whose lease has ended by the server's clock."""
        with self._guard:
            held = self._ready().leases
            leases = [(key, held[key]) for key in keys if key in held]
        new_id = self.world.new_id
        return [
            Pending(new_id(), [Change(key, None, lease.rev)], NEVER)
            for key, lease in self.clock.ended(leases)
        ]

    def _expire(self, keys: Callable[[], Sequence[str]]) -> None:
        """Have the log say which of the leases on these keys have ended, before anybody is told so."""
        while True:
            with self._guard:
                names = [key for key in keys() if key in self._ready().leases]
            ends = self._ends(names) if names else []
            if not ends:
                return
            self.commit(ends)
            for pending in ends:
                if pending.error is not None and not isinstance(pending.error, Conflict):
                    raise pending.error

    def _tail(self) -> int:
        with self._guard:
            return self._ready().tail

    def _replay(self) -> None:
        """Read log objects until there is none; called by one thread at a time."""
        window = 1
        while True:
            begun = self.world.now()
            first = self._tail() + 1
            numbers = range(first, first + window)
            for number, found in zip(numbers, self._get(numbers), strict=True):
                if found is None:
                    self._missing = (number, begun)
                    self._current = begun
                    return
                self._read(number, found)
            window = min(2 * window, AHEAD)

    def _get(self, numbers: Sequence[int]) -> Iterable[Found | None]:
        if len(numbers) == 1:
            return [self.objects.get(log_name(numbers[0]))]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(numbers)) as pool:
            return list(pool.map(lambda number: self.objects.get(log_name(number)), numbers))

    def _read(self, number: int, found: Found) -> None:
        written = decode(log_name(number), found.body)
        if isinstance(written, Marker):
            raise Corrupt("not yet")
        since = self._missing[1] if self._missing[0] == number else NEVER
        with self._guard:
            state = self._ready()
            if state.tail + 1 == number:
                state.apply(number, written, found.modified, since)


def _fail(batch: Sequence[Pending], error: SlothError) -> None:
    """Tell those who have not been told. Of a commit that was never sent it is known that it was not made."""
    for pending in batch:
        if not pending.done:
            pending.error = error
