"""Why: text with holes, filled by Jinja2 as users of other tools know it; strict about what is missing.

Templates come from the task file's folder and below; data is never a template, and a template can't reach
Python's inside (the sandbox).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sloth_runner.errors import BadArgument, BadField, FileMissing, TemplateProblem
from sloth_runner.names import did_you_mean


def functions(folder: Path) -> dict[str, Callable[..., object]]:
    """``template.render``."""

    def render_call(*args: object) -> str:
        if len(args) != 1 or not isinstance(args[0], dict):
            raise BadArgument("template.render takes a table: {src = …, vars = …} or {text = …, vars = …}")
        given: dict[str, Any] = args[0]
        for field in given:
            if field not in ("src", "text", "vars"):
                raise BadField(
                    f"template.render has no argument {field!r}; it takes src, text, vars",
                    next=did_you_mean(str(field), ("src", "text", "vars")),
                )
        if ("src" in given) == ("text" in given):
            raise BadArgument("template.render takes either src (a file) or text")
        values = given.get("vars", {})
        if not isinstance(values, dict):
            raise BadArgument("template.render: vars is a table with text keys")
        for field in ("src", "text"):
            if field in given and not isinstance(given[field], str):
                raise BadArgument(f"template.render: {field} is a string")
        return render(folder, values, name=given.get("src"), text=given.get("text"))

    return {"template.render": render_call}


def render(folder: Path, values: Mapping[str, Any], *, name: str | None, text: str | None) -> str:
    """Render the file ``name`` (relative to ``folder``) or ``text``. Raises TemplateProblem, FileMissing."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FileSystemLoader(str(folder)),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    shown = str(folder / name) if name is not None else None
    if text is None:
        assert name is not None
        text = _read(folder / name)
    try:
        template = environment.from_string(text)
        return template.render(dict(values))
    except jinja2.TemplateSyntaxError as error:
        raise _problem(
            error.message or "syntax error", error.filename or shown, error.lineno, text
        ) from error
    except jinja2.TemplateNotFound as error:
        raise _problem(f"there is no template {error.name!r} in {folder}", shown, None, text) from error
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise _problem(str(error), shown, _line(error), text) from error


def _read(path: Path) -> str:
    from sloth_runner.modules import read_source

    content = read_source(str(path.parent), path.name)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise FileMissing(f"the template {path} is not UTF-8 text: {error}") from error


def _line(error: BaseException) -> int | None:
    """The template's line in which rendering failed: the last frame that Jinja2 made."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _problem(message: str, file: str | None, line: int | None, text: str) -> TemplateProblem:
    lines = text.splitlines()
    source = lines[line - 1] if line is not None and 0 < line <= len(lines) else None
    where = "the template" if file is None else Path(file).name
    return TemplateProblem(f"{where}: {message}", file=file, line=line, source=source)
