"""Why: a leased entry hangs on a session of Consul's; this keeps track of ours, so that few are made and none left.

A session ends when it was not renewed for its TTL (a lower bound: up to twice as long), and takes its entries with it
(behaviour ``delete``; lock-delay 0, so that others may take them at once). It is not tied to the health of a node.
Each put with a lease gets a session that holds nothing yet: what is lengthened before the commit must lengthen no
entry if that fails. One whose time is over is not lengthened: Consul may be about to end it, does so in two steps,
and between them would say that it is renewed.
"""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.errors import SlothError, TooLarge
from sloth_runner.plain import Final, NamedTuple
from sloth_runner.state.backends.bootclock import since_boot
from sloth_runner.state.backends.consul_http import Http

LEAST: Final = 10.0
MOST: Final = 86400.0
SPARE: Final = 4
"""Sessions without an entry that are kept for the next lease."""


class Held(NamedTuple):
    """A session, its TTL in seconds, and when it was asked for last, made or renewed."""

    session: str
    ttl: float
    since: float


class Sessions:
    """The sessions that one handle made: those that hold an entry, by its key, and those that hold none. ``clock``:
    seconds, counting through suspension."""

    def __init__(self, http: Http, clock: Callable[[], float] = since_boot) -> None:
        self._http = http
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._wanted: dict[str, Held] = {}
        self._spare: list[Held] = []

    def of(self, key: str) -> str | None:
        """The session that holds an entry, as far as this handle knows."""
        held = self._held.get(key)
        return None if held is None else held.session

    def lease(self, key: str, seconds: float) -> str:
        """A session for the entry ``key``, good for ``seconds`` from now (at least ``LEAST``), that holds nothing.

        Afterwards ``settled``, ``unused`` or ``doubted`` says what became of it. Raises TooLarge, StoreDown.
        """
        if seconds > MOST:
            raise TooLarge(
                f"a lease of {seconds:,.0f} s; Consul's last {MOST:,.0f} s at most",
                unchanged=["nothing was stored"],
            )
        while len(self._spare) > SPARE:
            self._end(self._spare.pop(0))
        ttl = max(LEAST, seconds)
        for spare in [one for one in self._spare if one.ttl == ttl]:
            self._spare.remove(spare)
            now = self._clock()
            if self._lasts(spare) and self._renewed(spare) and self._lasts(spare):
                self._wanted[key] = spare._replace(since=now)
                return spare.session
        now = self._clock()
        made = self._wanted[key] = Held(self._made(ttl), ttl, now)
        return made.session

    def settled(self, key: str) -> None:
        """The entry was put, under the session that was asked for or for good; or it was deleted."""
        before = self._held.pop(key, None)
        if before is not None:
            self._spare.append(before)
        wanted = self._wanted.pop(key, None)
        if wanted is not None:
            self._held[key] = wanted

    def unused(self, key: str) -> None:
        """Nothing was put."""
        wanted = self._wanted.pop(key, None)
        if wanted is not None:
            self._spare.append(wanted)

    def doubted(self, key: str) -> None:
        """Nobody knows what was put: the session is not used for another entry, and ends by itself."""
        self._wanted.pop(key, None)

    def close(self) -> None:
        """End the sessions that hold nothing. What is leased lasts as long as it was to."""
        while self._spare:
            try:
                self._end(self._spare.pop())
            except SlothError:
                return  # they end by themselves

    def _made(self, ttl: float) -> str:
        body = {
            "Name": f"sloth-runner {self._http.address.prefix}",
            "TTL": f"{ttl:.3f}s",
            "Behavior": "delete",
            "LockDelay": "0s",
            "NodeChecks": [],
        }
        reply = self._http.read("session/create?", put=body)
        return self._http.understood(reply, lambda row: str(row["ID"]))

    def _lasts(self, held: Held) -> bool:
        return self._clock() - held.since < held.ttl

    def _renewed(self, held: Held) -> bool:
        return self._http.read(f"session/renew/{held.session}?", put=b"").status == 200

    def _end(self, held: Held) -> None:
        self._http.read(f"session/destroy/{held.session}?", put=b"")
