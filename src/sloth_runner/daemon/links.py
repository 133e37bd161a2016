"""Why: a controller whose connection breaks comes back to the operations that it had begun, and nobody else does.

A ``Link`` is a session and the stream that leads to it. While no connection carries the stream, what is said waits in
it; after KEEP seconds without one the session is closed, and what it was doing is stopped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from sloth_runner.agent import frames, wire
from sloth_runner.agent.frames import Reader
from sloth_runner.agent.resuming import Resumable
from sloth_runner.agent.serving import Session
from sloth_runner.agent.stdio import hello
from sloth_runner.plain import Final, NamedTuple

KEEP: Final = 30.0
"""Seconds that a session is kept without a connection."""
MOST: Final = 64
"""Sessions at once."""
MOST_OF_ONE: Final = 16
"""Sessions at once of one controller."""


class Opening(NamedTuple):
    """What a controller says first on a connection: the session's name, and how much of the stream it has."""

    session: str
    received: int


class Refused(Exception):
    """A session can't be opened, or not gone on with; the words are for the caller."""


class Link:
    """A session, and the stream to it."""

    def __init__(
        self, owner: str, environ: Mapping[str, str], build: str, clock: Callable[[], float]
    ) -> None:
        self.owner = owner
        self.left: float | None = None
        self._clock = clock
        self._change = threading.Condition()
        self._stream = Resumable()
        self._out: deque[bytes] = deque()
        self._connection = 0
        self._closed = False
        self._reader = Reader()
        self._taking = threading.Lock()
        self._say(frames.message(frames.HELLO, 0, wire.dumps(hello(build))))
        self._session = Session(self._say, environ)

    def attach(self, received: int) -> tuple[int, int]:
        """A new connection carries the stream from now on, instead of any other. Its number, and how much has come
        here. Raises BadFrame."""
        with self._change:
            self._connection += 1
            self._out = deque(self._stream.resume(received))
            self.left = None
            self._change.notify_all()
            return self._connection, self._stream.received

    def detach(self, connection: int) -> None:
        """A connection has ended; if it was the last one, the time begins after which the session ends."""
        with self._change:
            if connection == self._connection and not self._closed:
                self.left = self._clock()
            self._change.notify_all()

    def take(self, connection: int, message: bytes) -> bool:
        """What came over a connection; False if it is not the one that counts any more. Raises BadFrame."""
        with self._taking:
            with self._change:
                if connection != self._connection or self._closed:
                    return False
                data = self._stream.take(message)
                if self._stream.owing:
                    self._out.append(self._stream.note())
                self._change.notify_all()
            for frame in self._reader.feed(data):
                self._session.receive(frame)
        return True

    def next(self, connection: int, seconds: float) -> bytes | None:
        """The next message for a connection; b"" if there is none in time, None if it does not count any more."""
        with self._change:
            if not self._out and connection == self._connection and not self._closed:
                self._change.wait(seconds)
            if connection != self._connection or self._closed:
                return None
            return self._out.popleft() if self._out else b""

    def close(self) -> None:
        """Stop what is under way, and wait for it."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._session.close()

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._closed

    def _say(self, data: bytes) -> None:
        """Called by the session, one thread at a time: waits while too much is under way."""
        with self._change:
            while self._stream.full and not self._closed:
                self._change.wait()
            if not self._closed:
                self._out.extend(self._stream.push(data))
                self._change.notify_all()


class Links:
    """All sessions of an agent. ``clock``: seconds that never jump."""

    def __init__(
        self, environ: Mapping[str, str], build: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._environ = environ
        self._build = build
        self._clock = clock
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}

    def attach(self, opening: Opening, owner: str) -> tuple[Link, int, int]:
        """The session that a controller means: a new one, or its own from before; with what ``Link.attach`` gives.
        Raises Refused, BadFrame."""
        with self._lock:
            link = self._links.get(opening.session)
            if link is not None and link.owner != owner:
                raise Refused("the session is another controller's")
            if link is None or link.closed:
                if opening.received:
                    raise Refused("the session is over: the agent was started anew, or waited too long")
                mine = sum(one.owner == owner for one in self._links.values())
                if len(self._links) >= MOST or mine >= MOST_OF_ONE:
                    raise Refused(
                        f"too many sessions: {MOST_OF_ONE} of one controller and {MOST} in all are the most"
                    )
                link = self._links[opening.session] = Link(owner, self._environ, self._build, self._clock)
        connection, received = link.attach(opening.received)
        return link, connection, received

    def drop(self, session: str) -> None:
        """Close a session whose controller says goodbye, or may not go on."""
        with self._lock:
            link = self._links.pop(session, None)
        if link is not None:
            link.close()

    def sweep(self) -> None:
        """Close the sessions that nobody came back to."""
        now = self._clock()
        with self._lock:
            gone = [
                name for name, one in self._links.items() if one.left is not None and now - one.left > KEEP
            ]
        for name in gone:
            self.drop(name)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            names = list(self._links)
        for name in names:
            self.drop(name)
