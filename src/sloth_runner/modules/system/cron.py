"""Why: an entry of a crontab has no name of its own, so a line above it gives it one by which it is found again.

Entries of other people and tools stay as they are, byte for byte. A user's crontab is handed to cron's own program,
which checks it; a file in /etc/cron.d, which nobody checks, has a user in each entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.modules.base import (
    PRESENCE,
    Arg,
    Change,
    Context,
    Kind,
    Look,
    Module,
    Observed,
    Resource,
    Want,
)
from sloth_runner.modules.files.guard import undisturbed
from sloth_runner.modules.system.steps import (
    CHANGED,
    alone,
    ask,
    edit_lines,
    feed,
    lines_of,
    not_installed,
)
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Steps

MARK = "# sloth-runner: "
FOLDER = "/etc/cron.d"
_UNDISTURBED = f"""\
folder=/var/spool/cron; [ -r "$folder" ] || folder=/
exec 9<"$folder"; if command -v flock >/dev/null; then flock 9; fi
now=$(crontab -u "$SLOTH_USER" -l 2>/dev/null; printf x)
[ "$now" = "${{SLOTH_OLD}}x" ] || exit {CHANGED}
"""
"""Goes on only if a crontab is still as it was read; others of us wait until it is done."""
TIMES = ("minute", "hour", "day", "month", "weekday")
SPECIAL = ("reboot", "hourly", "daily", "weekly", "monthly", "yearly", "annually", "midnight")
RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
_PART = r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?"


def cron(args: Mapping[str, Any], context: Context) -> Steps:
    """An entry."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "cron", "say whose entry it is: account = …")
    name, file = args["name"], args["file"]
    if file is not None:
        resource = Resource("cron", f"{file}/{name}", {"name": name, "file": file})
    else:
        resource = Resource("cron", f"{args['account']}:{name}", {"name": name, "user": args["account"]})
    if args["state"] == "absent":
        return (yield from ensure(Want(resource, None)))
    if args["job"] is None:
        raise BadArgument("cron needs job: the command line that is to run")
    wanted = {"schedule": _schedule(args), "job": args["job"].strip(), "enabled": args["enabled"]}
    if file is not None:
        wanted["user"] = args["account"]
    return (yield from ensure(Want(resource, wanted, None, {"sensitive": context.sensitive})))


def _schedule(args: Mapping[str, Any]) -> str:
    given = [name for name in TIMES if args[name] is not None]
    if args["special"] is not None:
        if given:
            raise BadArgument(f"cron takes either special or {given[0]}, not both")
        return f"@{args['special']}"
    if not given:
        raise BadArgument('cron needs a time: minute, hour, day, month, weekday, or special = "daily"')
    return " ".join(_checked(name, args[name] if args[name] is not None else "*") for name in TIMES)


def _checked(name: str, value: str) -> str:
    """A field as cron reads it: ``*``, numbers, names, ranges, steps, and lists of them."""
    low, high = RANGES[name]
    names = NAMES.get(name, ())
    for part in value.lower().split(","):
        found = re.fullmatch(_PART, part)
        ends = [] if found is None else [end for end in found.group(2, 3) if end is not None]
        good = found is not None and found.group(4) != "0"
        numbers = [
            int(end) if end.isdigit() else names.index(end) + low if end in names else -1 for end in ends
        ]
        if not good or not all(low <= number <= high for number in numbers) or numbers != sorted(numbers):
            raise BadArgument(
                f"cron: {name} is *, or numbers from {low} to {high} such as 5, 1-5, */10 or 1,15, not {value!r}"
            )
    return value


class Entry(NamedTuple):
    """Where an entry stands in a crontab (its mark's line), and what it says; ``end`` is the line after it."""

    start: int
    end: int
    attributes: Attributes


def _find(lines: Sequence[str], name: str, with_user: bool) -> Entry | None:
    mark = MARK + name
    for number, line in enumerate(lines):
        if line == mark:
            below = lines[number + 1] if number + 1 < len(lines) else ""
            attributes = _parse(below, with_user)
            if attributes is None:
                nothing = {"schedule": "", "job": "", "enabled": False}
                return Entry(number, number + 1, {**nothing, "user": ""} if with_user else nothing)
            return Entry(number, number + 2, attributes)
    return None


def _parse(line: str, with_user: bool) -> dict[str, Any] | None:
    """What an entry says; None if the line is none."""
    enabled = not line.startswith("#")
    text = line.lstrip("#").strip()
    count = (1 if text.startswith("@") else len(TIMES)) + with_user
    words = text.split(None, count)
    if len(words) <= count or (not enabled and line.startswith(MARK)):
        return None
    attributes = {"schedule": " ".join(words[: count - with_user]), "job": words[count], "enabled": enabled}
    if with_user:
        attributes["user"] = words[count - 1]
    return attributes


def _lines(name: str, wanted: Attributes) -> list[str]:
    if not wanted["schedule"]:
        return [MARK + name]
    user = f"{wanted['user']} " if "user" in wanted else ""
    off = "" if wanted["enabled"] else "#"
    return [MARK + name, f"{off}{wanted['schedule']} {user}{wanted['job']}"]


def _crontab(resource: Resource) -> Generator[Any, Any, str]:
    """The text of a user's crontab; none where there is no crontab, no user or no cron."""
    ran = yield from ask("crontab", "-u", resource.params["user"], "-l")
    if ran is None or ran.exit_code:
        said = b"" if ran is None else ran.stderr.strip()
        if ran is not None and b"no crontab for" not in said and b"unknown" not in said:
            raise TaskFailed(
                f"the crontab of {resource.params['user']} can't be read", system=said.decode("utf-8", "replace"),
                unchanged=[resource.address], next=["run sloth-runner as root, or as that user"],
            )  # fmt: skip
        return ""
    return str(ran.stdout, "utf-8", "surrogateescape")


def _observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    found = []
    read: dict[str, list[str]] = {}
    for look in looks:
        file = look.resource.params.get("file")
        where = str(file or f":{look.resource.params['user']}")
        if where not in read and file:
            read[where] = yield from lines_of(f"{FOLDER}/{file}")
        elif where not in read:
            read[where] = (yield from _crontab(look.resource)).splitlines()
        entry = _find(read[where], look.resource.params["name"], "file" in look.resource.params)
        found.append(Observed(None if entry is None else entry.attributes))
    return found


def _converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    for change in changes:
        edit = partial(_edited, change)
        if "file" in change.resource.params:
            yield from edit_lines(f"{FOLDER}/{change.resource.params['file']}", edit, gone=True)
        else:
            whose = f"the crontab of {change.resource.params['user']}"
            yield from undisturbed(whose, partial(_install, change, edit))
    return [""] * len(changes)


def _edited(change: Change, lines: Sequence[str]) -> list[str]:
    name, wanted = change.resource.params["name"], change.wanted
    entry = _find(lines, name, "file" in change.resource.params)
    new = [] if wanted is None else _lines(name, wanted)
    if entry is None:
        return [*lines, *new]
    return [*lines[: entry.start], *new, *lines[entry.end :]]


def _install(change: Change, edit: Callable[[list[str]], Sequence[str]]) -> Generator[Any, Any, None]:
    """Put a user's edited crontab in place; an empty one is removed. Raises OpError ``changed``."""
    params = change.resource.params
    old = yield from _crontab(change.resource)
    lines = edit(old.splitlines())
    subject, user = f"cron entry {params['name']} of {params['user']}", params["user"]
    if not change.dry and (yield from ask("crontab", "-u", user, "-l")) is None:
        raise not_installed(subject, "crontab")
    text = "".join(f"{line}\n" for line in lines)
    argv = ["crontab", "-u", user, "-" if lines else "-r"]
    sensitive = bool(change.options.get("sensitive"))
    env = {"SLOTH_USER": user, "SLOTH_OLD": old}
    yield from feed(subject, text, argv, sensitive=sensitive, first=_UNDISTURBED, env=env)


KINDS = (Kind("cron", "schedule, job, enabled, and user in a file of /etc/cron.d", _observe, _converge),)
_TIME = "without it: *, if another field is said"
MODULES = (
    Module(
        "cron",
        cron,
        (
            Arg("name", "one line", "the entry's name, in the line above it", required=True),
            Arg("job", "one line", "the command line; % is a line break to cron, \\% a percent sign"),
            Arg("account", "account", "whose crontab, or in a file: as whom it runs", default="root"),
            Arg("file", "sudoers name", f"the name of a file in {FOLDER}, instead of the user's crontab"),
            *(Arg(name, "cron field", f"{RANGES[name][0]}-{RANGES[name][1]}, 1-5, */10; {_TIME}") for name in TIMES),
            Arg("special", "special time", f"instead of them: {', '.join(SPECIAL)}"),
            Arg("enabled", "boolean", "false keeps the entry as a comment", default=True),
            PRESENCE,
        ),
        "Makes an entry of a crontab as it should be, or removes it.",
        refused={
            "special_time": "say special = …", "cron_file": "say file = …", "disabled": "say enabled = false",
            "env": "put variables into the job: NAME=value command", "command": "say job = …",
        },
    ),
)  # fmt: skip
