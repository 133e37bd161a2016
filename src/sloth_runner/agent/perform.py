"""Why: every transport has file operations done by this one function, so that they mean the same everywhere.

Standard library only; runs on Python 3.8. Programs (Exec) are the transport's own business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sloth_runner.agent import looking, removing, writing
from sloth_runner.agent.names import problem
from sloth_runner.ops import Batch, Glob, MakeDir, OpError, Read, Remove, SetAttrs, Stat, WhoAmI, Write

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result


def perform(op: Op) -> Result:
    """Do one operation, or a Batch in order up to the first that fails. Raises OpError; TypeError for Exec."""
    if isinstance(op, Batch):
        return _each(op)
    try:
        return _one(op)
    except OSError as error:
        path = error.filename if isinstance(error.filename, str) else getattr(op, "path", "")
        raise problem(error, path) from error


def _one(op: Op) -> Result:
    if isinstance(op, Stat):
        return looking.look(op)
    if isinstance(op, Read):
        return looking.read(op)
    if isinstance(op, Write):
        return writing.write(op)
    if isinstance(op, MakeDir):
        return writing.make_dir(op)
    if isinstance(op, SetAttrs):
        return writing.set_attrs(op)
    if isinstance(op, Remove):
        return removing.remove(op)
    if isinstance(op, Glob):
        return looking.glob(op)
    if isinstance(op, WhoAmI):
        return looking.who_am_i()
    raise TypeError(f"{type(op).__name__} is no operation on files")


def _each(batch: Batch) -> Result:
    results: list[Result] = []
    for op in batch.ops:
        try:
            results.append(perform(op))
        except OpError as error:
            error.results = (*results, *error.results)
            raise
    return tuple(results)
