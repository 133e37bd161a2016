"""Why: files and folders, looked at first and touched only where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Module, Setting, Steps
from sloth_runner.ops import MakeDir, OpError, Read, Remove, Seen, SetAttrs, Source, Stat, Write

DIFF_LIMIT = 64 * 1024
_MODE = (
    Arg("mode", "mode", 'octal text such as "0644"'),
    Arg("owner", "string", "a user's name"),
    Arg("group", "string", "a group's name"),
)


def copy(args: Mapping[str, Any], setting: Setting) -> Steps:
    """A file of the controller, byte for byte."""
    content: bytes = yield Source(args["src"])
    outcome: Outcome = yield from _put(args, setting, content)
    if b"{{" in content:
        warning = f"{args['src']} holds '{{{{': file.copy does not render it (file.template does)"
        return outcome._replace(fields={**outcome.fields, "warning": warning})
    return outcome


def write(args: Mapping[str, Any], setting: Setting) -> Steps:
    """A text from the task."""
    return (yield from _put(args, setting, args["content"]))


def template(args: Mapping[str, Any], setting: Setting) -> Steps:
    """A rendered template of the controller."""
    from pathlib import Path

    from sloth_runner.modules.template import render

    source: bytes = yield Source(args["src"])
    text = render(Path(setting.folder), args["vars"] or {}, name=args["src"], text=source.decode())
    return (yield from _put(args, setting, text.encode("utf-8", "surrogateescape")))


def directory(args: Mapping[str, Any], setting: Setting) -> Steps:
    """A folder, with its parents."""
    _only_own_user(setting)
    path = args["path"]
    seen: Seen = yield Stat(path)
    if seen.kind not in ("absent", "dir"):
        raise TaskFailed(f"{path} is there and is no folder", unchanged=[path])
    if seen.kind == "absent":
        mode = 0o755 if args["mode"] is None else args["mode"]
        made = yield from _parents(path)
        yield MakeDir(path, mode, args["owner"], args["group"])
        return Outcome(True, _made_message(f"made {path}/ ({mode:04o})", made), {"path": path})
    change = _attributes(args, seen)
    if change is None:
        return Outcome(False, "", {"path": path})
    yield SetAttrs(path, *change)
    return Outcome(True, _attribute_message(args, seen), {"path": path})


def absent(args: Mapping[str, Any], setting: Setting) -> Steps:
    """Nothing at this path."""
    _only_own_user(setting)
    path = args["path"]
    seen: Seen = yield Stat(path)
    if seen.kind == "absent":
        return Outcome(False, "", {"path": path})
    try:
        yield Remove(path, args["recursive"])
    except OpError as error:
        if seen.kind == "dir" and not args["recursive"]:
            raise TaskFailed(
                f"the folder {path} is not removed: {error.reason}",
                unchanged=[path],
                next=["recursive = true removes it with all that is in it"],
            ) from error
        raise
    return Outcome(True, f"removed {path}", {"path": path})


def _put(args: Mapping[str, Any], setting: Setting, content: bytes) -> Steps:
    _only_own_user(setting)
    path = args["dest"]
    seen: Seen = yield Stat(path, digest=True)
    if seen.kind == "dir":
        raise TaskFailed(f"{path} is a folder; dest is the file's own path", unchanged=[path])
    if seen.kind == "other":
        raise TaskFailed(f"{path} is a device, a socket or a pipe: it is not replaced", unchanged=[path])
    if seen.kind == "file" and seen.digest == _digest(content):
        change = _attributes(args, seen)
        if change is None:
            return Outcome(False, "", {"path": path})
        yield SetAttrs(path, *change)
        return Outcome(True, _attribute_message(args, seen), {"path": path})
    diff = yield from _diff(path, seen, content, setting)
    made = yield from _parents(path)
    mode = args["mode"] if args["mode"] is not None else seen.mode if seen.kind == "file" else 0o644
    owner, group = args["owner"], args["group"]
    if seen.kind == "file":  # a new file takes its place: keep who it belongs to
        owner = owner if owner is not None else str(seen.uid)
        group = group if group is not None else str(seen.gid)
    yield Write(path, content, mode, owner, group)
    verb = {"absent": "created", "file": "updated", "link": "replaced the link"}[seen.kind]
    return Outcome(True, _made_message(f"{verb} {path}", made), {"path": path}, diff)


def _digest(content: bytes) -> str:
    from hashlib import sha256

    return sha256(content).hexdigest()


def _parents(path: str) -> Any:
    """Make the folders above ``path`` that are missing, 0755; the list of them."""
    missing: list[str] = []
    folder = path.rpartition("/")[0]
    while folder:
        seen: Seen = yield Stat(folder)
        if seen.kind != "absent":
            break
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    for name in reversed(missing):
        yield MakeDir(name, 0o755)
    return list(reversed(missing))


def _attributes(args: Mapping[str, Any], seen: Seen) -> tuple[int | None, str | None, str | None] | None:
    """What of mode, owner, group must be set; None if nothing."""
    mode = args["mode"] if args["mode"] is not None and args["mode"] != seen.mode else None
    owner = args["owner"] if args["owner"] not in (None, seen.owner, str(seen.uid)) else None
    group = args["group"] if args["group"] not in (None, seen.group, str(seen.gid)) else None
    return None if (mode, owner, group) == (None, None, None) else (mode, owner, group)


def _attribute_message(args: Mapping[str, Any], seen: Seen) -> str:
    parts = []
    if args["mode"] not in (None, seen.mode):
        parts.append(f"mode {seen.mode:04o} → {args['mode']:04o}")
    if args["owner"] not in (None, seen.owner, str(seen.uid)):
        parts.append(f"owner {seen.owner} → {args['owner']}")
    if args["group"] not in (None, seen.group, str(seen.gid)):
        parts.append(f"group {seen.group} → {args['group']}")
    return f"{args.get('dest') or args.get('path')}: {', '.join(parts)}"


def _made_message(message: str, made: list[str]) -> str:
    return f"{message}; made {', '.join(f'{folder}/' for folder in made)}" if made else message


def _diff(path: str, seen: Seen, content: bytes, setting: Setting) -> Any:
    """The difference as a unified diff, or sizes for what is no text."""
    if setting.sensitive:
        return "(sensitive)"
    old = b""
    if seen.kind == "file":
        if seen.size > 1 << 20:
            return f"{seen.size} → {len(content)} bytes"
        old = yield Read(path, 1 << 20)
    before, after = _text(old), _text(content)
    if before is None or after is None or len(content) > 1 << 20:
        return f"binary, {len(old)} → {len(content)} bytes"
    import difflib

    name = "/dev/null" if seen.kind == "absent" else path
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, path, lineterm="")
    text = "\n".join(lines)
    return text if len(text) <= DIFF_LIMIT else text[:DIFF_LIMIT] + "\n… the rest is not shown …"


def _text(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _only_own_user(setting: Setting) -> None:
    if setting.user is not None:
        raise BadArgument(
            "file modules work as the user that sloth-runner runs as; user = is for cmd in this version",
            next=["owner = and group = say whom the file belongs to"],
        )


_DEST = Arg("dest", "path", "where the file goes, an absolute path on the target", required=True)

MODULES = (
    Module(
        "file.copy",
        "Puts a file of the controller on the target.",
        (Arg("src", "string", "the file, relative to the task file", required=True), _DEST, *_MODE),
        copy,
    ),
    Module(
        "file.write",
        "Puts a text on the target.",
        (Arg("content", "content", "the text, byte for byte", required=True), _DEST, *_MODE),
        write,
    ),
    Module(
        "file.template",
        "Renders a template of the controller (Jinja2) onto the target.",
        (
            Arg("src", "string", "the template, relative to the task file", required=True),
            Arg("vars", "vars", "what the template may use"),
            _DEST,
            *_MODE,
        ),
        template,
    ),
    Module(
        "file.directory",
        "Makes a folder, with its parents.",
        (Arg("path", "path", "the folder, an absolute path on the target", required=True), *_MODE),
        directory,
        positional="path",
    ),
    Module(
        "file.absent",
        "Removes a file, a link or a folder.",
        (
            Arg("path", "path", "what shall not be there, an absolute path on the target", required=True),
            Arg("recursive", "boolean", "remove a folder with all that is in it", False, False),
        ),
        absent,
        positional="path",
    ),
)
