"""Why: a module call is the same for every module: check arguments, choose the target, drive, report, remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules import Module
    from sloth_runner.transport.base import Transport

COMMON = ("delegate_to", "user", "timeout", "when", "ignore_errors", "sensitive")


class Common(NamedTuple):
    """What every module call takes besides the module's own arguments."""

    delegate_to: str | None
    user: str | None
    timeout: float | None
    when: bool
    ignore_errors: bool
    sensitive: bool


class ModuleCalls:
    """Performs module calls. ``transport`` gives the way to an agent (or raises Unreachable, AgentUnknown);
    ``folder`` is the task file's; ``recall`` and ``remember`` keep what modules want to know next time."""

    def __init__(
        self,
        modules: Mapping[str, Module],
        transport: Callable[[str], Transport],
        folder: str,
        memory: Any,
    ) -> None:
        self._modules = modules
        self._transport = transport
        self._folder = folder
        self._memory = memory
