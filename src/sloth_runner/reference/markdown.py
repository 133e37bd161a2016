"""Why: the reference pages of the documentation; what they say is what the code checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from sloth_runner.config_fields import BYTES, FIELDS, SECONDS
from sloth_runner.config_fields import Field as Setting
from sloth_runner.modules.described import Record
from sloth_runner.reference import language
from sloth_runner.reference.entries import Entry, Field, Page, common, pages
from sloth_runner.reference.types import TYPES

_SETTINGS = """\
The setting `run.jobs` is `jobs` under `[run]` in a file, and SLOTH_RUNNER_RUN__JOBS as a variable. What an option
says counts most, then variables, then `sloth.toml` (looked for from the task file's folder upward to the repository's
root; without a task file from the working folder), then `config.toml` in the home folder (SLOTH_RUNNER_HOME,
~/.sloth-runner). `sloth-runner config show` prints what holds, and who said it. Durations are seconds or text such as
"30s" and "5m"; sizes are bytes or text such as "64MiB". `[state.encryption]` has a
[page of its own](../encryption.md), `[agents]` and `[groups]` are on [that of agents](../agents.md)."""
MARK = "<!-- Made by `sloth-runner types --docs DIR`: change the descriptions in the code instead. -->"


def files() -> dict[str, str]:
    """The pages by file name; ``README.md`` leads to the others."""
    found = pages()
    made = {f"{page.name}.md": _joined(_page(page)) for page in found}
    made["README.md"] = _joined(_index(found))
    made["settings.md"] = _joined(_settings())
    return dict(sorted(made.items()))


def _joined(lines: Iterable[str]) -> str:
    return "\n".join([MARK, "", *lines]).rstrip("\n") + "\n"


def _index(found: Sequence[Page]) -> Iterator[str]:
    yield from (
        "# Reference",
        "",
        "Everything that a task file may use beside Lua itself, and the settings of the program.",
        "",
    )
    yield "- **[settings](settings.md)**: what `sloth.toml` and variables may say"
    for page in found:
        names = ", ".join(f"[{entry.name}]({page.name}.md#{_anchor(entry.name)})" for entry in page.entries)
        others = ", ".join(f"`{variable.name}`" for variable in page.variables if "." not in variable.name)
        yield f"- **[{page.name}]({page.name}.md)**: {', '.join(filter(None, (names, others)))}"
    arguments, results = common()
    yield from ("", "## What every module takes and returns", "")
    yield "A module is called with one table. It looks first, and changes only what differs. It raises on failure."
    yield "Beside its own arguments it takes:"
    yield from (
        "",
        *_table(arguments),
        "",
        "It returns a table with its own fields and:",
        "",
        *_list(results),
        "",
    )
    yield from ("## Types", "", "| type | what it is |", "| --- | --- |")
    for name, found_type in sorted(TYPES.items()):
        yield f"| {name} | {_cell(found_type.words)} |"
    for alias in language.ALIASES:
        yield f"| {alias.name} | {_cell(alias.doc)} |"
    kinds = [(kind, page) for page in found for kind in page.kinds]
    yield from ("", "## Kinds of resources", "")
    yield "What modules converge is recorded by kind and name, as `kind:name`; drift and prune work on these."
    yield from ("", "| kind | attributes | can be undone |", "| --- | --- | --- |")
    for kind, page in kinds:
        undo = "yes" if kind.undo else "no"
        yield f"| [{kind.name}]({page.name}.md) | {_cell(kind.doc)} | {undo} |"


def _settings() -> Iterator[str]:
    yield from (
        "# Settings",
        "",
        *_SETTINGS.splitlines(),
        "",
        "| setting | default | what it is |",
        "| --- | --- | --- |",
    )
    for name, field in FIELDS.items():
        yield f"| `{name}` | {_default(field)} | {_cell(field.help)} |"


def _default(field: Setting) -> str:
    value = field.default
    if value is None or value == ():
        return ""
    if field.unit == SECONDS:
        return f'`"{value:g}s"`'
    if field.unit == BYTES and isinstance(value, int):
        return f'`"{value >> 20}MiB"`'
    return f"`{value:g}`" if isinstance(value, float) else f"`{json.dumps(value)}`"


def _page(page: Page) -> Iterator[str]:
    yield from (f"# {page.name}", "")
    if page.doc:
        yield from (page.doc, "")
    for variable in page.variables:
        yield from (f"## {variable.name}", "", f"`{variable.type}`. {variable.doc}", "")
    for entry in page.entries:
        yield from _entry(entry)
    for record in page.records:
        yield from _record(record)
    if page.kinds:
        yield from ("## Resources", "")
    for kind in page.kinds:
        undo = (
            "prune brings back what was there before"
            if kind.undo
            else "what was before can't be brought back"
        )
        yield from (f"- `{kind.name}`: {kind.doc}; {kind.undone or undo}.", "")


def _entry(entry: Entry) -> Iterator[str]:
    yield from (f"## {entry.name}", "", f"`{entry.signature}`", "", entry.doc, "")
    if entry.example:
        yield from ("```lua", entry.example, "```", "")
    if entry.fields:
        yield from (*_table(entry.fields), "")
    for overload in entry.overloads:
        yield from (f"Also: `{overload}`", "")
    if entry.is_module:
        yield "It also takes and returns [what every module does](README.md#what-every-module-takes-and-returns)."
        yield ""
    if entry.returns:
        yield from ("Returns:" if not entry.is_module else "Its own results:", "")
        yield from (*_list(entry.returns), "")
    if entry.refused:
        yield from ("What it does not take:", "")
        yield from (f"- `{name}`: {why}" for name, why in entry.refused.items())
        yield ""


def _list(fields: Sequence[Field]) -> Iterator[str]:
    for field in fields:
        maybe = "" if field.required else ", not always there"
        yield f"- {_shown(field)}{maybe}" + (f": {field.doc}" if field.doc else "")


def _shown(field: Field) -> str:
    return f"`{field.name}`" if field.words == "any" else f"`{field.name}` ({field.words})"


def _record(record: Record) -> Iterator[str]:
    yield from (
        f"## {record.name}",
        "",
        record.doc,
        "",
        "| field | type | what it is |",
        "| --- | --- | --- |",
    )
    for field in record.fields:
        maybe = "; not always there" if field.optional else ""
        yield f"| `{field.name}` | {_code(field.type)} | {_cell(field.doc)}{maybe} |"
    yield ""


def _table(fields: Sequence[Field]) -> Iterator[str]:
    yield "| name | what it can be | without it | meaning |"
    yield "| --- | --- | --- | --- |"
    for field in fields:
        without = "needed" if field.required else "" if field.default is None else f"`{_cell(field.default)}`"
        words = _code(field.words) if field.words == field.type else _cell(field.words)
        yield f"| `{field.name}` | {words} | {without} | {_cell(field.doc)} |"


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def _cell(text: str) -> str:
    """Text that stands in a table: one line, no bar that would end the cell, no star that would make it bold."""
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


def _anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return "".join(c for c in heading.lower() if c.isalnum() or c in "-_")
