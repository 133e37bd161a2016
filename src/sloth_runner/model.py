"""Why: the layers talk in a few plain, immutable shapes; this file holds them and no behaviour.

NamedTuples rather than dataclasses: defining them costs a tenth, and start-up is a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping

from sloth_runner.plain import NamedTuple, TypeAlias

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | Pairs"
"""What state can hold. A Lua string is a ``str``; bytes that are not UTF-8 stand in it as lone surrogates
(``surrogateescape``), so every Lua string survives. A Lua table is a list (keys 1..n), a dict (string keys
only; also the empty table) or Pairs (anything else)."""


class Pairs(NamedTuple):
    """A Lua table whose keys are neither 1..n nor all strings; pairs in canonical order, keys distinct."""

    items: tuple[tuple[str | int | float | bool, Value], ...]


class By(NamedTuple):
    """Who did something: a user on a host, in a process, for a run and a task (None outside of them)."""

    user: str
    host: str
    pid: int
    run: str | None = None
    task: str | None = None


class Site(NamedTuple):
    """A place in a user's file: absolute path and line (from 1)."""

    file: str
    line: int


class This(NamedTuple):
    """What a task body learns about itself."""

    name: str
    agent: str
    workdir: str


class Call(NamedTuple):
    """A request that a task body yields: the dotted name of a function, its arguments, and where it stands:
    its ``site``, and ``outer``, the lines of user files further out on the stack.

    The body is resumed with the function's result, or with an error thrown into it.
    """

    name: str
    args: tuple[object, ...]
    site: Site | None = None
    outer: tuple[Site, ...] = ()


Body: TypeAlias = Generator[Call, object, object]
"""A task's body. Its return value is the task's result: a Value, None, or Returned for several values."""


class Returned(NamedTuple):
    """Several values returned by a Lua function, such as ``false, "why"``."""

    values: tuple[object, ...]


class Ordered(NamedTuple):
    """A table of text keys that Lua walks in this order."""

    items: tuple[tuple[str, Value], ...]


Start: TypeAlias = Callable[..., Body]
"""Begins a body; called with what the Lua function gets (This, params, deps; or as each field says)."""

Condition: TypeAlias = "bool | str | Start | None"
"""``run_if`` and ``unless``: a constant, a shell command on the target (true: exit 0), or a function."""


class Share(NamedTuple):
    """So many machines, or so many percent of them."""

    amount: int
    percent: bool = False


class TaskDef(NamedTuple):
    """One task as its file defines it. Durations are seconds. ``serial`` are the sizes of the batches in which its
    machines have their turn (the last goes on; none: all at once), ``max_failures`` after how many no other
    starts."""

    name: str
    run: Start
    site: Site
    description: str = ""
    depends_on: tuple[str, ...] = ()
    delegate_to: tuple[str, ...] = ()
    retries: int = 0
    retry_delay: float = 0.0
    timeout: float | None = None
    run_if: Condition = None
    unless: Condition = None
    on_success: Start | None = None
    on_failure: Start | None = None
    env: Mapping[str, str] = {}
    workdir: str | None = None
    user: str | None = None
    tags: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    params: Mapping[str, Value] = {}
    prune: bool = True
    serial: tuple[Share, ...] = ()
    max_failures: Share | None = None
    span: tuple[int, int] = (0, 0)
    """The first and last line of its function."""


class Workflow(NamedTuple):
    """A named set of ``tasks`` (empty: all of the file); ``on_complete`` gets (ok: bool, results: table of task name
    -> status). ``serial`` and ``max_failures`` are those of tasks that say nothing else."""

    name: str | None
    description: str = ""
    tasks: tuple[str, ...] = ()
    delegate_to: tuple[str, ...] = ()
    serial: tuple[Share, ...] = ()
    max_failures: Share | None = None
    on_complete: Start | None = None


class Program(NamedTuple):
    """A task file after loading: tasks and handlers in the order of definition."""

    file: str
    workflow: Workflow
    tasks: tuple[TaskDef, ...]
    handlers: tuple[TaskDef, ...] = ()


class Outcome(NamedTuple):
    """What a module call came to. ``fields`` are returned to the caller beside ``changed`` and ``message``;
    ``remember`` is kept for the next Recall of the same name on the same target. ``unknown`` names the fields that
    can't be known because nothing was done (in check mode)."""

    changed: bool
    message: str = ""
    fields: Mapping[str, object] = {}
    diff: str | None = None
    remember: tuple[str, Mapping[str, Value]] | None = None
    unknown: tuple[str, ...] = ()


class Partial(NamedTuple):
    """A result of which some fields can't be known, because nothing was done: reading one of them ends the task's
    plan."""

    known: Mapping[str, object]
    unknown: tuple[str, ...]


class Event(NamedTuple):
    """Something that happened in a run; the terminal, JSON lines and the web UI are made of these.

    ``kind`` is dotted (``task.started``, ``task.output``, ``run.finished``, …); ``data`` holds JSON values;
    ``time`` is seconds since the epoch.
    """

    kind: str
    time: float
    task: str | None
    agent: str | None
    data: Mapping[str, object]


Sink: TypeAlias = Callable[[str, bytes], None]
"""Receives output as it comes: stream name ("stdout" or "stderr") and a piece of it."""
