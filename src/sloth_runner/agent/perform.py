"""Why: every transport has file operations done by this one function, so that they mean the same everywhere.

Standard library only; runs on Python 3.8. Programs (Exec) and waiting (Pause) are the transport's own business.
"""

from __future__ import annotations

import os

from sloth_runner.agent import looking, writing
from sloth_runner.agent.names import problem
from sloth_runner.agent.staging import stage_row
from sloth_runner.ops import (
    Batch,
    Exec,
    Facts,
    Fetch,
    Glob,
    List,
    MakeDir,
    MakeLink,
    OpError,
    Pause,
    Reach,
    Read,
    Remove,
    SetAttrs,
    SetTimes,
    Stat,
    Unpack,
    WhoAmI,
    Whose,
    Write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sloth_runner.agent.staging import Staged
    from sloth_runner.agent.writing import Sync
    from sloth_runner.ops import Op, Result

SLOW_FACTS = frozenset(("services", "mounts", "users", "groups"))
"""Sections whose gathering asks something that may be slow to answer: systemd, a file system, a directory."""
LARGE = 32 << 20
"""Files above this many bytes are read aside: hashing one takes long enough to keep others waiting."""
LARGE_ARCHIVE = 64 << 10
"""Archives above this many bytes are unpacked aside."""


def takes_time(op: Op) -> bool:
    """Whether an operation may take so long that it should not be waited for in place."""
    kind = type(op)
    if kind is Stat and not op.digest:  # type: ignore[union-attr] # kind says so; the commonest of all
        return False
    if kind is Exec or kind is Fetch or kind is Reach or kind is Pause or kind is Glob:
        return True
    if kind is Facts:
        return op.section in SLOW_FACTS  # type: ignore[union-attr] # kind says so
    if kind is Batch:
        return any(map(takes_time, op.ops))  # type: ignore[union-attr] # kind says so
    if kind is Unpack:
        return op.content is None or len(op.content) > LARGE_ARCHIVE  # type: ignore[union-attr] # kind says so
    if (kind is Stat and op.digest) or (kind is Read and op.limit > LARGE):  # type: ignore[union-attr] # kind says so
        try:
            return os.stat(op.path).st_size > LARGE  # type: ignore[union-attr] # pathlib costs tenfold
        except (OSError, ValueError):
            return False  # it comes up again, where it is raised
    return False


def looks(op: Op) -> bool:
    """Whether an operation on files only looks, so that nothing is left half done when nobody waits for it."""
    return type(op) in _LOOKING or (isinstance(op, Unpack) and op.look)


def perform(op: Op, sync: Sync = writing.sync_folder) -> Result:
    """Do one operation, or a Batch in order up to the first that fails; ``sync`` makes durable what was changed in
    folders. Raises OpError; TypeError for Exec and Pause."""
    kind = type(op)
    try:
        if kind in _ACTIONS:
            return _ACTIONS[kind](op)
        if kind in _IN_FOLDERS:
            return _IN_FOLDERS[kind](op, sync)
    except OSError as error:
        path = error.filename if isinstance(error.filename, str) else getattr(op, "path", "")
        raise problem(error, path) from error
    if isinstance(op, Batch):
        return _each(op, sync)
    raise TypeError(f"{kind.__name__} is no operation on files")


def _gather(op: Facts) -> Result:
    from sloth_runner.agent.facts import gather

    return gather(op)


def _remove(op: Remove, sync: Sync) -> Result:
    from sloth_runner.agent.removing import remove

    return remove(op, sync)


def _unpack(op: Unpack) -> Result:
    from sloth_runner.agent.unpacking import unpack  # it brings the standard library's archive formats

    return unpack(op)


def _fetch(op: Fetch) -> Result:
    from sloth_runner.agent.fetching import Fetching  # what it needs takes long to load

    return Fetching(op).perform()


def _reach(op: Reach) -> Result:
    from sloth_runner.agent.reaching import reach

    return reach(op)


_LOOKING = frozenset((Stat, Read, Glob, List, WhoAmI, Whose, Facts))
_ACTIONS: dict[type, Callable[[Any], Result]] = {
    Stat: looking.look,
    Read: looking.read,
    Glob: looking.glob,
    List: looking.list_folder,
    WhoAmI: lambda op: looking.who_am_i(),
    Whose: looking.whose,
    Facts: _gather,
    SetAttrs: writing.set_attrs,
    SetTimes: writing.set_times,
    Unpack: _unpack,
    Fetch: _fetch,
    Reach: _reach,
}
_IN_FOLDERS: dict[type, Callable[[Any, Sync], Result]] = {
    Write: writing.write,
    MakeDir: writing.make_dir,
    MakeLink: writing.make_link,
    Remove: _remove,
}


def _each(batch: Batch, sync: Sync) -> Result:
    results: list[Result] = []
    staged: dict[int, Staged] = {}
    end = 0
    try:
        for place, op in enumerate(batch.ops):
            if place >= end and isinstance(op, Write):
                staged, end = stage_row(batch.ops, place)
            results.append(_placed(op, staged.pop(place, None), sync))
    except OpError as error:
        error.results = (*results, *error.results)
        raise
    finally:
        for one in staged.values():
            one.close()
    return tuple(results)


def _placed(op: Op, staged: Staged | None, sync: Sync) -> Result:
    """Do one of many operations, which may be staged already."""
    if staged is None:
        return perform(op, sync)
    try:
        return staged.place(sync)
    except OpError as error:
        if error.kind != "exists":
            raise
    finally:
        staged.close()
    return perform(op, sync)
