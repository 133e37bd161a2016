"""Why: a task file says what a part of a file should be: a line, a block, a key, or that a pattern is replaced."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from importlib import import_module

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Resource, Want
from sloth_runner.modules.files import guard
from sloth_runner.modules.files.editing import Editor, kind, load
from sloth_runner.modules.files.put import FOLLOW, where
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Change, Converged, Steps

NOTHING = ["this call changed nothing"]


def line(args: Mapping[str, Any], context: Context) -> Steps:
    """One line, found by a pattern or by itself."""
    regexp, text, present = args["regexp"], args["line"], args["state"] == "present"
    if text is None and (present or regexp is None):
        need = "line, the text" if present else "regexp or line, to know which lines should go"
        raise BadArgument(f"file.line needs {need}", unchanged=NOTHING)
    if not present and None not in (regexp, text) and not _matches(regexp, text):
        raise BadArgument(
            "file.line: regexp does not match line: it is not clear which lines should go", unchanged=NOTHING
        )
    path = yield from where(args["path"], args["follow"], context)
    if args["backrefs"]:
        text = yield from _expanded(path, args)
        if text is None:
            return Outcome(False, f"no line of {path} matches {regexp!r}", {"path": path})
    params = {"path": path}
    if regexp is not None:
        params["regexp"] = regexp
    if regexp is None or (present and not _matches(regexp, text)):
        _refuse_secret(context, "a line is found again by regexp, which has to match the new line too")
        params["line"] = text
    resource = Resource("file.line", f"{path}#{text if regexp is None else regexp}", params)
    return (yield from _ensure(resource, {"line": text} if present else None, args, context))


def _matches(regexp: str, text: str) -> bool:
    import re

    return re.search(regexp, text) is not None


def _expanded(path: str, args: Mapping[str, Any]) -> Generator[Any, Any, str | None]:
    """The wanted line, with what groups of the last matching one hold; None if no line matches."""
    import re

    from sloth_runner.modules.files.line import matching
    from sloth_runner.modules.files.lines import split

    if args["regexp"] is None or args["state"] == "absent":
        raise BadArgument("file.line: backrefs needs regexp, whose groups line takes up", unchanged=NOTHING)
    text = yield from load(path)
    if text is None:
        raise _missing(path)
    lines = split(text)
    found = matching(lines, {"regexp": args["regexp"]})
    if not found:
        return None
    try:
        pattern = re.compile(args["regexp"])
        match = pattern.search(lines[found[-1]].text)
        made = match.expand(args["line"]) if match else ""
        again = pattern.search(made)
        if again is not None and again.expand(args["line"]) == made and "\n" not in made:
            return made
    except (re.error, IndexError) as error:
        raise BadArgument(f"file.line: line and regexp don't fit: {error}", unchanged=NOTHING) from None
    raise TaskFailed(
        f"file.line would not find its own line again: {args['regexp']!r} on {made!r} gives something else",
        unchanged=[path],
        next=["make regexp match the new line too, with the same groups in it"],
    )


def block(args: Mapping[str, Any], context: Context) -> Steps:
    """Lines between two markers."""
    from sloth_runner.modules.files.block import wanted_lines

    marker: str = args["marker"]
    if "{mark}" not in marker or args["marker_begin"] == args["marker_end"]:
        raise BadArgument(
            'file.block: marker holds {mark}, which stands for marker_begin ("BEGIN") and marker_end ("END")',
            unchanged=NOTHING,
        )
    named = marker.replace("{name}", args["name"])
    begin, end = (named.replace("{mark}", args[which]) for which in ("marker_begin", "marker_end"))
    lines = None
    if args["state"] == "present":
        if args["block"] is None:
            raise BadArgument("file.block needs block, the text between the markers", unchanged=NOTHING)
        lines = wanted_lines(args["block"])
        if begin in lines or end in lines:
            raise BadArgument("file.block: block holds one of its own markers", unchanged=NOTHING)
    path = yield from where(args["path"], args["follow"], context)
    resource = Resource("file.block", f"{path}#{begin}", {"path": path, "begin": begin, "end": end})
    return (yield from _ensure(resource, None if lines is None else {"lines": lines}, args, context))


def replace(args: Mapping[str, Any], context: Context) -> Steps:
    """All occurrences of a pattern."""
    import re

    _refuse_secret(context, "what file.replace looks for and puts in is recorded")
    try:
        re.compile(args["regexp"]).sub(args["replacement"], "")
    except (re.error, IndexError) as error:
        raise BadArgument(f"file.replace: replacement {error}", unchanged=NOTHING) from None
    path = yield from where(args["path"], args["follow"], context)
    if (yield from load(path)) is None:
        raise _missing(path)
    given = {name: args[name] for name in ("regexp", "replacement", "after", "before")}
    params = {name: value for name, value in given.items() if value is not None}
    where_ = "".join(f" {name} {args[name]}" for name in ("after", "before") if args[name] is not None)
    resource = Resource("file.replace", f"{path}#{args['regexp']}{where_}", {"path": path, **params})
    return (yield from _ensure(resource, {"left": 0}, args, context))


def set_key(args: Mapping[str, Any], context: Context) -> Steps:
    """One key of a JSON, YAML, TOML or INI file."""
    from sloth_runner.modules.files.keys import FORMATS, Unfit, canonical, key_name

    ending = args["path"].rsplit("/", 1)[-1].rsplit(".", 1)[-1].lower()
    name = args["format"] or FORMATS.get(ending)
    if name is None:
        raise BadArgument(
            f'file.set_key: format is needed for {args["path"]}: "json", "yaml", "toml" or "ini"',
            unchanged=NOTHING,
        )
    key = args["key"]
    if isinstance(key, str):
        key = tuple(key.split(".", 1) if name == "ini" else key.split("."))
    if not all(key):
        raise BadArgument("file.set_key: key has an empty name in it", unchanged=NOTHING)
    wanted, value = None, args["value"]
    if args["state"] == "present":
        if value is None:
            raise BadArgument(
                'file.set_key needs value; state = "absent" takes a key away', unchanged=NOTHING
            )
        try:
            if name == "ini":
                from sloth_runner.modules.files.keys.ini_text import written

                value = written(value)
        except Unfit as error:
            raise BadArgument(f"file.set_key: {error}", unchanged=NOTHING) from None
        wanted = {"value": canonical(value)}
    path = yield from where(args["path"], args["follow"], context)
    params = {"path": path, "key": list(key), "format": name}
    resource = Resource("file.key", f"{path}#{key_name(key)}", params)
    return (yield from _ensure(resource, wanted, args, context))


def _refuse_secret(context: Context, why: str) -> None:
    if context.sensitive:
        raise BadArgument(f"this can't be sensitive: {why}", unchanged=NOTHING)


def _missing(path: str) -> TaskFailed:
    return TaskFailed(f"there is no file {path}", unchanged=[path], next=["file.write makes one"])


def _ensure(
    resource: Resource, wanted: Attributes | None, args: Mapping[str, Any], context: Context
) -> Steps:
    path = str(resource.params["path"])
    if args.get("insert_after") is not None and args.get("insert_before") is not None:
        raise BadArgument(
            f"{resource.kind}: insert_after and insert_before are two places for the same",
            unchanged=NOTHING,
            next=["give one of them"],
        )
    names = ("create", "insert_after", "insert_before", "first_match")
    options = {name: args[name] for name in names if args.get(name)}
    beside = yield from guard.kept(path, args)
    want = Want(resource, wanted, None, {**options, **guard.options(args, context)})
    done: tuple[Converged, ...] = yield Ensure((want,))
    fields: dict[str, object] = {"path": path}
    if done[0].action != "none":
        fields.update((yield from guard.backed_up(beside)))
    return Outcome(done[0].action != "none", done[0].message, fields, done[0].diff)


def _editor(name: str, doc: str, file: str, *, undo: bool = True) -> Editor:
    """An Editor whose code is loaded when it is needed."""

    def read(text: str, params: Mapping[str, Any]) -> tuple[Attributes | None, dict[str, Any]]:
        found: tuple[Attributes | None, dict[str, Any]] = import_module(file).read(text, params)
        return found

    def edit(text: str, change: Change) -> str:
        return str(import_module(file).edit(text, change))

    return Editor(name, doc, read, edit, undo)


_HERE = "sloth_runner.modules.files"
KINDS = (
    kind(_editor("file.line", "a line of a file: line, the last that matches; lines, all", f"{_HERE}.line")),
    kind(
        _editor(
            "file.block", "a marked block in a file: lines, what is between the markers", f"{_HERE}.block"
        )
    ),
    kind(
        _editor(
            "file.replace",
            "a pattern in a file: left, what is still to be replaced",
            f"{_HERE}.replace",
            undo=False,
        )
    ),
    kind(_editor("file.key", "a key in a file: value, in canonical JSON", f"{_HERE}.keys")),
)

_PATH = Arg("path", "file path", "the file's absolute path on the target", required=True)
_CREATE = Arg(
    "create",
    "boolean",
    "make the file (0644), and folders above it that are missing (0755), if there is none",
    default=False,
)
_STATE = Arg("state", "state", '"present", or "absent": take it away', default="present")
_PLACE = (
    Arg(
        "insert_after", "regexp", 'a new one goes after the last line that this matches, or "EOF": at the end'
    ),
    Arg(
        "insert_before",
        "regexp",
        'a new one goes before the last line that this matches, or "BOF": at the start',
    ),
    Arg(
        "first_match", "boolean", "insert_after and insert_before mean the first matching line", default=False
    ),
)
_LAST = (_CREATE, *guard.ARGS, FOLLOW)
_OTHERS = {
    **dict.fromkeys(("mode", "owner", "group"), "file.attributes sets it"),
    "dest": "say path = …",
    "insertafter": "say insert_after = …",
    "insertbefore": "say insert_before = …",
}
_RETURNS = {"path": "the file", "backup": "where the old content was kept, if that was asked for"}
MODULES = (
    Module(
        "file.line",
        line,
        (
            _PATH,
            Arg("line", "text line", "the line, without its newline"),
            Arg(
                "regexp",
                "regexp",
                "the last line that this matches becomes line (one that it does not match: unless it is there)",
            ),
            _STATE,
            Arg(
                "backrefs",
                "boolean",
                r"line takes up groups of regexp (\1, \g<name>); nothing is put in",
                default=False,
            ),
            *_PLACE,
            *_LAST,
        ),
        'Makes sure that a file has one line; with state = "absent", that no line of it matches (regexp, if there is'
        " one).",
        refused={**_OTHERS, "firstmatch": "say first_match = …", "content": "say line = …"},
        returns=_RETURNS,
    ),
    Module(
        "file.block",
        block,
        (
            _PATH,
            Arg("block", "content", "the lines between the markers"),
            Arg("name", "text line", "tells several blocks of one file apart", default="sloth-runner block"),
            Arg(
                "marker",
                "text line",
                "the marker lines; {mark} stands for BEGIN and END",
                default="# {mark} {name}",
            ),
            Arg("marker_begin", "text line", "what {mark} is in the first marker", default="BEGIN"),
            Arg("marker_end", "text line", "what {mark} is in the last marker", default="END"),
            _STATE,
            *_PLACE,
            *_LAST,
        ),
        'Keeps a block of lines between two markers in a file; with state = "absent", takes both away.',
        refused={**_OTHERS, "content": "say block = …"},
        returns=_RETURNS,
    ),
    Module(
        "file.replace",
        replace,
        (
            _PATH,
            Arg("regexp", "regexp", "what to look for; ^ and $ match at each line", required=True),
            Arg(
                "replacement",
                "content",
                r"what to put there; \1 and \g<name> are groups of regexp",
                required=True,
            ),
            Arg("after", "regexp", "only behind the first place that this matches"),
            Arg("before", "regexp", "only up to the first place that this matches (behind after)"),
            *guard.ARGS,
            FOLLOW,
        ),
        "Replaces all that a pattern matches in a file. It can't be undone: what was there is not recorded.",
        refused={
            **_OTHERS,
            "create": "there is nothing to replace in a new file",
            "pattern": "say regexp = …",
            "replace": "say replacement = …",
        },
        returns=_RETURNS,
    ),
    Module(
        "file.set_key",
        set_key,
        (
            _PATH,
            Arg(
                "key",
                "key",
                'names with dots between them, or a list of names; INI: "section.name"',
                required=True,
            ),
            Arg("value", "value", "a text, number, true, false or table; in INI files no table"),
            Arg("format", "key format", '"json", "yaml", "toml" or "ini"; without it: by the file\'s ending'),
            _STATE,
            *_LAST,
        ),
        "Sets one key in a JSON, YAML, TOML or INI file; comments and layout of all else stay.",
        refused=_OTHERS,
        returns=_RETURNS,
    ),
)
