"""Why: what runs on a machine, now and after it starts, is systemd's to say: its units are looked at and told.

A service that is only to run again, because something it reads has changed, is restarted by an action; as a handler
that runs once, however many changes call for it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.modules.base import (
    Arg,
    Change,
    Context,
    Ensure,
    Kind,
    Look,
    Module,
    Observed,
    Predict,
    Resource,
    Want,
    each_alone,
    one_by_one,
)  # fmt: skip
from sloth_runner.modules.system.starting import amiss, start, still_there
from sloth_runner.modules.system.steps import act, alone, ask, failure, not_installed
from sloth_runner.ops import FILE, Read, Remove, Stat, Write
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_records import KEPT_CONTENT

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Converged, Steps
    from sloth_runner.ops import Content, Found

FOLDER = "/etc/systemd/system"
PROPERTIES = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
WHERE = "services can be managed where systemd runs"
RUNNING = frozenset({"active", "reloading", "refreshing"})
WITHOUT_INSTALL = {
    "static": "its file has no [Install] section: other units start it; leave enabled out",
    "indirect": "another name of it is enabled instead: see Also= in its file",
    "generated": "it comes from a script in /etc/init.d or another source: enable it with that one's own tool",
    "transient": "it was made by a program, and is gone at the next start",
}
STATES = {"activating": "starting", "deactivating": "stopping"}


def units(names: Sequence[str]) -> Generator[Any, Any, list[dict[str, str]] | None]:
    """What systemd knows of units; None where it is not installed. Raises TaskFailed where it does not run."""
    ran = yield from ask("systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *names)
    if ran is None:
        return None
    if ran.exit_code:
        raise failure(
            names[0], "`systemctl show`", ran, advice=["services can be managed where systemd runs"]
        )
    blocks = ran.stdout.decode("utf-8", "replace").strip("\n").split("\n\n")
    seen = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
    if len(seen) != len(names) or not all(set(PROPERTIES) <= set(one) for one in seen):
        said = (ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace")
        raise TaskFailed(
            f"service {names[0]}: systemd does not run here", system=said, unchanged=list(names), next=[WHERE]
        )
    return seen


def service(args: Mapping[str, Any], context: Context) -> Steps:
    """Units that run or not, now and after a start of the machine."""
    from sloth_runner.model import Outcome

    yield from alone(context, "service")
    wanted = {key: args[key] for key in ("state", "enabled", "masked") if args[key] is not None}
    if not wanted:
        raise BadArgument("service needs state, enabled or masked: what the service is to be like")
    if wanted.get("masked") and (wanted.get("enabled") or wanted.get("state") == "running"):
        raise BadArgument(
            "service: a masked unit can't be enabled or running: say masked = false, or leave it out"
        )
    wants = tuple(Want(Resource("service", name), wanted) for name in args["name"])
    done: tuple[Converged, ...] = yield Ensure(wants)
    changed = [one for one in done if one.action != "none"]
    message = "; ".join(one.message for one in changed if one.message)
    return Outcome(bool(changed), message, {"name": list(args["name"])})


def _observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """One command for all."""
    seen = yield from units([look.resource.id for look in looks])
    if seen is None:
        return [Observed(None)] * len(looks)
    return [Observed(_attributes(one)) for one in seen]


def _attributes(seen: Mapping[str, str]) -> dict[str, Any] | None:
    if seen["LoadState"] == "not-found" and seen["ActiveState"] == "inactive":
        return None
    active = seen["ActiveState"]
    return {
        "state": "running" if active in RUNNING else STATES.get(active, "stopped"),
        "enabled": seen["UnitFileState"] == "enabled",
        "masked": seen["LoadState"] == "masked",
    }


def _converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    names = [change.resource.id for change in changes]
    seen = yield from units(names)
    if seen is None:
        raise not_installed(f"service {names[0]}", "systemctl")
    notes = []
    reloaded = False
    for change, unit in zip(changes, seen, strict=True):
        subject = f"service {change.resource.id}"
        if change.dry and (yield from _is_rehearsed(change.resource.id)):
            yield from act(subject, ["systemctl", "start", "--", change.resource.id])
        if change.observed.attributes is None or change.wanted is None:
            raise TaskFailed(
                f"{subject}: systemd knows no unit of that name", unchanged=[subject],
                next=["install its package, or make it with systemd.unit, first", "check its spelling"],
            )  # fmt: skip
        _refuse_masked(subject, change)
        if unit["NeedDaemonReload"] == "yes" and not reloaded:
            yield from act(subject, ["systemctl", "daemon-reload"])
            reloaded = True
        yield from _set(subject, change, unit)
        notes.append("")
    return notes


def _refuse_masked(subject: str, change: Change) -> None:
    """Raise TaskFailed where nobody has said that a masked unit may be unmasked."""
    wanted, before = change.wanted or {}, change.observed.attributes or {}
    told = "enabled" if wanted.get("enabled") else "started"
    if before.get("masked") and "masked" not in wanted and (wanted.get("enabled") or _is_to_run(wanted)):
        raise TaskFailed(
            f"{subject} is masked, and can't be {told}", unchanged=[subject], next=["masked = false"]
        )


def _is_to_run(wanted: Attributes) -> bool:
    return wanted.get("state") in ("running", "starting")


def _is_rehearsed(unit: str) -> Generator[Any, Any, bool]:
    """In check mode: whether the unit's file would have been made by now."""
    found: Found = yield Stat(f"{FOLDER}/{unit}", names=False)
    return found.kind == FILE


def _set(subject: str, change: Change, unit: dict[str, str]) -> Generator[Any, Any, None]:
    """In an order that each step allows the next: unmask, enable, start or stop, mask."""
    name, wanted, before = change.resource.id, change.wanted or {}, change.observed.attributes or {}
    if "masked" in wanted and before["masked"] and not wanted["masked"]:
        yield from act(subject, ["systemctl", "unmask", "--", name])
        before = {**before, **(_attributes(((yield from units([name])) or [unit])[0]) or {})}
    if "enabled" in wanted and wanted["enabled"] != before["enabled"]:
        yield from _enable(subject, name, wanted["enabled"])
    if "state" in wanted and wanted["state"] != before["state"]:
        yield from start(subject, name, "start" if _is_to_run(wanted) else "stop")
    if wanted.get("masked") and not before["masked"]:
        yield from act(subject, ["systemctl", "mask", "--", name])


def _enable(subject: str, name: str, enabled: bool) -> Generator[Any, Any, None]:
    seen = ((yield from units([name])) or [{}])[0].get("UnitFileState", "")
    if enabled and seen in WITHOUT_INSTALL:
        raise TaskFailed(
            f"{subject} can't be enabled: it is {seen}", unchanged=[subject], next=[WITHOUT_INSTALL[seen]]
        )
    advice = [f"systemd-analyze verify {name} shows what is wrong with its file"]
    yield from act(subject, ["systemctl", "enable" if enabled else "disable", "--", name], advice=advice)


def _action(how: str) -> Any:
    def run(args: Mapping[str, Any], context: Context) -> Steps:
        """An action: it is done whenever it is called."""
        from sloth_runner.model import Outcome

        yield from alone(context, f"service.{how}")
        names: tuple[str, ...] = args["name"]
        seen = yield from units(names)
        if seen is None:
            raise not_installed(f"service.{how}", "systemctl")
        for name, unit in zip(names, seen, strict=True):
            if unit["LoadState"] == "not-found" and not (yield from _is_rehearsed(name)):
                raise TaskFailed(
                    f"service {name}: systemd knows no unit of that name", unchanged=list(names),
                    next=["install its package first", "check its spelling"],
                )  # fmt: skip
        address = f"service:{names[0]}"
        yield Predict(
            address, f"would {how} {', '.join(names)}", True, f"service.{how} was called", unknown=()
        )
        if any(unit["NeedDaemonReload"] == "yes" for unit in seen):
            yield from act(f"service {names[0]}", ["systemctl", "daemon-reload"])
        for name in names:
            yield from start(f"service {name}", name, how)
            if how == "restart":
                yield from still_there(f"service {name}", name)
        return Outcome(True, f"{how}ed {', '.join(names)}", {"name": list(names)})

    return run


def unit_file(args: Mapping[str, Any], context: Context) -> Steps:
    """A unit's file, or a piece that is dropped in."""
    from sloth_runner.modules.base import Source, ensure

    yield from alone(context, "systemd.unit")
    path = f"{FOLDER}/{args['name']}"
    params = {"unit": args["name"]}
    if args["drop_in"] is not None:
        path += f".d/{args['drop_in']}.conf"
    given = [key for key in ("content", "src") if args[key] is not None]
    if args["state"] == "absent":
        if given:
            raise BadArgument(f"systemd.unit: {given[0]} says what is in it, but state is absent")
        return (yield from ensure(Want(Resource("systemd.unit", path, params), None)))
    if len(given) != 1:
        raise BadArgument("systemd.unit takes either content (a text) or src (a file beside the task file)")
    content = (
        Source(args["src"]) if args["src"] is not None else args["content"].encode("utf-8", "surrogateescape")
    )
    wanted = {"mode": f"{args['mode']:04o}", "loaded": True}
    return (yield from ensure(Want(Resource("systemd.unit", path, params), wanted, content)))


def _observe_file(look: Look) -> Generator[Any, Any, Observed]:
    """The file, and whether what systemd has in memory is what the files say. Gone from both, it is absent."""
    path = look.resource.id
    found: Found = yield Stat(path, digest=True)
    loaded = yield from _is_loaded(path, str(look.resource.params["unit"]), found.kind == FILE)
    if found.kind == FILE:
        attributes = {"content": found.digest, "mode": f"{found.mode:04o}", "loaded": loaded}
        return Observed(attributes, {}, None)
    if found.kind == "link":
        mask = found.target == "/dev/null"
        advice = ["it is masked: service({name = …, masked = false}) unmasks it"] if mask else []
        raise TaskFailed(
            f"{path} is a symbolic link to {found.target}, not a unit's file", unchanged=[path], next=advice
        )
    return Observed(None if loaded else {"loaded": False})


def _is_loaded(path: str, unit: str, there: bool) -> Generator[Any, Any, bool]:
    """Whether systemd's memory agrees with the files; also where none runs, because that one has no memory.

    It does not notice the first piece that is dropped into a unit (a folder that it did not know), so those that it
    has read are compared."""
    ran = yield from ask("systemctl", "show", "--property=LoadState,NeedDaemonReload,DropInPaths", "--", unit)
    if ran is None or ran.exit_code:
        return True
    seen = dict(
        line.split("=", 1) for line in ran.stdout.decode("utf-8", "replace").splitlines() if "=" in line
    )
    if seen.get("NeedDaemonReload") == "yes":
        return False
    if path == f"{FOLDER}/{unit}" or seen.get("LoadState") != "loaded":
        return True
    return (path in seen.get("DropInPaths", "").split()) is there


def _converge_file(change: Change) -> Generator[Any, Any, str]:
    path, unit = change.resource.id, str(change.resource.params["unit"])
    if change.wanted is None or "content" not in change.wanted:
        yield Remove(path)
        if path != f"{FOLDER}/{unit}":
            yield from _remove_empty(path.rsplit("/", 1)[0])
    elif not change.differing.isdisjoint({"content", "present"}):
        yield from _write(change, change.wanted)
    elif "mode" in change.differing:
        read: Content = yield Read(path, KEPT_CONTENT)
        yield Write(path, read.data, int(change.wanted["mode"], 8), "0", "0")
    if not (yield from _is_loaded(path, unit, change.wanted is not None and "content" in change.wanted)):
        yield from act(f"systemd.unit {unit}", ["systemctl", "daemon-reload"])
    return ""


def _write(change: Change, wanted: Attributes) -> Generator[Any, Any, None]:
    from sloth_runner.modules.system.steps import make_folders, missing_above

    yield from make_folders((yield from missing_above(change.resource.id)))
    assert change.content is not None
    yield Write(change.resource.id, change.content, int(wanted["mode"], 8), "0", "0")


def _remove_empty(folder: str) -> Generator[Any, Any, None]:
    from sloth_runner.modules.system.steps import remove_empty

    yield from remove_empty([folder])


def _content(resource: Resource) -> Generator[Any, Any, bytes | None]:
    from sloth_runner.modules.files.kind import content

    return (yield from content(resource))


KINDS = (
    Kind(
        "service",
        "state (running, stopped; starting, stopping on the way), enabled, masked",
        _observe,
        _converge,
        apart=each_alone("state", "enabled", "masked"),
        amiss=amiss,
    ),
    Kind(
        "systemd.unit",
        "content and mode of a unit's file; loaded: whether systemd has read the files as they are",
        *one_by_one(_observe_file, _converge_file),
        _content,
    ),
)
_NAME = Arg("name", "units", "the unit, or a list; without an ending it is a service", required=True)
_NAMES = {"name": "the units' full names"}
MODULES = (
    Module(
        "service",
        service,
        (
            _NAME,
            Arg("state", "running or stopped", '"running" or "stopped"; without it: as it is'),
            Arg("enabled", "boolean", "whether it starts with the machine; without it: as it is"),
            Arg("masked", "boolean", "whether nothing may start it; without it: as it is"),
        ),
        "Starts, stops, enables, disables and masks units of systemd.",
        refused={
            "daemon_reload": "systemd reads changed files again by itself when that is needed",
            "restarted": "service.restart restarts",
        },
        returns=_NAMES,
    ),
    Module(
        "service.restart",
        _action("restart"),
        (_NAME,),
        "Restarts units (starts those that don't run), every time it is called: it belongs in a handler.",
        positional="name",
        returns=_NAMES,
    ),
    Module(
        "service.reload",
        _action("reload"),
        (_NAME,),
        "Has units reload their configuration, every time it is called: it belongs in a handler.",
        positional="name",
        returns=_NAMES,
    ),
    Module(
        "systemd.unit",
        unit_file,
        (
            Arg("name", "unit", "the unit; without an ending it is a service", required=True),
            Arg("content", "content", "the file's text, byte for byte"),
            Arg("src", "line", "a file with it, relative to the task file"),
            Arg(
                "drop_in",
                "sudoers name",
                "a piece that changes a unit of others: its name in UNIT.d, less .conf",
            ),
            Arg("mode", "mode", "permissions as octal text", default=0o644),
            Arg(
                "state",
                "present or absent",
                'whether it should be there: "present" or "absent"',
                default="present",
            ),
        ),
        f"Puts a unit's file into {FOLDER}, or removes it, and lets systemd read it exactly when that is needed.",
        refused={"dest": f"the file's place is {FOLDER}", "daemon_reload": "it is done when it is needed"},
    ),
)
