"""Why: nobody should replay a log from its beginning, or keep all of a store in memory.

A checkpoint is a *manifest*: the log object up to which it goes, its runs of segments, and the leases of that
moment. This file reads one as the base of a state; ``s3_keeping`` makes them.
"""

from __future__ import annotations

import heapq
import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import itemgetter

from sloth_runner.errors import Corrupt, Foreign
from sloth_runner.plain import Any, Final, NamedTuple
from sloth_runner.state.backends.s3_client import Objects
from sloth_runner.state.backends.s3_log import Marker, Official, decode, log_name
from sloth_runner.state.backends.s3_segment import Segment, Segments
from sloth_runner.state.backends.s3_state import Lease, Nothing, Row, State

FORMAT: Final = 1
MANIFESTS: Final = "manifest"
LATEST: Final = "latest"
"""The object that names a checkpoint which was the newest at some time: where to begin, no more than a hint."""
NEVER: Final = float("-inf")


class Manifest(NamedTuple):
    """``official`` is the checkpoint that was official as of ``at``, an older one. ``runs``: the newest first.
    ``leases``: key, Rev, log object, length and when it was granted by the server's clock."""

    name: str
    at: int
    official: Official | None
    runs: tuple[tuple[Segment, ...], ...]
    leases: tuple[tuple[str, int, int, float, float], ...]

    def encode(self) -> bytes:
        """Its bytes."""
        row = {
            "format": FORMAT,
            "at": self.at,
            "official": self.official,
            "runs": self.runs,
            "leases": self.leases,
        }
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()

    def leased(self) -> Mapping[str, Lease]:
        """The leases as a state has them."""
        return {
            key: Lease(rev, number, length, granted, NEVER)
            for key, rev, number, length, granted in self.leases
        }


class Checkpoint:
    """A manifest as the base of a state."""

    def __init__(self, manifest: Manifest, segments: Segments) -> None:
        self.manifest = manifest
        self.at = manifest.at
        self._segments = segments
        self._lasts = [[segment.last for segment in run] for run in manifest.runs]

    def find(self, key: str) -> Row | None:
        """See Base. Raises Gone, too."""
        for run, lasts in zip(self.manifest.runs, self._lasts, strict=True):
            place = bisect_left(lasts, key)
            if place < len(run) and run[place].first <= key:
                row = self._segments.find(run[place], key)
                if row is not None:
                    return row
        return None

    def rows(self, low: str, high: str, reverse: bool) -> Iterator[tuple[str, Row]]:
        """See Base. Raises Gone, too."""
        return merge_runs([self._run(run, low, high, reverse) for run in self.manifest.runs], reverse=reverse)

    def run(self, index: int) -> Iterator[tuple[str, Row]]:
        """All of one run, in order."""
        return self._run(self.manifest.runs[index], "", "", False)

    def _run(self, run: Sequence[Segment], low: str, high: str, reverse: bool) -> Iterator[tuple[str, Row]]:
        for segment in reversed(run) if reverse else run:
            if segment.last >= low and (not high or segment.first < high):
                yield from self._segments.rows(segment, low, high, reverse)


def merge_runs(
    runs: Sequence[Iterator[tuple[str, Row]]], *, reverse: bool = False
) -> Iterator[tuple[str, Row]]:
    """Several sorted runs in one order; of rows with the same key that of the first run."""
    if len(runs) == 1:
        yield from runs[0]
        return
    last: str | None = None
    for key, row in heapq.merge(*runs, key=itemgetter(0), reverse=reverse):
        if key != last:
            last = key
            yield key, row


def read_manifest(objects: Objects, name: str) -> Manifest | None:
    """A manifest; None when it is not there (any more). Raises Corrupt, Foreign, StoreDown."""
    found = objects.get(name)
    if found is None:
        return None
    try:
        row: dict[str, Any] = json.loads(found.body)
        if row["format"] != FORMAT:
            raise Foreign(
                f"{name} is of format {row['format']}; this version reads {FORMAT}",
                next=["use a newer version of sloth-runner for this store"],
            )
        official = row["official"]
        return Manifest(
            name,
            row["at"],
            None if official is None else Official(*official),
            tuple(tuple(Segment(*segment) for segment in run) for run in row["runs"]),
            tuple(tuple(lease) for lease in row["leases"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{name} can't be read: {error!r}") from error


def open_state(
    objects: Objects, segments: Segments, met: tuple[int, Marker] | None, gone: Collection[str]
) -> State:
    """The state as of a checkpoint, to go on from. ``met``: a log object of which only the marker is left, and
    that has to be in it; ``gone``: manifests whose segments are not there any more.

    Any checkpoint will do that goes far enough: behind an old one the log leads on, by full objects or by
    markers that name a newer one. So it does not matter that the hint may be old, or missing.
    """
    tried = set(gone)
    for name in _candidates(objects, met):
        if name in tried:
            continue
        tried.add(name)
        manifest = read_manifest(objects, name)
        if manifest is not None and (met is None or manifest.at >= met[0]):
            return State(Checkpoint(manifest, segments), manifest.official, manifest.leased())
    if met is not None or gone:
        raise Corrupt("the store's checkpoints are missing: objects of the bucket were deleted")
    return State(Nothing(), None, {})


def _candidates(objects: Objects, met: tuple[int, Marker] | None) -> Iterator[str]:
    """Manifests to try, the most promising first."""
    hint = objects.get(LATEST)
    name = hint.body.decode(errors="replace") if hint is not None else ""
    if name.startswith(f"{MANIFESTS}/") and (met is None or name > met[1].manifest):
        yield name
    if met is not None:
        yield from _follow(objects, met[1])
    if hint is not None or met is not None:
        yield from sorted((found.name for found in objects.list(MANIFESTS)), reverse=True)


def _follow(objects: Objects, met: Marker) -> Iterator[str]:
    """The checkpoint that a marker names; if it is gone, that which the log object behind it names; and so
    on."""
    while True:
        yield met.manifest
        found = objects.get(log_name(met.at + 1))
        if found is None:
            return
        following = decode(log_name(met.at + 1), found.body)
        if not isinstance(following, Marker) or following.at <= met.at:
            return
        met = following
