"""Why: one list of all modules, so that the engine, the Lua side and the documentation know the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sloth_runner.modules.arguments import check_args
from sloth_runner.modules.base import Arg, Context, Module
from sloth_runner.modules.sources import read_source

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Arg", "Context", "Module", "check_args", "modules", "pure_functions", "read_source"]


def modules() -> dict[str, Module]:
    """All modules by dotted name. What only some of them need is imported when they run."""
    from sloth_runner.modules import cmd, file

    return {module.name: module for module in (cmd.MODULE, *file.MODULES)}


def pure_functions(folder: Path) -> dict[str, Callable[..., object]]:
    """Functions by dotted name that run on the controller, change nothing and return their value. Relative
    paths start at ``folder``, the task file's."""
    from sloth_runner.modules import crypto, template

    return {**crypto.functions(), **template.functions(folder)}
