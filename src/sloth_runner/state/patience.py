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
from typing import TYPE_CHECKING, Final

from sloth_runner.plain import NamedTuple

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


class Contact:
    """Whether a server was ever reached, by any of the handles that share this."""

    __slots__ = ("reached",)

    def __init__(self) -> None:
        self.reached = False


class Patience:
    """How long a handle goes on: ``outage`` seconds without an answer, ``contention`` seconds against others.

    A server that was never reached (``contact``) is not waited for: its address may be wrong. ``stopped`` ends all
    patience at once (the user wants to end). ``told`` hears of each outage, once, before the first pause.
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

    def pause(self, pace: Pace, begun: float, count: int, error: SlothError | None) -> bool:
        """Wait before try ``count`` + 1 of something ``begun`` then; False: it is enough."""
        left = begun + self._lengths[pace] - self._clock()
        if left <= 0 or self._stopped() or (pace is OUTAGE and not self.contact.reached):
            return False
        if count <= pace.free:
            return True
        if error is not None and count == pace.free + 1:
            self._told(error)
        longest = min(pace.most, pace.first * 2.0 ** min(count - pace.free - 1, 30))
        self._sleep(min(left, longest * (pace.least + (1 - pace.least) * self._random())))
        return not self._stopped()


class Tries:
    """Something that is tried until it succeeds; begun when this is made, after its first try has failed."""

    __slots__ = ("_begun", "_count", "_pace", "_patience")

    def __init__(self, patience: Patience | None, pace: Pace) -> None:
        self._patience = patience
        self._pace = pace
        self._begun = 0.0 if patience is None else patience.now()
        self._count = 0

    def again(self, error: SlothError | None = None) -> bool:
        """Whether to try once more, after waiting as long as is wise. ``error`` is what the last try met."""
        self._count += 1
        if self._patience is None:
            return self._count < TRIES
        return self._patience.pause(self._pace, self._begun, self._count, error)
