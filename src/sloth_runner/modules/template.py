"""Why: text with holes, filled by Jinja2 as users of other tools know it; strict about what is missing.

A template sees its variables and, by ``include``, ``import`` and ``extends``, files in its own folder and
below, or in the task file's folder and below. The sandbox keeps it from Python's inside. Data is never a
template.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from sloth_runner.errors import BadArgument, FileMissing, SlothError, TemplateProblem
from sloth_runner.model import Pairs
from sloth_runner.modules.arguments import NOTHING, check
from sloth_runner.modules.base import Arg, Source
from sloth_runner.modules.sources import read_source
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import jinja2

INLINE = "the text of template.render"


class Needed(Exception):
    """A template includes a file that has not been read yet."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Text(NamedTuple):
    """A template: the path it is called by, relative to ``folder`` (the task file's), and its text."""

    folder: str
    name: str
    text: str


def render(folder: Path, *args: object) -> str:
    """``template.render({src = …, vars = …})`` or ``{text = …, vars = …}``: the text. Paths start at ``folder``."""
    if len(args) != 1 or not isinstance(args[0], dict):
        raise BadArgument("template.render takes a table: {src = …, vars = …} or {text = …, vars = …}")
    given = check("template.render", ARGS, args[0], {})
    src, text = given["src"], given["text"]
    if (src is None) == (text is None):
        raise BadArgument("template.render takes either src (a file) or text")
    steps = rendering(str(folder), src, given["vars"], text)
    answer: bytes | None = None
    failure: SlothError | None = None
    while True:
        try:
            op = steps.send(answer) if failure is None else steps.throw(failure)
        except StopIteration as end:
            return str(end.value)
        answer = failure = None
        try:
            answer = read_source(str(folder), op.path)
        except SlothError as error:
            failure = error


def rendering(
    folder: str, src: str | None, values: Mapping[str, Any], text: str | None = None
) -> Generator[Any, Any, str]:
    """Steps that render a file (or ``text``): they yield a Source for every file needed and return the text.

    Raises TemplateProblem with the template's file, line and source text; what a Source raises for ``src``.
    """
    if src is not None:
        text = _decoded((yield Source(src)), src)
    main = Text(folder, src if src is not None else INLINE, text or "")
    files: dict[str, str | None] = {main.name: main.text}
    while True:  # rendering changes nothing, so it begins anew when another file turns out to be needed
        try:
            return _render(main, values, files)
        except Needed as needed:
            try:
                files[needed.path] = _decoded((yield Source(needed.path)), needed.path)
            except (FileMissing, BadArgument):
                files[needed.path] = None


def _render(main: Text, values: Mapping[str, Any], files: Mapping[str, str | None]) -> str:
    import jinja2

    environment = _environment(main, files)
    try:
        return environment.get_template(main.name).render({k: _plain(v) for k, v in values.items()})
    except jinja2.TemplateSyntaxError as error:
        raise _problem(main, files, error.message or "syntax error", error.name, error.lineno) from error
    except jinja2.TemplateNotFound as error:
        message = f"there is no template {error.name!r} in its folder or the task file's"
        raise _problem(main, files, message, *_place(error, main, files)) from error
    except jinja2.UndefinedError as error:
        message = str(error)
        raise _problem(
            main, files, message, *_place(error, main, files), next=_near(message, values)
        ) from error
    except (Needed, SlothError):
        raise
    except RecursionError as error:
        message = "templates include each other without end"
        raise _problem(main, files, message, *_place(error, main, files)) from error
    except Exception as error:  # whatever an expression raises: division, a wrong type, the sandbox
        message = str(error) or type(error).__name__
        raise _problem(main, files, message, *_place(error, main, files)) from error


def _plain(value: object) -> object:
    """A Lua table of mixed keys as the mapping that a template can walk."""
    if isinstance(value, Pairs):
        return {key: _plain(item) for key, item in value.items}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _environment(main: Text, files: Mapping[str, str | None]) -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def load(name: str) -> tuple[str, str, Callable[[], bool]]:
        for path in _candidates(main, name):
            if path not in files:
                raise Needed(path)
            text = files[path]
            if text is not None:
                return text, path, lambda: True
        raise jinja2.TemplateNotFound(name)

    first = main.text.find("\n")
    return ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        newline_sequence="\r\n" if first > 0 and main.text[first - 1] == "\r" else "\n",
        autoescape=False,
        cache_size=0,
    )


def _candidates(main: Text, name: str) -> list[str]:
    """Where an included file may be: beside the template, then in the task file's folder; never outside."""
    if name == main.name:
        return [name]
    clean = posixpath.normpath(name)
    if clean.startswith(("/", "..")) or "\0" in name:
        return []
    beside = "" if main.name == INLINE else posixpath.dirname(main.name)
    found = []
    for folder in dict.fromkeys((beside, "")):
        root = Path(main.folder, folder).resolve()
        if Path(root, clean).resolve().is_relative_to(root):
            found.append(posixpath.join(folder, clean))
    return found


def _decoded(content: bytes, path: str) -> str:
    """A template's text, without the byte order mark that some editors begin it with."""
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        from shlex import quote

        wrong = error.object[error.start]
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TemplateProblem(
            f"{path}: a template is UTF-8 text; the byte 0x{wrong:02x} in this line is not",
            file=path,
            line=line,
            unchanged=NOTHING,
            next=[
                f"if it is Latin-1: iconv -f ISO-8859-1 -t UTF-8 {quote(path)} > NEW",
                "file.copy puts a file of any bytes on the target, as it is",
            ],
        ) from None


def _place(
    error: BaseException, main: Text, files: Mapping[str, str | None]
) -> tuple[str | None, int | None]:
    """Template and line in which rendering failed: the last frame that Jinja2 made of one of them."""
    place: tuple[str | None, int | None] = (main.name, None)
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name in files:
            place = (name, trace.tb_lineno)
        trace = trace.tb_next
    return place


def _problem(
    main: Text,
    files: Mapping[str, str | None],
    message: str,
    name: str | None,
    line: int | None,
    next: list[str] | None = None,  # noqa: A002 - as the error's own field
) -> TemplateProblem:
    name = name or main.name
    lines = (files.get(name) or "").splitlines()
    source = lines[line - 1] if line is not None and 0 < line <= len(lines) else None
    file = None if name == INLINE else str(Path(main.folder, name))
    where = f"{name}, line {line}" if file is None and line is not None else name
    return TemplateProblem(
        f"{where}: {message}",
        file=file,
        line=line,
        source=source,
        unchanged=["this call changed nothing"],
        next=next or [],
    )


def _near(message: str, values: Mapping[str, Any]) -> list[str]:
    from sloth_runner.names import did_you_mean

    found = re.fullmatch(r"'(\w+)' is undefined", message)
    if found is None:
        return []
    hint = "give it: vars = {" + found[1] + " = …}, or write {{ " + found[1] + " | default('…') }}"
    return [*did_you_mean(found[1], values), hint]


ARGS = (
    Arg("src", "line", "the template's file, relative to the task file"),
    Arg("text", "content", "the template itself"),
    Arg("vars", "vars", "what the template may use", default={}),
)
