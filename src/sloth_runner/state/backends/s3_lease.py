"""Why: whether a lease has ended is told by the server's clock alone, which S3 shows in one place only: the
time at which an object was last written.

**Granted** is when the server wrote the log object with the lease in it; once a checkpoint has taken that object's
place, its manifest tells. **Now** is when the server wrote the object ``clock``, which is overwritten for the
purpose, and read back. A lease of d seconds has ended when their
difference is at least d + 2: one second because the times are whole seconds, one for machines of the server
that differ.

*It never ends early.* The holder counts from before it sent its commit; the server wrote the object later. The
difference of two times that are cut to whole seconds is less than a second more than what really passed.

*Once ended, it stays ended.* The end is a delete in the log, made under the condition that the lease was not
renewed meanwhile, and whoever finds that a lease has ended writes it before saying so. Until then it holds for
everybody. So a holder that slept past its lease can still write under it as long as nobody saw it end, and
never after: its commit needs a place in the log, and behind the delete its check fails. No clock takes part in
that.

*This machine's clock* is never held against the server's. It only measures how long ago something was seen, to
save requests: as long as a lease can't have ended, nothing is asked. Were it wrong, leases would end late.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sloth_runner.errors import Corrupt, Forbidden
from sloth_runner.plain import Final
from sloth_runner.state.backends.s3_client import Objects, World
from sloth_runner.state.backends.s3_log import Marker, decode, log_name
from sloth_runner.state.backends.s3_state import MARGIN, Lease

CLOCK: Final = "clock"


def when_granted(objects: Objects, lease: Lease) -> bool:
    """Learn when a lease was granted, if that is not known. False: a checkpoint that is newer than the state which
    has this lease took the object's place, and has its time. Raises StoreDown, Corrupt."""
    if lease.granted is None:
        name = log_name(lease.number)
        found = objects.get(name)
        if found is None:
            raise Corrupt(f"{name} is missing: log objects must never be deleted")
        if isinstance(decode(name, found.body), Marker):
            return False
        lease.granted = found.modified
    return True


class ServerClock:
    """What is known of the server's time. May be used from several threads."""

    def __init__(self, objects: Objects, world: World) -> None:
        self._objects = objects
        self._world = world
        self._guard = threading.Lock()
        self._seen: tuple[float, float] | None = None
        """A time of the server, and one of this machine's clock that was not later."""

    def ended(self, leases: Sequence[tuple[str, Lease]]) -> list[tuple[str, Lease]]:
        """Those that have ended, each with its key. Raises StoreDown.

        With credentials that may not write, none: their user can't learn the time. Nor those that were granted
        nobody here knows when: a newer state will tell.
        """
        with self._guard:
            over, open_ = [], []
            for key, lease in leases:
                if not when_granted(self._objects, lease):
                    continue
                if self._seen is not None and self._over(lease, *self._seen):
                    over.append((key, lease))
                elif self._seen is None or self._world.now() >= lease.look_at:
                    open_.append((key, lease))
            if not open_:
                return over
            try:
                seen = self._look()
            except Forbidden:
                return []
            return over + [(key, lease) for key, lease in open_ if self._over(lease, *seen)]

    def _over(self, lease: Lease, now: float, here: float) -> bool:
        """Whether it had ended at ``now`` of the server; else the time here before which it can't have."""
        assert lease.granted is not None
        left = lease.granted + lease.length + MARGIN - now
        lease.look_at = here + left
        return left <= 0

    def _look(self) -> tuple[float, float]:
        """The server's time, and a moment here that was not later."""
        here = self._world.now()
        self._objects.put(CLOCK, b"")
        now = self._objects.modified(CLOCK)
        if now is None:
            raise Corrupt(
                "an object that was just written is not there: this store gives no consistent reads"
            )
        self._seen = now, here
        return self._seen
