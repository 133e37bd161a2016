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
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from sloth_runner.errors import Corrupt, SlothError
from sloth_runner.plain import NamedTuple
from sloth_runner.state.backends.s3_checkpoint import (
    LATEST,
    MANIFESTS,
    Checkpoint,
    Manifest,
    merge_runs,
    read_manifest,
)
from sloth_runner.state.backends.s3_client import Objects
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
"""Bytes in memory that make a checkpoint due before its time."""
LATE: Final = 1.25
"""So many intervals after the last checkpoint, not only the writer whose turn it is makes one."""
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
        snap = replica.tail.snapshot()
        official = snap.official
        if official is not None and (snap.base is None or official.at > snap.base.at):
            manifest = read_manifest(self._objects, official.manifest)
            if manifest is None:
                raise Gone(official.manifest)
            replica.tail.rest_on(Checkpoint(manifest, self._segments))
            snap = replica.tail.snapshot()
        before = snap.base.manifest if snap.base is not None else None
        if official is not None and before is not None and before.name != official.manifest:
            self._objects.put(LATEST, official.manifest.encode())  # ours never became official: begin there
            return False
        if not snap.rows or snap.official != official:
            return False
        made = self._write(replica, snap)
        if not replica.make_official(official, Official(made.name, made.at, before.at if before else 0)):
            return False
        self._objects.put(LATEST, made.name.encode())
        replica.tail.rest_on(Checkpoint(made, self._segments))
        self._tidy(made, before, replica)
        return True

    def _run(self, replica: Replica) -> None:
        try:
            self.make(replica)
            self.trouble = None
        except SlothError as error:
            self.trouble = error
        except Gone:
            pass  # another process has made the next one; it is found at the next time

    def _write(self, replica: Replica, snap: Snapshot) -> Manifest:
        """The steps 1 to 3."""
        base = snap.base
        if base is not None and snap.official is not None:
            self._shrink(snap.official.shrunk + 1, base.at, Marker(base.manifest.name, base.at))
        mark = f"{snap.at:012d}-{replica.world.new_id()[:12]}"
        older = base.manifest.runs if base is not None else ()
        merged = self._merged(sum(len(key) + len(row[0] or b"") for key, row in snap.rows), older)
        whole = merged == len(older)
        runs = [iter(snap.rows)]
        if base is not None:
            runs += [base.run(index) for index in range(merged)]
        rows = merge_runs(runs)
        kept = (row for row in rows if row[1][0] is not None) if whole else rows
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
            granted = lease.granted
            if granted is None:
                granted = lease.granted = self._objects.modified(log_name(lease.number))
            if granted is None:
                raise Corrupt(f"{log_name(lease.number)} is missing: log objects must never be deleted")
            yield key, lease.rev, lease.number, lease.length, granted

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
            if found is not None:
                names = [str(name) for name in json.loads(found.body)]
                self._objects.delete([name for name in names if name.startswith(MANIFESTS)])
                self._objects.delete([name for name in names if not name.startswith(MANIFESTS)])
            self._objects.delete([note.name])
        names = [] if fresh else list(self._garbage(made, before))
        if names:
            mark = f"{made.at:012d}-{replica.world.new_id()[:12]}"
            self._objects.put(f"{GARBAGE}/{mark}", json.dumps(names).encode())

    def _garbage(self, made: Manifest, before: Manifest | None) -> Iterator[str]:
        needed = {made.name}
        for manifest in (made, before):
            if manifest is not None:
                needed.add(manifest.name)
                needed.update(segment.name for run in manifest.runs for segment in run)
        for found in chain(self._objects.list(MANIFESTS), self._objects.list(SEGMENTS)):
            number = found.name.partition("/")[2].partition("-")[0]
            if found.name not in needed and number.isdigit() and int(number) <= made.at:
                yield found.name
