"""Why: a new file has its disk waited for twice, for the intent and for the content; new files that come one after
another can wait together, as databases do with commits ("group commit").

A call that makes a new file is answered once the file is written beside, without a name. It gets its name with the
others of its group: what they hold and their intents are made durable together, then each is put in its place, looked
at and recorded, in the order of their calls. A group ends with the next call of another sort, with its task, when it
is full, or has lasted for a moment; so nothing that is asked through us shows that something waited. What fails only
then (but what others have made meanwhile is looked at anew) ends the task on the line of its call: the pcall around
that is over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from sloth_runner.errors import Bug, SlothError
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.agent.staging import Staged
    from sloth_runner.engine.lines import Line
    from sloth_runner.engine.pump import Strand

MOST = 32
"""Files in a group."""
LARGE = 1 << 20
"""Bytes with which a group is full."""
LONGEST = 0.05
"""Seconds after which a file that waits for others does so no longer, whatever its task does."""
EACH = 32
"""Files that the process may have open for each that waits: it holds two."""
SPARE = 24
"""Files that others must be able to open while some wait."""


class Late(NamedTuple):
    """What is left of a call that has been answered: ``finish`` brings it to its end, or raises; ``failed`` hears why
    it did not come to it, and whether that was its own failure."""

    staged: Staged
    line: Line
    size: int
    finish: Callable[[], None]
    failed: Callable[[SlothError, bool], None]


class Group:
    """What waits, all of one strand. ``cancel`` throws an error into another one; ``clock`` counts seconds; ``most``
    files wait at a time (None: as many as the process has room for)."""

    def __init__(
        self,
        cancel: Callable[[Strand, SlothError], None],
        clock: Callable[[], float],
        most: int | None = None,
    ) -> None:
        self.strand: Strand | None = None
        self.waiting: dict[tuple[int, int, bytes], Late] = {}
        self.error: SlothError | None = None
        """What has failed last."""
        self._most = most
        self._last = sys.maxsize
        self._cancel = cancel
        self._clock = clock
        self._since = 0.0
        self._size = 0

    def takes(self, size: int) -> bool:
        """Whether there is room for so many bytes more."""
        if self._most is None:
            self._most, self._last = room()
        return len(self.waiting) < self._most and self._size + size <= LARGE

    def has_place(self, staged: Staged) -> bool:
        """Whether it may wait: no other for the same place does, and the process can open more files (it is given the
        lowest number that is free)."""
        return staged.key not in self.waiting and staged.highest < self._last

    def add(self, late: Late) -> None:
        """One more waits."""
        if not self.waiting:
            self._since = self._clock()
        self.waiting[late.staged.key] = late
        self._size += late.size

    @property
    def is_due(self) -> bool:
        """Whether something has waited for long."""
        return bool(self.waiting) and self._clock() - self._since > LONGEST

    def catch_up(self, strand: Strand | None) -> bool:
        """Bring what waits to its end; whether anything did. What keeps it is raised, if it is of ``strand``; else it
        is thrown into the one that it is of."""
        waiting, owner = list(self.waiting.values()), self.strand
        self.waiting, self._size = {}, 0
        try:
            _finish(waiting)
        except SlothError as error:
            error.final = True
            self.error = error
            if owner is strand:
                raise
            assert owner is not None, "what waits is of a strand"
            self._cancel(owner, error)
        finally:
            for late in waiting:
                late.staged.close()
        return bool(waiting)

    def drop(self) -> None:
        """Nothing more is done: what waits is gone."""
        while self.waiting:
            self.waiting.popitem()[1].staged.close()


def _finish(waiting: list[Late]) -> None:
    done = 0
    try:
        for late in waiting:
            late.staged.begin()
        for line in dict.fromkeys(late.line for late in waiting):
            if not line.at_once():
                raise Bug("a group waits for a store that is far away")
        for late in waiting:
            late.staged.sync()
        for late in waiting:
            late.finish()
            done += 1
    except SlothError as error:
        for late in waiting[done:]:
            late.failed(error, late is waiting[done])
        raise


def room() -> tuple[int, int]:
    """How many files a group may have, and from which number of an open file on there is no room for it."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST, sys.maxsize
    return min(MOST, soft // EACH), soft - SPARE
