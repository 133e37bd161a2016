"""Why: who waits for a change shouldn't ask all the time: LISTEN and NOTIFY tell of commits as they are made.

To notify is part of the commit, so none is missed, and costs all commits of a database one queue; so they notify only
while somebody watches. A watcher says so by a rule with an end, which it renews; it sets the rule alone in its scope,
so every later commit sees it. Each call ends with a question to the server: once that is answered, all that was
acknowledged before it was asked has been told. (A commit can be seen first, then it wakes who listens, then it is
acknowledged: PostgreSQL's xact.c and async.c.) A connection that broke makes the bell ring for something that can't
be said. Behind a pooler no session is ours, and what it was told while it was idle is lost: there the bell rings
every ``POLL`` seconds, for something that can't be said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sloth_runner.plain import Final
from sloth_runner.state.backends.postgres_errors import Refused, translated
from sloth_runner.state.backends.postgres_link import TEXT, Link, Statement
from sloth_runner.state.backends.postgres_schema import Names, lock_id
from sloth_runner.state.layout import SEP, namespace_of
from sloth_runner.state.store import Doorbell

LASTS: Final = 120.0
"""Seconds that a watcher's rule lasts unless it is renewed."""
RENEW: Final = 30.0
MARGIN: Final = 20.0
"""Seconds before its end from which on a rule counts as ended: a commit may look at it a little later."""
POLL: Final = 2.0

POOLED: Final = -1
"""In place of a session's number: it is not ours."""


class Bell:
    """See Doorbell. ``connect`` makes a connection to a schema that is there."""

    def __init__(
        self, names: Names, where: str, prefix: str, connect: Callable[[], Link], timeout: float
    ) -> None:
        self._names = names
        self._where = where
        self._prefix = prefix
        self._scope = namespace_of(prefix) if SEP in prefix else ""
        self._connect = connect
        self._timeout = timeout
        self._id = os.urandom(12).hex()
        self._link: Link | None = None
        self._renewed = 0.0
        self._session = 0
        self._listening = Statement(
            "SELECT pg_backend_pid(), $1 IN (SELECT pg_listening_channels())",
            TEXT,
        )
        self._listen()

    def __call__(self, seconds: float) -> Sequence[str] | None:
        """See Doorbell."""
        end = time.monotonic() + seconds
        try:
            while True:
                left = max(0.0, end - time.monotonic())
                if self._session == POOLED:
                    time.sleep(min(POLL, left))
                    return None
                found = self._look(min(RENEW / 2, left))
                if found is None or found or time.monotonic() >= end:
                    return found
        except Refused as refused:
            if not refused.lost:
                raise translated(refused, self._where) from refused
        self._listen()
        return None

    def close(self) -> None:
        """Watch no more; the rule is taken back, or ends by itself."""
        link, self._link = self._link, None
        if link is None or link.broken:
            return
        try:
            link.script(f"DELETE FROM {self._names.quoted}.rule WHERE {self._mine}", self._timeout)
        except Refused:
            pass  # it ends by itself
        link.close()

    @property
    def _mine(self) -> str:
        return f"kind = 'watch' AND scope = '{self._scope}' AND id = '{self._id}'"

    def _look(self, seconds: float) -> Sequence[str] | None:
        link = self._link
        if link is None or link.broken:
            self._listen()
            return None
        if not self._renew(link):
            self._listen()
            return None
        heard = link.heard(seconds)
        found = link.run(self._listening, [self._names.channel.encode()], self._timeout)
        session = int.from_bytes(found.get_value(0, 0) or b"", "big")
        if session != self._session or found.get_value(0, 1) != b"\x01":
            self._listen()
            return None
        return self._told(heard + link.heard(0))

    def _told(self, heard: list[tuple[str, str]]) -> Sequence[str] | None:
        keys = [payload for channel, payload in heard if channel == self._names.channel]
        if "" in keys:
            return None
        return tuple(dict.fromkeys(key for key in keys if key.startswith(self._prefix)))

    def _renew(self, link: Link) -> bool:
        """Make the rule last, now and then; False if it may have ended meanwhile."""
        now = time.monotonic()
        if now - self._renewed < RENEW:
            return True
        s = self._names.quoted
        rows = link.ask(
            f"UPDATE {s}.rule SET until = clock_timestamp() + interval '{LASTS} s' "
            f"WHERE {self._mine} AND until > clock_timestamp() + interval '{MARGIN} s' RETURNING true",
            self._timeout,
        )
        late = time.monotonic() - now > MARGIN / 2
        self._renewed = now
        return bool(rows) and not late

    def _listen(self) -> None:
        """Connect if need be, listen, and then set the rule. Raises StoreDown, Busy."""
        try:
            link = self._link
            if link is None or link.broken:
                link = self._link = self._connect()
            ((session,),) = link.ask("SELECT pg_backend_pid()", self._timeout)
            self._session = int(session or 0) if int(session or 0) == link.session else POOLED
            if self._session == POOLED:
                return
            link.script(f'LISTEN "{self._names.channel}"', self._timeout)
            self._renewed = time.monotonic()
            self._set_rule(link)
        except Refused as refused:
            raise translated(refused, self._where) from refused

    def _set_rule(self, link: Link) -> None:
        s, name = self._names.quoted, self._names.schema
        locks = f"SELECT pg_advisory_xact_lock({lock_id(name)});"
        if self._scope:
            locks = (
                f"SELECT pg_advisory_xact_lock_shared({lock_id(name)}); "
                f"SELECT pg_advisory_xact_lock({lock_id(name, self._scope)});"
            )
        wait = round(self._timeout * 900)
        try:
            link.script(
                f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {wait}; {locks} "
                f"DELETE FROM {s}.rule WHERE kind = 'watch' AND (until < clock_timestamp() - interval '1 day' "
                f"OR ({self._mine})); "
                f"INSERT INTO {s}.rule (kind, scope, id, until) VALUES ('watch', '{self._scope}', '{self._id}', "
                f"clock_timestamp() + interval '{LASTS} s'); COMMIT",
                self._timeout,
            )
        except Refused as refused:
            if not refused.lost:
                link.script("ROLLBACK", self._timeout)
            raise


@contextmanager
def watch(
    names: Names, where: str, prefix: str, connect: Callable[[], Link], timeout: float
) -> Iterator[Doorbell]:
    """See Traits."""
    bell = Bell(names, where, prefix, connect, timeout)
    try:
        yield bell
    finally:
        bell.close()
