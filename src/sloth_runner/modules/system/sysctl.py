"""Why: a setting of the kernel counts now, and in a file for the next start; each alone is half of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.modules.base import (
    Arg,
    Change,
    Context,
    Kind,
    Look,
    Module,
    Observed,
    Resource,
    Want,
    one_by_one,
)  # fmt: skip
from sloth_runner.modules.system.steps import (
    act,
    alone,
    lines_of,
    make_folders,
    missing_above,
    put_lines,
    remove_empty,
    text_of,
)  # fmt: skip
from sloth_runner.ops import OpError, Remove
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps

FILE = "/etc/sysctl.d/90-sloth-runner.conf"


def sysctl(args: Mapping[str, Any], context: Context) -> Steps:
    """A setting, now and after a start."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "sysctl")
    name, value = _dotted(args["name"]), args["value"]
    resource = Resource("sysctl", name, {"file": args["file"]})
    if args["state"] == "absent":
        if value is not None:
            raise BadArgument(
                "sysctl: absent takes the setting out of the file; what it was before is not known"
            )
        return (yield from ensure(Want(resource, {"persistent": ""})))
    if value is None:
        raise BadArgument("sysctl needs value")
    wanted = {"value": value}
    if args["persistent"]:
        wanted["persistent"] = value
    return (yield from ensure(Want(resource, wanted, None, {"sensitive": context.sensitive})))


def _dotted(name: str) -> str:
    """A name with its first separator a dot: net/ipv4/conf/eth0.7/rp_filter is net.ipv4.conf.eth0/7.rp_filter."""
    first = next(char for char in name if char in "./")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def _path(name: str) -> str:
    return "/proc/sys/" + name.translate(str.maketrans("./", "/."))


def _observe(look: Look) -> Generator[Any, Any, Observed]:
    """``value`` is missing where the kernel has no such setting; what can only be written counts as having none."""
    name, file = look.resource.id, look.resource.params["file"]
    persistent = ""
    for line in (yield from lines_of(file)):
        key, _, value = line.partition("=")
        if not line.lstrip().startswith(("#", ";")) and _dotted_or_none(key) == name:
            persistent = " ".join(value.split())
    attributes: dict[str, Any] = {"persistent": persistent}
    try:
        text = yield from text_of(_path(name))
    except OpError as error:
        if error.kind not in ("denied", "system", "folder", "not-file"):
            raise
        text = None
    if text is not None:
        attributes["value"] = " ".join(text.split())
    return Observed(attributes, {"missing": (yield from missing_above(file))})


def _dotted_or_none(key: str) -> str | None:
    name = key.strip().removeprefix("-")
    return _dotted(name) if any(char in name for char in "./") else None


def _converge(change: Change) -> Generator[Any, Any, str]:
    """The kernel first: what it refuses is not written down."""
    name, wanted, before = change.resource.id, change.wanted or {}, change.observed.attributes or {}
    subject = f"sysctl {name}"
    if "value" in wanted and wanted["value"] != before.get("value"):
        if "value" not in before:
            raise TaskFailed(
                f"{subject}: this kernel has no such setting, or it can't be read", unchanged=[subject],
                next=["check its spelling", "load the kernel module that brings it first"],
            )  # fmt: skip
        advice = ["in a container most settings are the host's: set it there"]
        argv = ["sysctl", "-q", "-w", f"{name}={wanted['value']}"]
        yield from act(subject, argv, advice=advice, sensitive=bool(change.options.get("sensitive")))
    if "persistent" in wanted and wanted["persistent"] != before.get("persistent", ""):
        yield from _persist(change, name, str(wanted["persistent"]))
    return ""


def _persist(change: Change, name: str, value: str) -> Generator[Any, Any, None]:
    file = change.resource.params["file"]
    lines = []
    for line in (yield from lines_of(file)):
        comment = line.lstrip().startswith(("#", ";"))
        if comment or _dotted_or_none(line.partition("=")[0]) != name:
            lines.append(line)
    if value:
        lines.append(f"{name} = {value}")
    if not lines:
        yield Remove(file)
        if change.options.get("undo"):
            yield from remove_empty(change.extra.get("missing") or [])
        return
    yield from make_folders((yield from missing_above(file)))
    there = yield from text_of(file)
    yield from put_lines(file, lines, None if there is not None else 0o644)


KINDS = (
    Kind("sysctl", "value: what the kernel has; persistent: what the file says (\"\": nothing)",
         *one_by_one(_observe, _converge)),
)  # fmt: skip
MODULES = (
    Module(
        "sysctl",
        sysctl,
        (
            Arg("name", "sysctl", "the setting, such as vm.swappiness or net.ipv4.ip_forward", required=True),
            Arg("value", "setting", "its value"),
            Arg("persistent", "boolean", "also write it down for the next start", default=True),
            Arg("file", "file path", "the file where it is written down", default=FILE),
            Arg(
                "state",
                "present or absent",
                '"absent": no longer written down; the kernel keeps it',
                default="present",
            ),
        ),
        "Gives a kernel setting a value, now and after a start.",
        refused={"reload": "the setting itself is set at once", "sysctl_set": "it is always set at once"},
    ),
)
