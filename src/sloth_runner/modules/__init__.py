"""Why: one list of all modules and of all kinds of resources, so that the engine, the Lua side, the command line and
the documentation know the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sloth_runner.modules.arguments import check_args
from sloth_runner.modules.base import Arg, Context, Kind, Module
from sloth_runner.modules.sources import Sources, read_source
from sloth_runner.plain import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Arg", "Context", "Kind", "Module", "Sources", "check_args", "kinds", "modules", "pure_functions", "read_source",
]  # fmt: skip

T = TypeVar("T", bound="Module | Kind")
Other = TypeVar("Other")

FAMILIES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cmd": (("cmd",), ()),
    "files.put": (
        (
            "file.copy",
            "file.write",
            "file.template",
            "file.directory",
            "file.absent",
            "file.link",
            "file.touch",
        ),
        ("file",),
    ),
    "files.tree": ((), ("file.purge",)),
    "files.edit": (
        ("file.line", "file.block", "file.replace", "file.set_key"),
        ("file.line", "file.block", "file.replace", "file.key"),
    ),
    "files.attributes": (("file.attributes",), ("file.acl",)),
    "files.look": (("file.stat", "file.checksum", "file.fetch"), ()),
    "archive": (("archive",), ("archive",)),
    "databases.postgresql": (
        ("postgresql.user", "postgresql.database", "postgresql.grant"),
        ("postgresql.user", "postgresql.database", "postgresql.grant"),
    ),
    "databases.mysql": (
        ("mysql.user", "mysql.database", "mysql.grant"),
        ("mysql.user", "mysql.database", "mysql.grant"),
    ),
    "certificates": (
        ("certificate.key", "certificate.self_signed", "certificate.csr"),
        ("certificate.key", "certificate.csr", "certificate.self_signed"),
    ),
    "system.accounts": (("user", "group"), ("user", "group", "group.member")),
    "system.services": (
        ("service", "service.restart", "service.reload", "systemd.unit"),
        ("service", "systemd.unit"),
    ),
    "system.cron": (("cron",), ("cron",)),
    "system.sudoers": (("sudoers",), ("sudoers",)),
    "system.names": (("hostname", "hosts", "timezone"), ("hostname", "hosts", "timezone")),
    "system.ssh": (
        ("ssh_key.authorized", "ssh_key.known_host"),
        ("ssh_key.authorized", "ssh_key.authorized_all", "ssh_key.known_host"),
    ),
    "system.sysctl": (("sysctl",), ("sysctl", "sysctl.line")),
    "system.mount": (("mount",), ("mount",)),
    "http": (("http.request", "http.download"), ()),
    "wait_for": (("wait_for",), ()),
    "assertion": (("assert.that",), ()),
    "packages.install": (("pkg", "pkg.upgrade", "pkg.hold"), ("pkg", "pkg.hold")),
    "packages.repository": (("pkg.repository", "pkg.key"), ()),
    "git.checkout": (("git",), ("git",)),
    "pip": (("pip",), ("pip", "pip.requirements", "pip.virtualenv")),
    "npm": (("npm",), ("npm",)),
}
"""Every file of modules, with the names of its MODULES and of its KINDS: known without loading them."""


class Registry(Mapping[str, T]):
    """Things by name that stand in files, each loaded when something of it is asked for."""

    def __init__(self, files: Mapping[str, str], attribute: str) -> None:
        self._files = files
        self._attribute = attribute
        self._found: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        found = self._found.get(name)
        if found is None:
            from importlib import import_module

            for one in getattr(import_module(f"sloth_runner.modules.{self._files[name]}"), self._attribute):
                self._found[one.name] = one
            found = self._found[name]
        return found

    @overload
    def get(self, name: str) -> T | None: ...

    @overload
    def get(self, name: str, default: T | Other) -> T | Other: ...

    def get(self, name: str, default: T | Other | None = None) -> T | Other | None:
        """See Mapping: that of the base class costs ten times as much, for each call of a task."""
        found = self._found.get(name)
        if found is None and name in self._files:
            found = self[name]
        return default if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def modules() -> Mapping[str, Module]:
    """All modules by dotted name."""
    return Registry({name: file for file, (names, _) in FAMILIES.items() for name in names}, "MODULES")


def kinds() -> Mapping[str, Kind]:
    """All kinds of resources by name."""
    return Registry({name: file for file, (_, names) in FAMILIES.items() for name in names}, "KINDS")


def pure_functions(folder: Path) -> Mapping[str, Callable[..., object]]:
    """Functions by dotted name that run on the controller, change nothing and return their value. Relative
    paths start at ``folder``, the task file's."""
    from sloth_runner.modules import crypto

    def render(*args: object) -> object:
        from sloth_runner.modules import template

        return template.render(folder, *args)

    return {**crypto.functions(), "template.render": render}
