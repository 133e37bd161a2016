"""Why: what every module is made of: its arguments, described as data, and a generator of operations."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias

from sloth_runner.model import Outcome
from sloth_runner.ops import Op

Steps: TypeAlias = Generator[Op, Any, Outcome]
"""What a module function returns: it yields operations, is resumed with their answers (an OpError is thrown into
it) and returns its Outcome. It does no I/O itself."""


class Arg(NamedTuple):
    """One argument. ``kind``: string, path (absolute, on the target), boolean, duration, mode, strings (a list,
    or one string), argv (a list), table, or content (a string, byte for byte)."""

    name: str
    kind: str
    doc: str
    required: bool = False
    default: Any = None


class Module(NamedTuple):
    """A module: its dotted name, its arguments, and the function that makes its steps. ``positional`` names the
    argument that a single string stands for."""

    name: str
    doc: str
    args: tuple[Arg, ...]
    run: Callable[[Mapping[str, Any], Setting], Steps]
    positional: str | None = None


class Setting(NamedTuple):
    """Where a call runs: the task file's folder (on the controller), the task's workdir and environment, the
    target, and what the call itself asks for."""

    folder: str
    workdir: str | None
    env: Mapping[str, str]
    agent: str
    is_local: bool
    user: str | None = None
    timeout: float | None = None
    sensitive: bool = False
