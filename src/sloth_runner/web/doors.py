"""Why: who opens the printed link is let in once, by a cookie that no other site can use or read."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable

from sloth_runner.plain import NamedTuple

LINK_AGE = 15 * 60.0
"""Seconds that a link may wait to be opened."""
SESSION_AGE = 12 * 3600.0
"""Seconds that a session lasts from its last request."""


class Session(NamedTuple):
    """Somebody who was let in. ``csrf`` must come with every write."""

    id: str
    csrf: str
    api: bool = False


class Doors:
    """One-time links and the sessions they became. ``new_secret``: 256 random bits as text; ``clock``: seconds, never
    set back. ``token``: what programs may show instead (None: nothing). Used from several threads."""

    def __init__(
        self, new_secret: Callable[[], str], clock: Callable[[], float], token: str | None = None
    ) -> None:
        self._new_secret = new_secret
        self._clock = clock
        self._guard = threading.Lock()
        self._links: dict[str, float] = {}
        self._sessions: dict[str, tuple[Session, float]] = {}
        self._programs = None if token is None else Session("api", self._csrf(_digest(token)), api=True)
        self._token = None if token is None else _digest(token)

    def link(self) -> str:
        """A token that lets one browser in, once."""
        token = self._new_secret()
        with self._guard:
            now = self._clock()
            self._links = {known: end for known, end in self._links.items() if end > now}
            self._links[_digest(token)] = now + LINK_AGE
        return token

    def enter(self, token: str) -> Session | None:
        """The session that a link's token becomes; None: it was used, is too old, or never was."""
        with self._guard:
            end = self._links.pop(_digest(token), None)
            now = self._clock()
            if end is None or end <= now:
                return None
            secret = self._new_secret()
            session = Session(secret, self._csrf(secret))
            self._sessions = {key: kept for key, kept in self._sessions.items() if kept[1] > now}
            self._sessions[_digest(secret)] = (session, now + SESSION_AGE)
            return session

    def session(self, cookie: str) -> Session | None:
        """Whose cookie this is; None: nobody's, or it has lasted too long."""
        key = _digest(cookie)
        with self._guard:
            found = self._sessions.get(key)
            now = self._clock()
            if found is None or found[1] <= now:
                return None
            self._sessions[key] = (found[0], now + SESSION_AGE)
            return found[0]

    def program(self, bearer: str) -> Session | None:
        """The session of programs, if this is their token."""
        if self._token is None or not hmac.compare_digest(_digest(bearer), self._token):
            return None
        return self._programs

    def leave(self, session: Session) -> None:
        """The session ends."""
        with self._guard:
            self._sessions.pop(_digest(session.id), None)

    @staticmethod
    def _csrf(secret: str) -> str:
        return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def _digest(secret: str) -> str:
    """Secrets are looked up by digest, so that how long a look takes tells nothing."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
