"""Why: files and folders are brought into a state: a look comes first, and only what differs is touched."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Module
from sloth_runner.modules.difference import COMPARED, HIDDEN, difference, sizes
from sloth_runner.ops import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    MakeDir,
    OpError,
    Read,
    Remove,
    SetAttrs,
    Source,
    Stat,
    WhoAmI,
    Write,
)

if TYPE_CHECKING:
    from sloth_runner.modules.base import Steps
    from sloth_runner.ops import Content, Done, Found, Identity, Step


def copy(args: Mapping[str, Any], context: Context) -> Steps:
    """A file of the controller, byte for byte."""
    content: bytes = yield Source(args["src"])
    outcome = yield from _put(args, context, content)
    if b"{{" not in content:
        return outcome
    warning = f"{args['src']} holds '{{{{': file.copy does not render; file.template does"
    message = f"{outcome.message}; {warning}" if outcome.message else warning
    return outcome._replace(message=message, fields={**outcome.fields, "warnings": [warning]})


def write(args: Mapping[str, Any], context: Context) -> Steps:
    """A text, byte for byte."""
    return (yield from _put(args, context, args["content"].encode("utf-8", "surrogateescape")))


def template(args: Mapping[str, Any], context: Context) -> Steps:
    """A template of the controller, rendered."""
    from sloth_runner.modules.template import rendering

    text = yield from rendering(context.folder, args["src"], args["vars"])
    return (yield from _put(args, context, text.encode("utf-8", "surrogateescape")))


def directory(args: Mapping[str, Any], context: Context) -> Steps:
    """A folder, with the folders above it."""
    yield from _refuse_other_user(context)
    path, found = yield from _look(args["path"], args["follow"])
    if found.kind == FOLDER:
        return (yield from _attributes(path, args, found))
    if found.kind != ABSENT:
        raise _in_the_way(path, found, "a folder")
    made = yield from _parents(path)
    mode = 0o755 if args["mode"] is None else args["mode"]
    done: Done = yield MakeDir(path, mode, args["owner"], args["group"])
    if not done.changed:  # someone else made it just now
        yield SetAttrs(path, args["mode"], args["owner"], args["group"])
    return Outcome(True, _with_parents(f"made the folder {path}", made), {"path": path})


def absent(args: Mapping[str, Any], context: Context) -> Steps:
    """Nothing at a path."""
    yield from _refuse_other_user(context)
    path = args["path"]
    if path == "/":
        raise BadArgument("file.absent does not remove /", unchanged=["nothing was changed"])
    found: Found = yield Stat(path)
    if found.kind == ABSENT:
        return Outcome(False, "", {"path": path})
    try:
        yield Remove(path, args["recursive"])
    except OpError as error:
        if error.kind != "not-empty":
            raise
        raise TaskFailed(
            f"{path} is a folder that is not empty",
            unchanged=[path],
            next=["recursive = true removes it with all that is in it"],
        ) from error
    what = {FILE: "file", FOLDER: "folder", LINK: "link"}.get(found.kind, found.kind)
    return Outcome(True, f"removed the {what} {path}", {"path": path})


def _put(args: Mapping[str, Any], context: Context, content: bytes) -> Steps:
    yield from _refuse_other_user(context)
    path, found = yield from _look(args["dest"], args["follow"])
    if found.kind not in (ABSENT, FILE, LINK):
        raise _in_the_way(path, found, "a file", args.get("src"))
    if found.kind == FILE and found.digest == _digest(content):
        return (yield from _attributes(path, args, found))
    diff = yield from _difference(path, found, content, context)
    made = yield from _parents(path)
    mode = args["mode"] if args["mode"] is not None else found.mode if found.kind == FILE else 0o644
    yield Write(path, content, mode, args["owner"], args["group"])
    words = {ABSENT: "created", FILE: "updated"}.get(found.kind, f"replaced the link to {found.target} by")
    message = f"{words} {path}"
    attributes = _differing(args, found) if found.kind == FILE else _Attributes()
    if attributes.words:
        message += f", {', '.join(attributes.words)}"
    return Outcome(True, _with_parents(message, made), {"path": path}, diff)


def _look(path: str, follow: bool) -> Generator[Step, Any, tuple[str, Found]]:
    """What is at a path, and the path to act on: with ``follow`` the one that links lead to."""
    found: Found = yield Stat(path, digest=True, follow=follow)
    return found.real or path, found


class _Attributes(NamedTuple):
    """What of mode, owner and group has to be set, and how to say it."""

    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    words: tuple[str, ...] = ()


def _differing(args: Mapping[str, Any], found: Found) -> _Attributes:
    mode = args["mode"] if args["mode"] != found.mode else None
    owner = args["owner"] if args["owner"] not in (found.owner, str(found.uid)) else None
    group = args["group"] if args["group"] not in (found.group, str(found.gid)) else None
    words = []
    if mode is not None:
        words.append(f"mode {found.mode:04o} → {mode:04o}")
    if owner is not None:
        words.append(f"owner {found.owner} → {owner}")
    if group is not None:
        words.append(f"group {found.group} → {group}")
    return _Attributes(mode, owner, group, tuple(words))


def _attributes(path: str, args: Mapping[str, Any], found: Found) -> Steps:
    """Set what differs of a file or folder that is otherwise as it should be."""
    wrong = _differing(args, found)
    if not wrong.words:
        return Outcome(False, "", {"path": path})
    yield SetAttrs(path, wrong.mode, wrong.owner, wrong.group)
    return Outcome(True, f"{path}: {', '.join(wrong.words)}", {"path": path})


def _difference(path: str, found: Found, content: bytes, context: Context) -> Generator[Step, Any, str]:
    if context.sensitive:
        return HIDDEN
    if found.kind != FILE:
        return difference(path, None, content) if len(content) <= COMPARED else sizes(0, len(content))
    if max(found.size, len(content)) > COMPARED:
        return sizes(found.size, len(content))
    try:
        old: Content = yield Read(path, COMPARED)
    except OpError as error:
        if error.kind in ("too-large", "missing"):  # it changes under our eyes; the difference is only shown
            return sizes(found.size, len(content))
        raise
    return difference(path, old.data, content)


def _parents(path: str) -> Generator[Step, Any, list[str]]:
    """Make the folders above ``path`` that are missing, 0755; the list of them."""
    missing: list[str] = []
    folder = posixpath.dirname(path)
    while folder != "/":
        found: Found = yield Stat(folder, follow=True)
        if found.kind == FOLDER:
            break
        if found.kind != ABSENT:
            raise TaskFailed(f"{folder} is no folder, so {path} can't be in it", unchanged=[path])
        missing.insert(0, folder)
        folder = posixpath.dirname(folder)
    made = []
    for name in missing:
        done: Done = yield MakeDir(name, 0o755)
        if done.changed:
            made.append(name)
    return made


def _with_parents(message: str, made: list[str]) -> str:
    return f"{message}; made the folders above it: {', '.join(made)} (0755)" if made else message


def _in_the_way(path: str, found: Found, wanted: str, src: str | None = None) -> TaskFailed:
    if found.kind == FOLDER:
        inside = posixpath.join(path, posixpath.basename(src) if src else "NAME")
        return TaskFailed(
            f"{path} is a folder, not {wanted}", unchanged=[path], next=[f'name the file: dest = "{inside}"']
        )
    words = {FILE: "a file", LINK: f"a symbolic link to {found.target}"}
    advice = {
        LINK: ["follow = true acts on what the link leads to"],
        FILE: [f'remove it first, if it need not stay: file.absent("{path}")'],
    }
    return TaskFailed(
        f"{path} is {words.get(found.kind, 'a device, a pipe or a socket')}, not {wanted}",
        unchanged=[path],
        next=advice.get(found.kind, []),
    )


def _digest(content: bytes) -> str:
    from hashlib import sha256

    return sha256(content).hexdigest()


def _refuse_other_user(context: Context) -> Generator[Step, Any, None]:
    """Files are handled as the user we are; to do it silently for another one would be a lie."""
    if context.user is None:
        return
    identity: Identity = yield WhoAmI()
    if context.user not in (identity.name, str(identity.uid)):
        raise BadArgument(
            f"file modules can't act as {context.user!r} in this version; they act as {identity.name!r}",
            unchanged=["nothing was changed"],
            next=["say whom the file belongs to: owner = …, group = …", "or call it without user"],
        )


_FOLLOW = Arg("follow", "boolean", "act on what a symbolic link leads to, not on the link", default=False)
_OWNERS = (
    Arg("owner", "owner", "whom it belongs to, a name or number; without it: as it is"),
    Arg("group", "owner", "its group, a name or number; without it: as it is"),
)
_FILE_MODE = Arg("mode", "mode", 'permissions as octal text, "0644"; without it: as they are, 0644 if new')
_FOLDER_MODE = Arg("mode", "mode", 'permissions as octal text, "0755"; without it: as they are, 0755 if new')
_DEST = Arg("dest", "file path", "the file's absolute path on the target", required=True)
_TO = (_DEST, _FILE_MODE, *_OWNERS, _FOLLOW)
_NO_BACKUP = {"backup": "nothing is kept aside; the difference is shown and recorded"}

MODULES = (
    Module(
        "file.copy",
        copy,
        (Arg("src", "line", "the file, relative to the task file", required=True), *_TO),
        "Puts a file of this machine on the target, byte for byte.",
        refused={
            "content": "file.write puts a text on the target",
            "vars": "file.copy does not render; file.template does",
            **_NO_BACKUP,
        },
    ),
    Module(
        "file.write",
        write,
        (Arg("content", "content", "the text, byte for byte", required=True), *_TO),
        "Puts a text on the target.",
        refused={"src": "file.copy puts a file on the target", "path": "say dest = …", **_NO_BACKUP},
    ),
    Module(
        "file.template",
        template,
        (
            Arg("src", "line", "the template, relative to the task file", required=True),
            Arg("vars", "vars", "what the template may use", default={}),
            *_TO,
        ),
        "Renders a template (Jinja2) of this machine onto the target.",
        refused={"content": "template.render takes a text; file.write puts it on the target", **_NO_BACKUP},
    ),
    Module(
        "file.directory",
        directory,
        (
            Arg("path", "path", "the folder's absolute path on the target", required=True),
            _FOLDER_MODE,
            *_OWNERS,
            _FOLLOW,
        ),
        "Makes a folder, and those above it that are missing.",
        positional="path",
        refused={"dest": "say path = …", "recursive": "attributes are set on the folder alone"},
    ),
    Module(
        "file.absent",
        absent,
        (
            Arg("path", "path", "what shall not be there, an absolute path on the target", required=True),
            Arg("recursive", "boolean", "remove also a folder that is not empty", default=False),
        ),
        "Removes a file, a link (not what it leads to) or a folder.",
        positional="path",
        refused={"dest": "say path = …"},
    ),
)
