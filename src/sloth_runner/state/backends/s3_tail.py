"""Why: to read an S3 store is to know its log; the replayed state of a process is kept here, and brought up to
date.

``refresh`` asks for the next log object until there is none, which is one request when nothing has happened.
Who asks while another's request is under way waits for it and then asks again, for all that wait: a hundred
readers cost two requests. What the log no longer has in full is in a checkpoint: then the state begins anew
with that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat

from sloth_runner.errors import Bug, StoreDown
from sloth_runner.plain import Final, TypeVar
from sloth_runner.state.backends.s3_checkpoint import Checkpoint, open_state, read_manifest
from sloth_runner.state.backends.s3_client import Found, Objects, World
from sloth_runner.state.backends.s3_keeping import Snapshot
from sloth_runner.state.backends.s3_log import Marker, Written, decode, log_name
from sloth_runner.state.backends.s3_segment import Gone, Segments
from sloth_runner.state.backends.s3_state import Base, State

T = TypeVar("T")

AHEAD: Final = 16
"""Log objects that are asked for at once when there are many to replay."""
MANY, LARGE = 1024, 16 << 20
"""Log objects, and bytes, that are kept in memory though a checkpoint may hold them."""
NEVER: Final = float("-inf")


class Tail:
    """The state of one store in this process. ``seconds``: in which a server has to answer. May be used from
    several threads."""

    def __init__(self, objects: Objects, segments: Segments, seconds: float, world: World) -> None:
        self._objects = objects
        self._segments = segments
        self._seconds = seconds
        self._world = world
        self._state: State | None = None
        self._gone: set[str] = set()
        """Manifests whose segments are not there any more."""
        self._guard = threading.Lock()
        """Held to read or change the state."""
        self._probing = threading.Lock()
        """Held by who replays."""
        self._current = NEVER
        """The state is at least as new as this moment."""
        self._missing: tuple[int, float] = (0, NEVER)
        """A log object, and a moment at which it was not there."""

    def refresh(self) -> None:
        """Replay to the tail as it is now. Raises StoreDown, Corrupt, Foreign."""
        asked = self._world.now()
        if not self._probing.acquire(timeout=self._seconds):
            raise StoreDown("the store did not answer in time")
        try:
            if self._current <= asked or self._stale():
                self._replay()
                self._lighten()
        finally:
            self._probing.release()

    def ensure(self) -> None:
        """Have a state at all."""
        if self._stale():
            self.refresh()

    def read(self, look: Callable[[State], T]) -> T:
        """What ``look`` finds in the state, or does to it, while it stands still."""
        with self._guard:
            if self._state is None:
                raise Bug("the store is used before it was read")
            return look(self._state)

    def forget(self, base: Base) -> None:
        """The segments of this checkpoint are gone: read a newer one the next time."""
        with self._guard:
            self._gone.add(_name(base))

    def snapshot(self) -> Snapshot:
        """The state as it is, for a checkpoint."""

        def look(state: State) -> Snapshot:
            base = state.base if isinstance(state.base, Checkpoint) else None
            return Snapshot(base, state.tail, state.official, state.recent("", ""), dict(state.leases))

        return self.read(look)

    def rest_on(self, base: Checkpoint) -> None:
        """Keep in memory only what is newer than a checkpoint that the state has gone beyond."""

        def do(state: State) -> None:
            if state.base.at < base.at <= state.tail:
                state.rebase(base, base.manifest.leased())

        self.read(do)

    def rest(self) -> None:
        """Rest on the checkpoint that the log says is official, if it is newer. Raises Gone when it is being
        replaced."""
        official, at = self.read(lambda state: (state.official, state.base.at))
        if official is None or official.at <= at:
            return
        manifest = read_manifest(self._objects, official.manifest)
        if manifest is None:
            raise Gone(official.manifest)
        self.rest_on(Checkpoint(manifest, self._segments))

    def _stale(self) -> bool:
        with self._guard:
            return self._state is None or _name(self._state.base) in self._gone

    def _replay(self) -> None:
        """Read log objects until there is none; called by one thread at a time."""
        state = self._open(None) if self._stale() else self.read(lambda state: state)
        for window in chain((1, 1, 2, 4, 8), repeat(AHEAD)):
            begun = self._world.now()
            with self._guard:
                first = state.tail + 1
            numbers = range(first, first + window)
            for number, found in zip(numbers, self._get(numbers), strict=True):
                if found is None:
                    self._missing = (number, begun)
                    with self._guard:
                        self._state = state
                    self._current = begun
                    return
                written = decode(log_name(number), found.body)
                if isinstance(written, Marker):
                    state = self._open((number, written))
                    break
                self._go_on(state, number, written, found.modified)

    def _lighten(self) -> None:
        """Who only reads makes no checkpoints, but rests on those of others."""
        count, size = self.read(lambda state: (state.tail - state.base.at, state.bytes))
        if count > MANY or size > LARGE:
            try:
                self.rest()
            except Gone:
                pass  # it is being replaced; the next one will do

    def _open(self, met: tuple[int, Marker] | None) -> State:
        with self._guard:
            gone = set(self._gone)
        return open_state(self._objects, self._segments, met, gone)

    def _go_on(self, state: State, number: int, written: Written, modified: float) -> None:
        since = self._missing[1] if self._missing[0] == number else NEVER
        with self._guard:
            if state.tail + 1 == number:
                state.apply(number, written, modified, since)

    def _get(self, numbers: Sequence[int]) -> Iterable[Found | None]:
        if len(numbers) == 1:
            return [self._objects.get(log_name(numbers[0]))]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(numbers)) as pool:
            return list(pool.map(lambda number: self._objects.get(log_name(number)), numbers))


def _name(base: Base) -> str:
    return base.manifest.name if isinstance(base, Checkpoint) else ""
