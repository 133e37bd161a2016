"""Why: the log grows with every commit; whoever commits makes a checkpoint now and then, and tidies up behind
it.

The steps, each harmless to be killed after, or to be late by any time, because what is written has a name that
was never used and nobody relies on it before it is official:

1. Log objects that the official checkpoint before covers are overwritten by markers that name it. (They are
never deleted: a writer that slept would create one of that number again.) 2. What was committed since becomes a
new run; runs that are not much larger are merged into it. Segments are put. 3. The manifest is put. 4. A log
object says that this checkpoint is official, if the one that it rests on still is. So of several that are made
at the same time one wins, and all later ones rest on it. 5. The hint is put. 6. Garbage, which is all that
neither this manifest nor the one before needs and that was made for an older checkpoint, is noted in an object,
and deleted when that has lain for ``GRACE`` by the server's clock. Nothing that is official later can need it:
it rests on this one. A reader that does, because its checkpoint was replaced long ago, finds a segment missing
and begins with a newer one.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from itertools import chain

from sloth_runner.errors import Busy, SlothError
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.state.backends.s3_checkpoint import (
    LATEST,
    MANIFESTS,
    Checkpoint,
    Manifest,
    merge_runs,
)
from sloth_runner.state.backends.s3_client import Objects
from sloth_runner.state.backends.s3_lease import when_granted
from sloth_runner.state.backends.s3_log import Marker, Official, encode_marker, log_name
from sloth_runner.state.backends.s3_segment import Gone, RunWriter, Segment, Segments, Sizes
from sloth_runner.state.backends.s3_state import Lease, Row

if TYPE_CHECKING:
    from sloth_runner.state.backends.s3_replica import Replica

SEGMENTS: Final = "segment"
GARBAGE: Final = "garbage"
GRACE: Final = 900.0
"""Seconds that garbage stays, by the server's clock: longer than a scan should take."""
LARGE: Final = 16 << 20
"""Bytes since the last checkpoint that make one due before its time."""
LATE: Final = 1.25
"""So many intervals after the last checkpoint, not only the writer whose turn it is makes one."""
TRIES: Final = 5
"""Checkpoints that are begun because others were faster."""
AT_ONCE: Final = 16
"""Requests under way when many log objects are overwritten."""


class Snapshot(NamedTuple):
    """What a checkpoint is made of: the base, all since then in order, and what else the state knows."""

    base: Checkpoint | None
    at: int
    official: Official | None
    rows: list[tuple[str, Row]]
    leases: dict[str, Lease]


class Keeper:
    """Makes checkpoints of a replica, in a thread of its own. ``interval``: log objects from one to the
    next."""

    def __init__(
        self, objects: Objects, segments: Segments, interval: int, sizes: Sizes, grace: float
    ) -> None:
        self._objects = objects
        self._segments = segments
        self.interval = interval
        self._sizes = sizes
        self._grace = grace
        self._guard = threading.Lock()
        self._making = threading.Lock()
        self._clean = ""
        """The manifest before which nothing is left."""
        self._thread: threading.Thread | None = None
        self.trouble: SlothError | None = None
        """Why the last checkpoint was not made."""

    def look(self, replica: Replica, number: int, since: int, size: int) -> None:
        """After our commit ``number``, ``since`` log objects after the checkpoint in use, with ``size`` bytes
        in memory: begin what is due."""
        due = since >= self.interval and (number % self.interval == 0 or since >= LATE * self.interval)
        if due or size >= LARGE:
            with self._guard:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, args=(replica,), daemon=True)
                    self._thread.start()
        if size >= 4 * LARGE:
            self.wait(None)

    def wait(self, seconds: float | None) -> None:
        """Until nothing is being made."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def make(self, replica: Replica) -> bool:
        """Rest on the official checkpoint, and make a new one if that is not as good; whether it was made.

        Raises StoreDown, Corrupt, Gone.
        """
        with self._making:
            made = self._make(replica, whole=False)
            if made is None:
                return False
            self._tidy(*made, replica)
            return True

    def scrub(self, replica: Replica) -> None:
        """Leave nothing in the bucket of what was overwritten or deleted until now, but what others wrote
        meanwhile.

        Who reads an older checkpoint finds it gone, and goes on with a newer one. Raises Busy, StoreDown,
        Corrupt.
        """
        for _ in range(TRIES):
            replica.tail.refresh()
            with self._making:
                snap = replica.tail.snapshot()
                if snap.official is not None and snap.official.manifest == self._clean and not snap.rows:
                    return
                try:
                    made = self._make(replica, whole=True)
                except Gone:
                    continue
                if made is not None:
                    manifest = made[0]
                    shrunk = snap.official.shrunk if snap.official is not None else 0
                    self._shrink(shrunk + 1, manifest.at, Marker(manifest.name, manifest.at))
                    self._delete(
                        [*(note.name for note in self._objects.list(GARBAGE)), *self._garbage(manifest)]
                    )
                    self._clean = manifest.name
                    return
        raise Busy("others make checkpoints of this store all the time", next=["try again"])

    def _make(self, replica: Replica, *, whole: bool) -> tuple[Manifest, Manifest | None] | None:
        """The steps 1 to 5; with ``whole``, of one run and in any case. The new manifest and the one before."""
        replica.tail.rest()
        snap = replica.tail.snapshot()
        official = snap.official
        before = snap.base.manifest if snap.base is not None else None
        if official is not None and before is not None and before.name != official.manifest:
            self._objects.put(LATEST, official.manifest.encode())  # ours never became official: begin there
            return None
        if (official is not None and before is None) or not (snap.rows or whole):
            return None
        made = self._write(replica, snap, whole=whole)
        if not replica.make_official(official, Official(made.name, made.at, before.at if before else 0)):
            return None
        self._objects.put(LATEST, made.name.encode())
        replica.tail.rest_on(Checkpoint(made, self._segments))
        return made, before

    def _run(self, replica: Replica) -> None:
        try:
            self.make(replica)
            self.trouble = None
        except SlothError as error:
            self.trouble = error
        except Gone:
            pass  # another process has made the next one; it is found at the next time

    def _write(self, replica: Replica, snap: Snapshot, *, whole: bool) -> Manifest:
        """The steps 1 to 3."""
        base = snap.base
        if base is not None and snap.official is not None:
            self._shrink(snap.official.shrunk + 1, base.at, Marker(base.manifest.name, base.at))
        mark = f"{snap.at:012d}-{replica.world.new_id()[:12]}"
        older = base.manifest.runs if base is not None else ()
        size = sum(len(key) + len(row[0] or b"") for key, row in snap.rows)
        merged = len(older) if whole else self._merged(size, older)
        runs = [iter(snap.rows)]
        if base is not None:
            runs += [base.run(index) for index in range(merged)]
        rows = merge_runs(runs)
        kept = (row for row in rows if row[1][0] is not None) if merged == len(older) else rows
        names = (f"{SEGMENTS}/{mark}-{count:05d}" for count in range(1 << 30))
        segments = RunWriter(self._objects, lambda: next(names), self._sizes).write(kept)
        new = [tuple(segments)] if segments else []
        manifest = Manifest(
            f"{MANIFESTS}/{mark}",
            snap.at,
            snap.official,
            (*new, *older[merged:]),
            tuple(self._leases(snap.leases)),
        )
        self._objects.put(manifest.name, manifest.encode())
        return manifest

    def _merged(self, size: int, older: tuple[tuple[Segment, ...], ...]) -> int:
        """How many of the older runs the new one takes in."""
        for count, run in enumerate(older):
            bytes_ = sum(segment.size for segment in run)
            if bytes_ > self._sizes.ratio * size:
                return count
            size += bytes_
        return len(older)

    def _leases(self, leases: dict[str, Lease]) -> Iterator[tuple[str, int, int, float, float]]:
        for key, lease in leases.items():
            if not when_granted(self._objects, lease):
                raise Gone(log_name(lease.number))
            assert lease.granted is not None
            yield key, lease.rev, lease.number, lease.length, lease.granted

    def _shrink(self, first: int, last: int, marker: Marker) -> None:
        from concurrent.futures import ThreadPoolExecutor

        body = encode_marker(marker)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(lambda n: self._objects.put(log_name(n), body), range(first, last + 1)):
                pass

    def _tidy(self, made: Manifest, before: Manifest | None, replica: Replica) -> None:
        """Step 6."""
        now = self._objects.modified(made.name)
        if now is None:
            raise Gone(made.name)
        fresh = False
        for note in list(self._objects.list(GARBAGE)):
            if note.modified > now - self._grace:
                fresh = True
                continue
            found = self._objects.get(note.name)
            self._delete([note.name, *(json.loads(found.body) if found is not None else ())])
        names = [] if fresh else list(self._garbage(made, before))
        if names:
            mark = f"{made.at:012d}-{replica.world.new_id()[:12]}"
            self._objects.put(f"{GARBAGE}/{mark}", json.dumps(names).encode())

    def _delete(self, names: Sequence[str]) -> None:
        """Manifests first: one that is there is to have all of its segments, or nearly so."""
        self._objects.delete([name for name in names if name.startswith(MANIFESTS)])
        self._objects.delete([name for name in names if not name.startswith((MANIFESTS, GARBAGE))])
        self._objects.delete([name for name in names if name.startswith(GARBAGE)])

    def _garbage(self, *needed: Manifest | None) -> Iterator[str]:
        """All that these checkpoints, the newest first, do not need, and that is not for one still to come."""
        kept: set[str] = set()
        for manifest in needed:
            if manifest is not None:
                kept.add(manifest.name)
                kept.update(segment.name for run in manifest.runs for segment in run)
        newest = needed[0].at if needed[0] is not None else 0
        for found in chain(self._objects.list(MANIFESTS), self._objects.list(SEGMENTS)):
            number = found.name.partition("/")[2].partition("-")[0]
            if found.name not in kept and number.isdigit() and int(number) <= newest:
                yield found.name
