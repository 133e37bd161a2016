"""Why: a task file says what should be in a file, or that a folder should be there; the kind "file" sees to it."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Resource, Source, SourceTree, Want
from sloth_runner.modules.files import guard
from sloth_runner.modules.files.kind import KIND, ownership
from sloth_runner.ops import FILE, FOLDER, LINK, Stat, WhoAmI
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, SourceEntry, Steps
    from sloth_runner.ops import Found, Identity


def copy(args: Mapping[str, Any], context: Context) -> Steps:
    """A file of the controller, byte for byte; or a folder with all that is in it."""
    entries: Sequence[SourceEntry] = yield SourceTree(args["src"])
    if entries[0].kind == FOLDER:
        from sloth_runner.modules.files import tree

        return (yield from tree.copy(args, context, entries))
    if args["purge"] or args["dir_mode"] is not None:
        raise BadArgument(f"file.copy: purge and dir_mode are for folders, and {args['src']} is a file")
    if args["mode"] == "source":
        args = {**args, "mode": entries[0].mode}
    done, backup = yield from _put(args, context, Source(args["src"]))
    outcome = _outcome(done, backup)
    if done.content is None or b"{{" not in done.content:
        return outcome
    warning = f"{args['src']} holds '{{{{': file.copy does not render; file.template does"
    message = f"{outcome.message}; {warning}" if outcome.message else warning
    return outcome._replace(message=message, fields={**outcome.fields, "warnings": [warning]})


def write(args: Mapping[str, Any], context: Context) -> Steps:
    """A text, byte for byte."""
    return _outcome(*(yield from _put(args, context, args["content"].encode("utf-8", "surrogateescape"))))


def template(args: Mapping[str, Any], context: Context) -> Steps:
    """A template of the controller, rendered."""
    from sloth_runner.modules.template import rendering

    text = yield from rendering(context.folder, args["src"], args["vars"])
    return _outcome(*(yield from _put(args, context, text.encode("utf-8", "surrogateescape"))))


def directory(args: Mapping[str, Any], context: Context) -> Steps:
    """A folder, with the folders above it; with ``recurse`` attributes of what is in it, too."""
    if args["recurse"]:
        from sloth_runner.modules.files import tree

        return (yield from tree.set_all(args, context))
    if args["file_mode"] is not None:
        raise BadArgument(
            "file.directory: file_mode needs recurse = true", unchanged=["this call changed nothing"]
        )
    path = yield from where(args["path"], args["follow"], context)
    return _outcome((yield from _converge(Want(Resource("file", path), attributes(FOLDER, args)))))


def absent(args: Mapping[str, Any], context: Context) -> Steps:
    """Nothing at a path."""
    path = yield from where(args["path"], False, context)
    if path == "/":
        raise BadArgument("file.absent does not remove /", unchanged=["this call changed nothing"])
    options = {"recursive": args["recursive"]}
    return _outcome((yield from _converge(Want(Resource("file", path), None, None, options))))


def link(args: Mapping[str, Any], context: Context) -> Steps:
    """A symbolic link."""
    path = yield from where(args["path"], False, context)
    wanted = {**attributes(LINK, {**args, "mode": None}), "target": args["target"]}
    options = {"replace": True} if args["replace"] else {}
    return _outcome((yield from _converge(Want(Resource("file", path), wanted, None, options))))


def touch(args: Mapping[str, Any], context: Context) -> Steps:
    """A file, whatever is in it."""
    path = yield from where(args["path"], args["follow"], context)
    want = Want(Resource("file", path), attributes(FILE, args), None, {"touch": True})
    return _outcome((yield from _converge(want)))


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
                f"file modules can't act as {context.user!r} on this machine; they act as {identity.name!r}",
                unchanged=["this call changed nothing"],
                next=["say whom the file belongs to: owner = …, group = …", "or call it without user"],
            )
    if not follow:
        return path
    found: Found = yield Stat(path, follow=True)
    if found.kind == LINK:
        raise TaskFailed(
            f"{path} is a symbolic link in a circle, which leads to nothing",
            unchanged=[path],
            next=["correct the link, or leave out follow: then the link itself is meant"],
        )
    return found.real or path


def _put(
    args: Mapping[str, Any], context: Context, content: bytes | Source
) -> Generator[Any, Any, tuple[Converged, dict[str, object]]]:
    path = yield from where(args["dest"], args["follow"], context)
    options = {"name": posixpath.basename(args["src"])} if "src" in args else {}
    options.update(guard.options(args, context))
    beside = yield from guard.kept(path, args)
    done = yield from _converge(Want(Resource("file", path), attributes(FILE, args), content, options))
    return done, (yield from guard.backed_up(beside if done.action != "none" else None))


def _converge(want: Want) -> Generator[Any, Any, Converged]:
    done: tuple[Converged, ...] = yield Ensure((want,))
    return done[0]


def _outcome(done: Converged, more: Mapping[str, object] | None = None) -> Outcome:
    return Outcome(done.action != "none", done.message, {"path": done.resource.id, **(more or {})}, done.diff)


FOLLOW = Arg("follow", "boolean", "act on what a symbolic link leads to, not on the link", default=False)
OWNERS = (
    Arg("owner", "owner", "whom it belongs to, a name or number; without it: as it is"),
    Arg("group", "owner", "its group, a name or number; without it: as it is"),
)
MODE = Arg("mode", "mode", 'permissions as octal text, "0644"; without it: as they are, 0644 if new')
_FOLDER_MODE = Arg("mode", "mode", 'permissions as octal text, "0755"; without it: as they are, 0755 if new')
_DEST = Arg("dest", "file path", "the file's absolute path on the target", required=True)
_TO = (_DEST, MODE, *OWNERS, FOLLOW, *guard.ARGS)
_COPIED_MODE = Arg(
    "mode",
    "copied mode",
    'permissions of files, "0644", or "source": as in the source; without it: as they are',
)
_RETURNS = {
    "path": "(string) the path that was acted on: with follow, where the links lead",
    "backup": "(string?) where the old content was kept, if that was asked for",
}
_PATH_ONLY = {"path": _RETURNS["path"]}
_NO_TIMES = dict.fromkeys(("modified", "access_time", "modification_time"), "times are left as they are")


KINDS = (KIND,)
MODULES = (
    Module(
        "file.copy",
        copy,
        (
            Arg("src", "line", "the file or folder, relative to the task file", required=True),
            _DEST,
            _COPIED_MODE,
            Arg(
                "dir_mode",
                "mode",
                "permissions of folders, if src is one; without it: as they are, 0755 if new",
            ),
            Arg(
                "purge",
                "boolean",
                "remove what is in the folder dest and not in the folder src",
                default=False,
            ),
            *OWNERS,
            FOLLOW,
            *guard.ARGS,
        ),
        "Puts a file of this machine on the target, byte for byte; of a folder all that is in it, links as links.",
        refused={
            "content": "file.write puts a text on the target",
            "vars": "file.copy does not render; file.template does",
            "remote_src": "src is on this machine; on the target itself cmd copies: cp, with inputs and outputs",
        },
        returns={
            **_RETURNS,
            "warnings": "(string[]?) what should be looked at",
            "changed_paths": "(string[]?) of a folder: what was created, changed and removed",
        },
        settles=True,
        source="src",
        along=True,
    ),
    Module(
        "file.write",
        write,
        (Arg("content", "content", "the text, byte for byte", required=True), *_TO),
        "Puts a text on the target.",
        refused={"src": "file.copy puts a file on the target", "path": "say dest = …"},
        returns=_RETURNS,
        settles=True,
        along=True,
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
        refused={"content": "template.render takes a text; file.write puts it on the target"},
        returns=_RETURNS,
        along=True,
    ),
    Module(
        "file.directory",
        directory,
        (
            Arg("path", "path", "the folder's absolute path on the target", required=True),
            _FOLDER_MODE,
            *OWNERS,
            FOLLOW,
            Arg(
                "recurse",
                "boolean",
                "mode (of folders), file_mode, owner and group hold for all that is in it now, too; not for links",
                default=False,
            ),
            Arg("file_mode", "mode", "permissions of the files in it, with recurse; without it: as they are"),
        ),
        "Makes a folder, and those above it that are missing.",
        positional="path",
        refused={
            "dest": "say path = …",
            "recursive": "say recurse = true",
            "state": "file.absent removes it",
        },
        returns=_PATH_ONLY,
    ),
    Module(
        "file.absent",
        absent,
        (
            Arg("path", "path", "what should not be there, an absolute path on the target", required=True),
            Arg("recursive", "boolean", "remove also a folder that is not empty", default=False),
        ),
        "Removes a file, a link (not what it leads to) or a folder.",
        positional="path",
        refused={"dest": "say path = …"},
        returns={"path": "what is not there"},
    ),
    Module(
        "file.link",
        link,
        (
            Arg("path", "file path", "the link's absolute path on the target", required=True),
            Arg("target", "text line", "where it leads, absolute or relative to its folder", required=True),
            Arg("replace", "boolean", "a file in its place is replaced", default=False),
            *OWNERS,
        ),
        "Makes a symbolic link; what it leads to need not be there.",
        refused={
            "src": "say target = …",
            "dest": "say path = …",
            "mode": "a symbolic link has none",
            "hard": "hard links are not made: they share their content and mode, which nobody sees",
        },
        returns={"path": "the link"},
    ),
    Module(
        "file.touch",
        touch,
        (Arg("path", "file path", "the file's absolute path", required=True), MODE, *OWNERS, FOLLOW),
        "Makes an empty file if there is none; what is in it, and its times, are left as they are.",
        positional="path",
        refused={"dest": "say path = …", "content": "file.write puts a text on the target", **_NO_TIMES},
        returns={"path": "the file"},
    ),
)
