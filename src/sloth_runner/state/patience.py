"""Why: a server may be away for a moment, and others may be faster; how long to go on trying, and how fast, is one
decision, made by whoever opens a handle.

Nothing above a store waits by itself. A handle that may wait carries a ``Patience`` in its traits; whoever has to try
again asks ``Tries``, which waits, or says that it is enough. Pauses grow and are random, so that many who failed at
one moment don't come back at one moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.errors import SlothError

TRIES: Final = 10
"""Tries of a handle that never waits."""


def chance() -> float:
    """A random number from 0 to 1. (The module ``random`` costs as much to load as all of state.)"""
    return int.from_bytes(os.urandom(2), "big") / 0xFFFF


class Pace(NamedTuple):
    """``free`` tries come without a pause; then pauses grow from ``first`` to ``most`` seconds, and each is a random
    part of that, at least ``least`` of it."""

    free: int
    first: float
    most: float
    least: float


CONTENTION: Final = Pace(2, 0.002, 0.2, 0.0)
"""Others change the same keys. Whoever pauses at all is out of the way of those who don't."""
OUTAGE: Final = Pace(1, 0.05, 1.0, 0.5)
"""The server does not answer."""
LONG: Final = 1.0
"""Seconds without an answer that are worth telling, even if it is there again."""
HURRY: Final = 2.0
"""Seconds that others are waited for, at most, once the user wants to end."""


class Contact:
    """Whether a server was ever reached, by any of the handles that share this."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        self.reached = False


class Patience:
    """How long a handle goes on: ``outage`` seconds without an answer, ``contention`` seconds against others.

    A server that was never reached (``contact``) is not waited for: its address may be wrong. ``stopped``: the user
    wants to end, and no server is waited for. ``told`` hears of each try that the server has let down, once.
    """

    __slots__ = ("_clock", "_lengths", "_random", "_sleep", "_stopped", "_told", "contact")

    def __init__(
        self,
        outage: float,
        contention: float,
        *,
        contact: Contact | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = chance,
        stopped: Callable[[], bool] = lambda: False,
        told: Callable[[SlothError], None] = lambda error: None,
    ) -> None:
        self._lengths = {OUTAGE: outage, CONTENTION: contention}
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._stopped = stopped
        self._told = told
        self.contact = contact or Contact()

    def now(self) -> float:
        """Its clock."""
        return self._clock()

    def pause(self, tries: Tries, error: SlothError | None) -> bool:
        """Wait before the next try; False: it is enough."""
        pace, count = tries.pace, tries.count
        spent = self._clock() - tries.begun
        stopped = self._stopped()
        if pace is OUTAGE and (stopped or not self.contact.reached):
            return False
        free = count <= pace.free
        if error is not None and (count == pace.free + 1 or (count == 1 and spent > LONG)):
            self._told(error)
        if free and tries.grace:
            return True
        left = self._lengths[pace] - spent
        if stopped:
            left = min(left, HURRY - spent)
        if left <= 0 or free:
            return left > 0
        longest = min(pace.most, pace.first * 2.0 ** min(count - pace.free - 1, 30))
        self._sleep(min(left, longest * (pace.least + (1 - pace.least) * self._random())))
        return pace is not OUTAGE or not self._stopped()


class Tries:
    """Something that is tried until it succeeds. ``begun`` is when its first try was, by the patience's clock (None:
    just now): what that took counts. With ``grace`` there is one more try even if it took all the time there was."""

    __slots__ = ("_patience", "begun", "count", "grace", "pace")

    def __init__(
        self, patience: Patience | None, pace: Pace, begun: float | None = None, *, grace: bool = False
    ) -> None:
        self._patience = patience
        self.pace = pace
        self.grace = grace
        self.count = 0
        self.begun = 0.0
        if patience is not None:
            self.begun = patience.now() if begun is None else begun

    def again(self, error: SlothError | None = None) -> bool:
        """Whether to try once more, after waiting as long as is wise. ``error`` is what the last try met."""
        self.count += 1
        if self._patience is None:
            return self.count < TRIES
        return self._patience.pause(self, error)
