"""Why: a task file says what should be in a file, or that a folder should be there; the kind "file" sees to it."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from sloth_runner.errors import BadArgument
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Resource, Source, Want
from sloth_runner.modules.files.kind import KIND, ownership
from sloth_runner.ops import FILE, FOLDER, Stat, WhoAmI

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Steps
    from sloth_runner.ops import Found, Identity


def copy(args: Mapping[str, Any], context: Context) -> Steps:
    """A file of the controller, byte for byte."""
    done = yield from _put(args, context, Source(args["src"]))
    outcome = _outcome(done)
    if done.content is None or b"{{" not in done.content:
        return outcome
    warning = f"{args['src']} holds '{{{{': file.copy does not render; file.template does"
    message = f"{outcome.message}; {warning}" if outcome.message else warning
    return outcome._replace(message=message, fields={**outcome.fields, "warnings": [warning]})


def write(args: Mapping[str, Any], context: Context) -> Steps:
    """A text, byte for byte."""
    return _outcome((yield from _put(args, context, args["content"].encode("utf-8", "surrogateescape"))))


def template(args: Mapping[str, Any], context: Context) -> Steps:
    """A template of the controller, rendered."""
    from sloth_runner.modules.template import rendering

    text = yield from rendering(context.folder, args["src"], args["vars"])
    return _outcome((yield from _put(args, context, text.encode("utf-8", "surrogateescape"))))


def directory(args: Mapping[str, Any], context: Context) -> Steps:
    """A folder, with the folders above it."""
    path = yield from where(args["path"], args["follow"], context)
    return _outcome((yield from _converge(Want(Resource("file", path), attributes(FOLDER, args)))))


def absent(args: Mapping[str, Any], context: Context) -> Steps:
    """Nothing at a path."""
    path = yield from where(args["path"], False, context)
    if path == "/":
        raise BadArgument("file.absent does not remove /", unchanged=["nothing was changed"])
    options = {"recursive": args["recursive"]}
    return _outcome((yield from _converge(Want(Resource("file", path), None, None, options))))


def attributes(type_: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """What a call wants of mode and owner, as attributes."""
    wanted: dict[str, Any] = {"type": type_}
    if args["mode"] is not None:
        wanted["mode"] = f"{args['mode']:04o}"
    if args["owner"] is not None or args["group"] is not None:
        wanted.update(ownership(args["owner"], args["group"]))
    return wanted


def where(path: str, follow: bool, context: Context) -> Generator[Any, Any, str]:
    """The path to act on: with ``follow`` the one that links lead to. Files are handled as the user we are; to do
    it silently for another one would be a lie."""
    if context.user is not None:
        identity: Identity = yield WhoAmI()
        if context.user not in (identity.name, str(identity.uid)):
            raise BadArgument(
                f"file modules can't act as {context.user!r} in this version; they act as {identity.name!r}",
                unchanged=["nothing was changed"],
                next=["say whom the file belongs to: owner = …, group = …", "or call it without user"],
            )
    if not follow:
        return path
    found: Found = yield Stat(path, follow=True)
    return found.real or path


def _put(
    args: Mapping[str, Any], context: Context, content: bytes | Source
) -> Generator[Any, Any, Converged]:
    path = yield from where(args["dest"], args["follow"], context)
    options = {"name": posixpath.basename(args["src"])} if "src" in args else {}
    want = Want(Resource("file", path), attributes(FILE, args), content, options)
    return (yield from _converge(want))


def _converge(want: Want) -> Generator[Any, Any, Converged]:
    done: tuple[Converged, ...] = yield Ensure((want,))
    return done[0]


def _outcome(done: Converged) -> Outcome:
    return Outcome(done.action != "none", done.message, {"path": done.resource.id}, done.diff)


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
_RETURNS = {"path": "(string) the path that was acted on: with follow, where the links lead"}

KINDS = (KIND,)
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
        returns={**_RETURNS, "warnings": "(string[]?) what should be looked at"},
        settles=True,
        source="src",
    ),
    Module(
        "file.write",
        write,
        (Arg("content", "content", "the text, byte for byte", required=True), *_TO),
        "Puts a text on the target.",
        refused={"src": "file.copy puts a file on the target", "path": "say dest = …", **_NO_BACKUP},
        returns=_RETURNS,
        settles=True,
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
        returns=_RETURNS,
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
        returns=_RETURNS,
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
        returns=_RETURNS,
    ),
)
