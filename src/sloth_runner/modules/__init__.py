"""Why: one list of all modules and of all kinds of resources, so that the engine, the Lua side, the command line and
the documentation know the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sloth_runner.modules.arguments import check_args
from sloth_runner.modules.base import Arg, Context, Kind, Module
from sloth_runner.modules.sources import Sources, read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Arg", "Context", "Kind", "Module", "Sources", "check_args", "kinds", "modules", "pure_functions", "read_source",
]  # fmt: skip

FAMILIES = (
    "cmd",
    "files.put",
    "system.accounts",
    "http",
    "wait_for",
    "assertion",
    "packages.install",
    "packages.repository",
    "git.checkout",
    "pip",
    "npm",
)
"""Every file of modules; each has MODULES, and KINDS for the resources that it converges."""


def modules() -> dict[str, Module]:
    """All modules by dotted name. What only some of them need is imported when they run."""
    from importlib import import_module

    found: dict[str, Module] = {}
    for family in FAMILIES:
        for module in import_module(f"sloth_runner.modules.{family}").MODULES:
            found[module.name] = module
    return found


def kinds() -> dict[str, Kind]:
    """All kinds of resources by name."""
    from importlib import import_module

    found: dict[str, Kind] = {}
    for family in FAMILIES:
        for kind in getattr(import_module(f"sloth_runner.modules.{family}"), "KINDS", ()):
            found[kind.name] = kind
    return found


def pure_functions(folder: Path) -> Mapping[str, Callable[..., object]]:
    """Functions by dotted name that run on the controller, change nothing and return their value. Relative
    paths start at ``folder``, the task file's."""
    from sloth_runner.modules import crypto, template

    return {**crypto.functions(), **template.functions(folder)}
