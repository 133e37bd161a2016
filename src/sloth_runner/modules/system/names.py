"""Why: what a machine calls itself, which addresses it knows by heart, and what time it is there."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import TaskFailed
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
from sloth_runner.modules.system.steps import act, alone, edit_lines, lines_of, text_of
from sloth_runner.ops import FILE, LINK, MakeLink, Remove, Stat, Write
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Found

HOSTS, HOSTNAME, RUNNING = "/etc/hosts", "/etc/hostname", "/proc/sys/kernel/hostname"
LOCALTIME, TIMEZONE, ZONES = "/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo"


def hostname(args: Mapping[str, Any], context: Context) -> Steps:
    """The machine's name, now and after a start."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "hostname")
    wanted = {"file": args["name"], "running": args["name"]}
    return (yield from ensure(Want(Resource("hostname", "machine"), wanted)))


def _observe_hostname(look: Look) -> Generator[Any, Any, Observed]:
    """The file's first line that is no comment, and what the kernel says."""
    lines = [line.strip() for line in (yield from lines_of(HOSTNAME))]
    names = [line for line in lines if line and not line.startswith("#")]
    running = yield from text_of(RUNNING)
    return Observed({"file": names[0] if names else "", "running": (running or "").strip()})


def _converge_hostname(change: Change) -> Generator[Any, Any, str]:
    wanted, before = change.wanted or {}, change.observed.attributes or {}
    if "file" in wanted and wanted["file"] != before.get("file"):
        if wanted["file"]:
            yield Write(HOSTNAME, f"{wanted['file']}\n".encode())
        else:
            yield Remove(HOSTNAME)
    if "running" in wanted and wanted["running"] != before.get("running"):
        yield from act("hostname", ["hostname", wanted["running"]])
    return ""


def hosts(args: Mapping[str, Any], context: Context) -> Steps:
    """Names that stand for an address."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "hosts")
    absent = args["state"] == "absent"
    if args["ip"] is None and not absent:
        from sloth_runner.errors import BadArgument

        raise BadArgument("hosts needs ip: the address that the names stand for")
    families = [_family(args["ip"])] if args["ip"] is not None else [4, 6]
    wanted = None if absent else {"ip": args["ip"]}
    wants = [
        Want(Resource("hosts", f"{name}/ipv{family}", {"name": name, "family": family}), wanted)
        for family in families
        for name in args["name"]
    ]
    return (yield from ensure(*wants))


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def _words(line: str) -> list[str]:
    """An entry's address and names; none if the line is no entry."""
    words = line.split("#", 1)[0].split()
    return words if len(words) > 1 else []


def _observe_hosts(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """The address that a look-up finds: of the first line of that family with the name. A name with several lines
    has them all shown, so that they are seen to differ from one. Lines with a comment that it has for itself are
    known, by address, so that they can come back."""
    texts = yield from lines_of(HOSTS)
    lines = [_words(text) for text in texts]
    found = []
    for look in looks:
        name, family = look.resource.params["name"], look.resource.params["family"]
        here = [
            words[0] for words in lines
            if words and _family(words[0]) == family and name in [word.lower() for word in words[1:]]
        ]  # fmt: skip
        own = {
            words[0]: text for words, text in zip(lines, texts, strict=True)
            if len(words) == 2 and words[1].lower() == name and "#" in text
        }  # fmt: skip
        extra = {"lines": own} if own else {}
        found.append(Observed({"ip": " ".join(dict.fromkeys(here))} if here else None, extra))
    return found


def _converge_hosts(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    """One new file for all."""

    def edited(lines: list[str]) -> list[str]:
        for change in changes:
            name, family = change.resource.params["name"], change.resource.params["family"]
            addresses = [] if change.wanted is None else change.wanted["ip"].split()
            lines = [new for line in lines if (new := _without(line, name, family, addresses)) is not None]
            own = change.extra.get("lines", {}) if change.options.get("undo") else {}
            for address in addresses:
                _add(lines, address, name, own.get(address, f"{address}\t{name}"))
        return lines

    yield from edit_lines(HOSTS, edited)
    return [""] * len(changes)


def _without(line: str, name: str, family: int, kept: Sequence[str]) -> str | None:
    """A line without a name, unless it is for an address that the name keeps; None if nothing is left of it."""
    words = _words(line)
    if not words or _family(words[0]) != family or words[0] in kept:
        return line
    left = [word for word in words if word.lower() != name]
    if left == words:
        return line
    if len(left) == 1:
        return None
    comment = line.partition("#")
    return f"{left[0]}\t{' '.join(left[1:])}" + (f" #{comment[2]}" if comment[1] else "")


def _add(lines: list[str], address: str, name: str, own: str) -> None:
    """Behind the other names of that address, or on a line of its own."""
    for number, line in enumerate(lines):
        words = _words(line)
        if words and words[0] == address:
            if name not in [word.lower() for word in words[1:]]:
                text, mark, comment = line.partition("#")
                lines[number] = f"{text.rstrip()} {name}" + (f" {mark}{comment}" if mark else "")
            return
    lines.append(own)


def timezone(args: Mapping[str, Any], context: Context) -> Steps:
    """The machine's time zone."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "timezone")
    wanted = {"zone": args["name"], "text": args["name"]}
    return (yield from ensure(Want(Resource("timezone", "machine"), wanted)))


def _observe_timezone(look: Look) -> Generator[Any, Any, Observed]:
    """Where /etc/localtime leads; Debian says it in /etc/timezone too. A text that is not there says the same."""
    found: Found = yield Stat(LOCALTIME, names=False)
    target = found.target or ""
    zone = target.split("zoneinfo/", 1)[1] if "zoneinfo/" in target else target
    if found.kind == FILE:
        zone = "a copy"
    text = yield from text_of(TIMEZONE)
    return Observed({"zone": zone, "text": zone if text is None else text.strip()})


def _converge_timezone(change: Change) -> Generator[Any, Any, str]:
    wanted, before = change.wanted or {}, change.observed.attributes or {}
    if "zone" in wanted and wanted["zone"] != before.get("zone"):
        yield from _link(str(wanted["zone"]))
    if "text" in wanted and (yield from text_of(TIMEZONE)) is not None:
        yield Write(TIMEZONE, f"{wanted['text']}\n".encode())
    return ""


def _link(zone: str) -> Generator[Any, Any, None]:
    if not zone:
        yield Remove(LOCALTIME)
        return
    path = zone if zone.startswith("/") else f"{ZONES}/{zone}"
    found: Found = yield Stat(path, follow=True, names=False)
    if found.kind != FILE:
        raise TaskFailed(
            f"timezone: there is no {path}", unchanged=[LOCALTIME],
            next=["check its spelling: `timedatectl list-timezones`", "install the zones first: package tzdata"],
        )  # fmt: skip
    here: Found = yield Stat(LOCALTIME, names=False)
    relative = here.kind == LINK and here.target is not None and here.target.startswith("../")
    yield MakeLink(LOCALTIME, f"..{path}" if relative else path)


KINDS = (
    Kind("hostname", "file: what /etc/hostname says; running: what the kernel says",
         *one_by_one(_observe_hostname, _converge_hostname)),
    Kind("hosts", "ip: the address that /etc/hosts has for a name, in one family (NAME/ipv4, NAME/ipv6)",
         _observe_hosts, _converge_hosts),
    Kind("timezone", "zone: where /etc/localtime leads; text: what /etc/timezone says",
         *one_by_one(_observe_timezone, _converge_timezone)),
)  # fmt: skip
MODULES = (
    Module(
        "hostname",
        hostname,
        (Arg("name", "host", "the name; of a full one the dots are kept", required=True),),
        "Sets the machine's name, in /etc/hostname and in the kernel. /etc/hosts is for the module hosts.",
        positional="name",
    ),
    Module(
        "hosts",
        hosts,
        (
            Arg("ip", "address", "the address, IPv4 or IPv6; not needed for absent"),
            Arg(
                "name",
                "hosts",
                "the name or names that stand for it, and for no other of its family",
                required=True,
            ),
            Arg(
                "state",
                "present or absent",
                'whether they should be there: "present" or "absent"',
                default="present",
            ),
        ),
        "Makes names stand for an address in /etc/hosts, or removes them. Other names and lines stay as they are.",
        refused={"names": "say name = …", "aliases": "say name = {…}; the first becomes the main one"},
    ),
    Module(
        "timezone",
        timezone,
        (Arg("name", "zone", "the zone, such as Europe/Berlin", required=True),),
        "Sets the machine's time zone. Programs that run already keep theirs.",
        positional="name",
    ),
)
