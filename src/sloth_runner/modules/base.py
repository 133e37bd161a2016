"""Why: what every module is made of: arguments described as data, and a generator of operations."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from sloth_runner.model import Outcome
    from sloth_runner.ops import Step

    Steps: TypeAlias = Generator[Step, Any, Outcome]
    """What a module function returns: it yields operations, is resumed with their results (an OpError, or the
    error of a Source, is thrown into it) and returns its Outcome. It does no I/O itself."""


class Context(NamedTuple):
    """Where a call runs: the task file's ``folder`` (on the controller), the task's ``workdir`` and ``env``,
    the target, and what the call asks for beside the module's arguments. ``timeout`` is in seconds."""

    folder: str
    workdir: str | None
    env: Mapping[str, str]
    agent: str
    is_local: bool
    user: str | None = None
    timeout: float | None = None
    sensitive: bool = False


class Arg(NamedTuple):
    """One argument. ``type`` is a name in ``arguments.TYPES``; ``doc`` says what it is for, and what holds
    without it."""

    name: str
    type: str
    doc: str
    required: bool = False
    default: Any = None


class Module(NamedTuple):
    """A module: its dotted name, its arguments, and the function that makes its steps.

    ``positional`` names the argument that a single string stands for. ``refused`` gives the reason for
    arguments that other tools have and this module deliberately has not.
    """

    name: str
    run: Callable[[Mapping[str, Any], Context], Steps]
    args: tuple[Arg, ...]
    doc: str
    positional: str | None = None
    refused: Mapping[str, str] = {}
