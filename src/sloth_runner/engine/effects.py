"""Why: what a call has changed is told from its operations and their results, once, and no more than is known."""

from __future__ import annotations

from sloth_runner.ops import (
    Batch,
    Done,
    Exec,
    Fetch,
    Fetched,
    MakeDir,
    MakeLink,
    Ran,
    Read,
    Remove,
    SetAttrs,
    SetTimes,
    Stat,
    Unpack,
    Unpacked,
    Write,
)  # fmt: skip
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.ops import Op


def mutation(op: object, result: object) -> list[str]:
    """What was changed by an operation that ended with ``result``, in words; none for one that only looks, and none
    for a program or a request that failed: what it did before that is not known (see ``attempt``)."""
    if isinstance(op, (Stat, Read)):  # most are
        return []
    if isinstance(op, Batch):
        return [text for inner, got in _each(op, result) for text in mutation(inner, got)]
    if isinstance(op, Exec):
        return [f"ran {op.label}"] if op.mutating and _succeeded(result) else []
    if isinstance(op, Fetch):
        words = f"sent {op.label}" if op.into is None else f"wrote {op.into}"
        return [words] if op.mutating and _succeeded(result) else []
    if (isinstance(result, Done) and not result.changed) or (isinstance(op, (Write, Remove)) and op.passing):
        return []
    if isinstance(op, Unpack):
        wrote = isinstance(result, Unpacked) and result.differing and not op.look
        return [f"unpacked an archive into {op.path}"] if wrote else []
    if isinstance(op, Write):
        return [f"wrote {op.path}"]
    if isinstance(op, MakeDir):
        return [f"made the folder {op.path}"]
    if isinstance(op, MakeLink):
        return [f"made the link {op.path}"]
    if isinstance(op, SetAttrs):
        return [f"set the attributes of {op.path}"]
    if isinstance(op, SetTimes):
        return [f"set the times of {op.path}"]
    return [f"removed {op.path}"] if isinstance(op, Remove) else []


def attempt(op: object, result: object) -> list[str]:
    """Programs and requests that may have changed something, though they failed or (``result`` None) did not come to
    their end, in words."""
    if isinstance(op, Batch):
        return [text for inner, got in _each(op, result) for text in attempt(inner, got)]
    if not isinstance(op, (Exec, Fetch)) or not op.mutating or _succeeded(result):
        return []
    if isinstance(op, Fetch) and op.into is not None and result is not None:
        return []  # the answer was no success, so nothing was written
    return [f"perhaps something, by {op.label}, which did not succeed"]


def _each(op: Batch, result: object) -> list[tuple[Op, object]]:
    """The operations that were done, with their results, which end where the Batch failed."""
    return list(zip(op.ops, result if isinstance(result, tuple) else (), strict=False))


def _succeeded(result: object) -> bool:
    if isinstance(result, Ran):
        return result.exit_code == 0
    return isinstance(result, Fetched) and result.status < 300
