"""Why: what is no module, and what all modules share, is described in the same manner as modules are.

Nothing of this is needed to run a task: the reference, the types for editors and completion are made of it.
"""

from __future__ import annotations

from sloth_runner.modules.base import Arg
from sloth_runner.plain import NamedTuple


class Param(NamedTuple):
    """A parameter, a result or a field as task files see it. ``type`` is one of lua-language-server's."""

    name: str
    type: str
    doc: str
    optional: bool = False


class Function(NamedTuple):
    """A function of task files that is no module: dotted name, what it does, parameters, results.

    ``args`` stands for ``params`` where it takes one table. ``overloads`` are its other forms, as types of functions.
    """

    name: str
    doc: str
    params: tuple[Param, ...] = ()
    returns: tuple[Param, ...] = ()
    args: tuple[Arg, ...] = ()
    overloads: tuple[str, ...] = ()


class Record(NamedTuple):
    """A table with known fields, by the name of its type. ``also`` holds what fields can't say: further annotations
    of lua-language-server, without their ``---@``."""

    name: str
    doc: str
    fields: tuple[Param, ...]
    also: tuple[str, ...] = ()


COMMON = (
    Arg(
        "delegate_to",
        "strings",
        "where to do it instead of the task's agent: a name, @group, pattern, URL, or several (then results[agent])",
    ),
    Arg("user", "line", "the user to do it as (sudo), instead of the task's"),
    Arg("timeout", "duration", "how long it may take; without it: as long as the task"),
    Arg("when", "boolean", "false: don't do it, and say so", default=True),
    Arg(
        "ignore_errors", "boolean", "a failure is returned (failed, message, code), not raised", default=False
    ),
    Arg("sensitive", "boolean", "nothing of it is shown or recorded in clear", default=False),
    Arg("notify", "strings", "handlers that are due if it changed something", default=()),
    Arg("prevent_destroy", "boolean", "prune keeps what it made", default=False),
)
"""What every module takes beside its own arguments; the engine handles them."""

RESULT = (
    Param("changed", "boolean", "whether something was changed"),
    Param("message", "string", "what was done, or why not"),
    Param("diff", "string", "the difference, where there is one to show", optional=True),
    Param("skipped", "boolean", "true if it was not done, because of when", optional=True),
    Param("failed", "boolean", "true if it failed (only with ignore_errors)", optional=True),
    Param("code", "string", "the code of the error (only with ignore_errors)", optional=True),
)
"""What every module returns beside its own fields."""
