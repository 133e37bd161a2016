"""Why: a package is there in some version or not; apt changes all that differ in one call, after saying what else it
would do, so that nothing is removed that nobody named."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Change, Kind, Look, Observed
from sloth_runner.modules.packages import apt
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.packages.apt import How, Row

INSTALLED, LEFT, HALF = "installed", "configuration", "half-installed"
"""States of a package: there; removed, but its configuration was left; only half there, because dpkg was stopped."""
_STATES = {
    "i": INSTALLED, "W": INSTALLED, "t": INSTALLED, "c": LEFT, "H": HALF, "U": "unpacked", "F": "half-configured",
}  # fmt: skip


def _rows(looks: Sequence[Look]) -> Generator[Any, Any, list[Row | None]]:
    """For each look what dpkg knows; of several architectures the machine's own, unless one is named."""
    rows = yield from apt.status(sorted({look.resource.id for look in looks}))
    found = []
    own = ""
    for look in looks:
        name, _, wanted = look.resource.id.partition(":")
        these = [row for row in rows if row.name == name and wanted in ("", row.architecture)]
        if len(these) > 1 and not own:
            own = yield from apt.native()
        these.sort(key=lambda row: row.architecture not in (own, "all"))
        found.append(these[0] if these else None)
    return found


def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """All in one question. Left configuration counts only for who asks for it (parameter ``purge``)."""
    out = []
    for look, row in zip(looks, (yield from _rows(looks)), strict=True):
        state = _STATES.get(row.status[1:2]) if row is not None else None
        if row is None or state is None or (state == LEFT and not look.resource.params.get("purge")):
            out.append(Observed(None, {"left": True} if state == LEFT else {}))
        else:
            out.append(Observed({"state": state, "version": row.version}))
    return out


def converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Install and remove, each in one call."""
    how: apt.How = changes[0].options.get("how", apt.How())
    install = [change for change in changes if change.wanted is not None]
    remove = [change for change in changes if change.wanted is None]
    for change in install:
        if change.wanted is not None and change.wanted.get("state", INSTALLED) != INSTALLED:
            raise TaskFailed(
                f"pkg {change.resource.id} was not wholly there before ({change.wanted['state']}), and that"
                " can't be restored",
                unchanged=[change.resource.address],
            )
    yield from apt.finish(how)
    notes = dict.fromkeys((change.resource.id for change in changes), "")
    if install:
        valid = changes[0].options.get("valid")
        if valid is not None and (yield from apt.is_stale(valid, dry=changes[0].dry)):
            yield from apt.refresh(how)
        notes[install[0].resource.id] = yield from _install(install, how)
    if remove:
        notes[remove[0].resource.id] = yield from _remove(remove, how)
    return [notes[change.resource.id] for change in changes]


def _install(changes: Sequence[Change], how: How) -> Generator[Any, Any, str]:
    options = changes[0].options
    words, pinned = [], False
    for change in changes:
        version = (change.wanted or {}).get("version")
        pinned = pinned or version is not None
        words.append(change.resource.id if version is None else f"{change.resource.id}={version}")
    flags = ["--allow-downgrades"] if pinned else []
    if options.get("recommends") is not None:
        flags.append("--install-recommends" if options["recommends"] else "--no-install-recommends")
    states = {(change.observed.attributes or {}).get("state") for change in changes}
    flags += ["--reinstall"] if HALF in states else []
    arguments = [*flags, "install", "--", *words]
    names = {change.resource.id for change in changes}
    would = yield from apt.simulate(arguments, how)
    missing = [name for name in sorted(names) if not _among(name, would.installed)]
    if missing:  # unless another program, for which we have waited, has installed it
        rows = yield from apt.status(missing)
        there = [row.name for row in rows if _STATES.get(row.status[1:2]) == INSTALLED]
        missing = [name for name in missing if not _among(name, there)]
    if missing and states <= {None, INSTALLED}:
        others = f"; apt would install {', '.join(would.installed)} instead" if would.installed else ""
        raise TaskFailed(
            f"{missing[0]} is no package that can be installed by that name{others}",
            unchanged=[f"pkg:{name}" for name in sorted(names)],
            next=["name the package itself; `apt-cache showpkg NAME` lists what provides a virtual one"],
        )
    if would.removed and not options.get("allow_removal"):
        raise _too_much("install", sorted(names), would.removed)
    yield from apt.apply(arguments if options.get("allow_removal") else ["--no-remove", *arguments], how)
    with_them = [name for name in would.installed if not any(_among(own, (name,)) for own in names)]
    return _with(with_them)


def _remove(changes: Sequence[Change], how: How) -> Generator[Any, Any, str]:
    options = changes[0].options
    ours = options.get("undo") and not any(change.extra.get("left") for change in changes)
    verb = "purge" if changes[0].resource.params.get("purge") or ours else "remove"
    names = [change.resource.id for change in changes]
    arguments = [verb, "--", *names]
    would = yield from apt.simulate(arguments, how)
    others = [name for name in would.removed if not any(_among(own, (name,)) for own in names)]
    if others and not options.get("allow_removal"):
        raise _too_much("remove", names, others)
    yield from apt.apply(["--auto-remove", *arguments] if options.get("autoremove") else arguments, how)
    return _with(others)


def _among(name: str, names: Sequence[str]) -> bool:
    """Whether apt names this package; it leaves the machine's own architecture out."""
    return any(one == name or one.partition(":")[0] == name or one == name.partition(":")[0] for one in names)


def _too_much(verb: str, names: Sequence[str], removed: Sequence[str]) -> TaskFailed:
    return TaskFailed(
        f"to {verb} {', '.join(names)} apt would also remove {', '.join(removed)}",
        unchanged=[f"pkg:{name}" for name in names],
        next=["allow_removal = true lets it", "or name them in a call of their own"],
    )


def _with(names: Sequence[str]) -> str:
    return f"with {listed(names)}" if names else ""


def listed(names: Sequence[str]) -> str:
    """The names of packages, if there are many the first of them."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def observe_holds(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """Whether packages are held at their version."""
    rows = yield from _rows(looks)
    return [Observed({"held": True} if row is not None and row.status[:1] == "h" else None) for row in rows]


def converge_holds(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """Hold, or let go."""
    how: apt.How = changes[0].options.get("how", apt.How())
    for word, gone in (("hold", False), ("unhold", True)):
        names = [change.resource.id for change in changes if (change.wanted is None) is gone]
        if names:
            yield from apt.mark(word, names, how)
    return [""] * len(changes)


PACKAGE = Kind(
    "pkg",
    "a Debian package: state (installed; configuration: its settings alone are left; …), version",
    observe,
    converge,
)
HOLD = Kind("pkg.hold", "a package that stays at its version: held", observe_holds, converge_holds)
