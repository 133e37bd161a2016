"""Why: a file system is mounted now, and named in /etc/fstab for the next start; each is looked at and changed.

What is mounted is taken from the kernel's own list. Changes are made there first and written down last, so that a
call that was cut short is made again in full.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument
from sloth_runner.modules.base import Arg, Change, Context, Kind, Look, Module, Observed, Resource, Want
from sloth_runner.modules.system.steps import (
    act,
    alone,
    edit_lines,
    lines_of,
    make_folders,
    missing_above,
    remove_empty,
    replaced,
)  # fmt: skip
from sloth_runner.ops import ABSENT, Stat
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Found

FSTAB, MOUNTS = "/etc/fstab", "/proc/self/mountinfo"
FLAGS = {"ro": "rw", "nosuid": "suid", "nodev": "dev", "noexec": "exec", "noatime": "relatime"}
"""Options that every file system has and the kernel shows, and what each is without."""
_SWAP = (
    'file.line({ path = "/etc/fstab", line = "/swapfile none swap sw 0 0" }) names it for the next start',
    'cmd({ command = "swapon /swapfile", unless = "grep -q ^/swapfile /proc/swaps" }) takes it into use',
)
IMPLYING = frozenset({"user", "users", "owner", "group"})
"""Options that bring others with them."""


class Line(NamedTuple):
    """A line of /etc/fstab, without its path (fstab(5))."""

    src: str
    fstype: str
    options: str
    dump: str
    passno: str


def mount(args: Mapping[str, Any], context: Context) -> Steps:
    """A file system at a path."""
    from sloth_runner.modules.base import ensure

    yield from alone(context, "mount")
    path, state = args["path"], args["state"]
    resource = Resource("mount", path)
    if path == "/" and state in ("absent", "unmounted"):
        raise BadArgument("mount: the root can't be unmounted")
    if args["fstype"] == "swap":
        raise BadArgument(
            "mount: swap is mounted nowhere", unchanged=["this call changed nothing"], next=_SWAP
        )
    if state == "absent":
        return (yield from ensure(Want(resource, None)))
    for name in ("src", "fstype"):
        if args[name] is None:
            raise BadArgument(f"mount needs {name} for state {state!r}")
    line = Line(args["src"], args["fstype"], args["options"], str(args["dump"]), str(args["passno"]))
    wanted: dict[str, Any] = {"fstab": " ".join(map(_escaped, line))}
    if state != "present":
        wanted["mounted"] = state == "mounted"
    if state == "mounted" and IMPLYING.isdisjoint(line.options.split(",")):
        wanted["flags"] = _flags(line.options.split(","))
    return (yield from ensure(Want(resource, wanted, None, {"sensitive": context.sensitive})))


def _flags(options: Sequence[str]) -> list[str]:
    """Those of FLAGS that hold after all options: of two that contradict each other the later one counts."""
    held = set()
    for option in options:
        if option in FLAGS:
            held.add(option)
        held -= {flag for flag, without in FLAGS.items() if option in (without, "defaults")}
        if option == "atime":
            held.discard("noatime")
    return sorted(held)


def _escaped(text: str) -> str:
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\#" else char for char in text)


def _plain(text: str) -> str:
    """A field without the octal escapes that fstab and the kernel's list have."""
    import re

    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


def _fields(line: str) -> list[str]:
    """The six fields of a line of fstab; none if it is no entry."""
    words = line.split()
    if len(words) < 3 or words[0].startswith("#"):
        return []
    return [*words, *["defaults", "0", "0"][len(words) - 3 :]][:6] if len(words) < 6 else words[:6]


def _same_path(text: str, path: str) -> bool:
    return (_plain(text).rstrip("/") or "/") == path


def _observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
    """Both lists, read once. The flags are those of the mount on top."""
    fstab = [_fields(line) for line in (yield from lines_of(FSTAB))]
    mounts = yield from lines_of(MOUNTS)
    found = []
    for look in looks:
        path = look.resource.id
        lines = [words for words in fstab if words and _same_path(words[1], path)]
        written = "" if not lines else " ".join([lines[0][0], *lines[0][2:]])
        flags = _mounted(mounts, path)
        if flags is None and not written:
            there: Found = yield Stat(path, names=False)
            missing = [*(yield from missing_above(path)), path] if there.kind == ABSENT else []
            found.append(Observed(None, {"missing": missing} if missing else {}))
        else:
            found.append(Observed({"fstab": written, "mounted": flags is not None, "flags": flags or []}))
    return found


def _mounted(mounts: Sequence[str], path: str) -> list[str] | None:
    """The flags of what is mounted at a path; None if nothing is (proc(5), mountinfo)."""
    flags = None
    for line in mounts:
        left, _, right = line.partition(" - ")
        words = left.split()
        if _plain(words[4]) == path:
            options = {*words[5].split(","), *(["ro"] if "ro" in right.split()[-1].split(",") else [])}
            flags = sorted(options & set(FLAGS))
    return flags


def _converge(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
    for change in changes:
        wanted = change.wanted or {"fstab": "", "mounted": False}
        before = change.observed.attributes or {"fstab": "", "mounted": False, "flags": []}
        yield from _mount(change, wanted, before)
        if "fstab" in wanted and wanted["fstab"] != before["fstab"]:
            yield from _write(change.resource.id, wanted["fstab"])
        if change.wanted is None and change.options.get("undo"):
            yield from remove_empty(change.extra.get("missing") or [])
    return [""] * len(changes)


def _mount(change: Change, wanted: Mapping[str, Any], before: Mapping[str, Any]) -> Generator[Any, Any, None]:
    """Mount, unmount, mount again what is another file system, or change options."""
    path, subject = change.resource.id, f"mount {change.resource.id}"
    hidden = bool(change.options.get("sensitive"))
    old, new = _line(before["fstab"]), _line(wanted.get("fstab", before["fstab"]))
    mounted = wanted.get("mounted", before["mounted"])
    if "mounted" not in wanted:
        return
    moved = old is not None and new is not None and (old.src, old.fstype) != (new.src, new.fstype)
    if before["mounted"] and (not mounted or moved):
        advice = [f"see who uses it: fuser -vm {path}"]
        yield from act(subject, ["umount", "--", path], advice=advice)
    if not mounted or (
        new is None and before["mounted"] and before["flags"] == wanted.get("flags", before["flags"])
    ):
        return
    if before["mounted"] and not moved:
        options = _complete(new.options.split(",") if new is not None else [], wanted.get("flags"))
        argv = ["mount", "-o", f"remount,{options}", "--", *([new.src] if new else []), path]
        yield from act(subject, argv, sensitive=hidden)
        return
    if new is None:
        raise BadArgument(f"{subject}: what was mounted there is not known any more", unchanged=[subject])
    there: Found = yield Stat(path, names=False)
    if there.kind == ABSENT:
        yield from make_folders([*(yield from missing_above(path)), path])
    yield from act(
        subject, ["mount", "-t", new.fstype, "-o", new.options, "--", new.src, path], sensitive=hidden
    )


def _complete(options: Sequence[str], flags: Sequence[str] | None) -> str:
    """Options with every flag said, because a change of a mount leaves alone what is not said."""
    held = _flags(options) if flags is None else flags
    said = [option for option in options if option not in FLAGS and option not in FLAGS.values()]
    if not IMPLYING.isdisjoint(options):
        return ",".join(options)
    return ",".join([*said, *(flag if flag in held else without for flag, without in FLAGS.items())])


def _line(text: str) -> Line | None:
    return Line(*map(_plain, text.split(" "))) if text else None


def _write(path: str, wanted: str) -> Generator[Any, Any, None]:
    """One entry for the path, in the place of the first there was; none for ""."""
    words = wanted.split(" ") if wanted else []
    new = [" ".join([words[0], _escaped(path), *words[1:]])] if words else []

    def is_ours(line: str) -> bool:
        fields = _fields(line)
        return bool(fields) and _same_path(fields[1], path)

    yield from edit_lines(FSTAB, lambda lines: replaced(lines, is_ours, new))


KINDS = (
    Kind(
        "mount",
        'fstab: the entry\'s source, type, options, dump and pass ("": none); mounted; flags: which of'
        " ro, nosuid, nodev, noexec, noatime hold",
        _observe,
        _converge,
    ),
)
MODULES = (
    Module(
        "mount",
        mount,
        (
            Arg("path", "path", "where it is mounted, an absolute path on the target", required=True),
            Arg("src", "one line", "what is mounted: a device, UUID=…, a folder (options \"bind\"), \"tmpfs\""),
            Arg("fstype", "file system", "the file system's type; \"none\" for bind"),
            Arg("options", "mount options", "options with commas between, or a list; secrets belong in a file"
                " (credentials=…)", default="defaults"),
            Arg("state", "mount state", '"mounted" and in fstab, "unmounted" and in fstab, "present" in fstab'
                ' whatever is mounted, "absent" from both', default="mounted"),
            Arg("dump", "identity", "the entry's fifth field", default=0),
            Arg("passno", "identity", "the entry's sixth field: when it is checked at a start", default=0),
        ),
        "Keeps a file system in /etc/fstab and mounted at its path, whose folder is made if it is missing. Swap,"
        " which is mounted nowhere, is a line of /etc/fstab (file.line) and a swapon (cmd, with unless).",
        refused={
            "opts": "say options = …", "boot": "noauto among the options keeps it from being mounted at a start",
            "fstab": "the file is /etc/fstab",
        },
    ),
)  # fmt: skip
