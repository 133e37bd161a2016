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
    edit_lines,
    lines_of,
    make_folders,
    missing_above,
    remove_empty,
    text_of,
)  # fmt: skip
from sloth_runner.ops import OpError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps

FILE = "/etc/sysctl.d/90-sloth-runner.conf"


def sysctl(args: Mapping[str, Any], context: Context) -> Steps:
    """A setting, now and after a start. The kernel first: what it refuses is not written down."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "sysctl")
    name, value = _dotted(args["name"]), args["value"]
    line = Resource("sysctl.line", f"{args['file']}#{name}", {"file": args["file"], "name": name})
    if args["state"] == "absent":
        if value is not None:
            raise BadArgument(
                "sysctl: absent takes the setting out of the file; what it was before is not known"
            )
        return (yield from ensure(Want(line, None)))
    if value is None:
        raise BadArgument("sysctl needs value")
    options = {"sensitive": context.sensitive}
    now = yield from ensure(Want(Resource("sysctl", name), {"value": value}, None, options))
    if not args["persistent"]:
        return now
    then = yield from ensure(Want(line, {"value": value}))
    message = "; ".join(filter(None, (now.message, then.message)))
    return now._replace(changed=now.changed or then.changed, message=message)


def _dotted(name: str) -> str:
    """A name with its first separator a dot: net/ipv4/conf/eth0.7/rp_filter is net.ipv4.conf.eth0/7.rp_filter."""
    first = next(char for char in name if char in "./")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def _path(name: str) -> str:
    return "/proc/sys/" + name.translate(str.maketrans("./", "/."))


def _observe(look: Look) -> Generator[Any, Any, Observed]:
    """``value`` is missing where the kernel has no such setting; what can only be written counts as having none."""
    try:
        text = yield from text_of(_path(look.resource.id))
    except OpError as error:
        if error.kind not in ("denied", "system", "folder", "not-file"):
            raise
        text = None
    return Observed({} if text is None else {"value": " ".join(text.split())})


def _observe_line(look: Look) -> Generator[Any, Any, Observed]:
    """The last line of the file that is about the setting counts."""
    file, name = look.resource.params["file"], look.resource.params["name"]
    found = None
    for line in (yield from lines_of(file)):
        if _is_about(line, name):
            found = {"value": " ".join(line.partition("=")[2].split())}
    return Observed(found, {"missing": (yield from missing_above(file))})


def _is_about(line: str, name: str) -> bool:
    return not line.lstrip().startswith(("#", ";")) and _dotted_or_none(line.partition("=")[0]) == name


def _dotted_or_none(key: str) -> str | None:
    name = key.strip().removeprefix("-")
    return _dotted(name) if any(char in name for char in "./") else None


def _converge(change: Change) -> Generator[Any, Any, str]:
    name, wanted, before = change.resource.id, change.wanted or {}, change.observed.attributes or {}
    subject = f"sysctl {name}"
    if "value" not in before:
        raise TaskFailed(
            f"{subject}: this kernel has no such setting, or it can't be read", unchanged=[subject],
            next=["check its spelling", "load the kernel module that brings it first"],
        )  # fmt: skip
    advice = ["in a container most settings are the host's: set it there"]
    argv = ["sysctl", "-q", "-w", f"{name}={wanted['value']}"]
    yield from act(subject, argv, advice=advice, sensitive=bool(change.options.get("sensitive")))
    return ""


def _converge_line(change: Change) -> Generator[Any, Any, str]:
    file, name = change.resource.params["file"], change.resource.params["name"]
    new = [] if change.wanted is None else [f"{name} = {change.wanted['value']}"]
    if new:
        yield from make_folders((yield from missing_above(file)))
    gone = yield from edit_lines(
        file, lambda lines: [*(line for line in lines if not _is_about(line, name)), *new], gone=True
    )
    if gone and change.options.get("undo"):
        yield from remove_empty(change.extra.get("missing") or [])
    return ""


KINDS = (
    Kind("sysctl", "value: what the kernel has", *one_by_one(_observe, _converge)),
    Kind(
        "sysctl.line",
        "value: what a file says for the next start",
        *one_by_one(_observe_line, _converge_line),
    ),
)
MODULES = (
    Module(
        "sysctl",
        sysctl,
        (
            Arg("name", "sysctl", "the setting, such as vm.swappiness or net.ipv4.ip_forward", required=True),
            Arg("value", "setting", "its value"),
            Arg(
                "persistent",
                "boolean",
                "also write it into file, for the next start of the machine",
                default=True,
            ),
            Arg("file", "file path", "the file that keeps it", default=FILE),
            Arg(
                "state",
                "present or absent",
                '"absent": not in file any more; the running kernel keeps it',
                default="present",
            ),
        ),
        "Gives a kernel setting a value, now and after a start. Some reset others when they change"
        " (net.ipv4.ip_forward those of all interfaces): they come first.",
        refused={"reload": "the setting itself is set at once", "sysctl_set": "it is always set at once"},
    ),
)
