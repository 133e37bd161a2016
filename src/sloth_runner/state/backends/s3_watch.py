"""Why: the log tells everything that is committed, in order; who watches reads it on, one object after the
other.

S3 can't call back, so the next object is asked for every ``poll`` seconds: one request each time, 86,400 in a
day at one second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sloth_runner.state.backends.s3_client import Objects, World
from sloth_runner.state.backends.s3_log import Marker, decode, log_name
from sloth_runner.state.backends.s3_tail import Tail


class Bell:
    """A Doorbell for the keys that start with ``prefix``."""

    def __init__(self, tail: Tail, objects: Objects, world: World, prefix: str, poll: float) -> None:
        self._tail = tail
        self._objects = objects
        self._world = world
        self._prefix = prefix
        self._poll = poll
        self._next = self._end()
        self._due = world.now()

    def __call__(self, seconds: float) -> Sequence[str] | None:
        """See Doorbell. Who waits again and again, for less than ``poll``, asks no more often than who waits once."""
        end = self._world.now() + seconds
        keys: dict[str, None] = {}
        while True:
            rest = self._due - self._world.now()
            if seconds > 0 and rest > 0 and not keys:
                left = end - self._world.now()
                self._world.sleep(max(0.0, min(rest, left)))
                if left < rest:
                    return ()
            name = log_name(self._next)
            found = self._objects.get(name)
            if found is not None:
                written = decode(name, found.body)
                if isinstance(written, Marker):
                    self._next = self._end()
                    return None
                self._next += 1
                puts = (put.key for commit in written.commits for put in commit.puts)
                keys.update(dict.fromkeys(key for key in puts if key.startswith(self._prefix)))
                continue
            self._due = self._world.now() + self._poll
            if keys or self._world.now() >= end:
                return tuple(keys)

    def _end(self) -> int:
        self._tail.refresh()
        return self._tail.read(lambda state: state.tail) + 1


@contextmanager
def watching(tail: Tail, objects: Objects, world: World, prefix: str, poll: float) -> Iterator[Bell]:
    """For as long as somebody watches."""
    yield Bell(tail, objects, world, prefix, poll)
