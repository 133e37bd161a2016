"""Why: what a module takes is looked up where it is written: on the command line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.text import styled
from sloth_runner.cli.words import argument, command
from sloth_runner.errors import UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.reference.entries import Entry, Field


_SMALL = frozenset(("a", "an", "any", "the", "such", "as", "or", "of", "it", "is", "that"))


def complete_name(shell: Shell, given: Mapping[str, Any]) -> Sequence[str]:
    """Names of modules, functions and pages, for the shell."""
    from sloth_runner.reference.entries import names

    return names()


@command("modules")
@argument("name", required=False, complete=complete_name)
@output_option
def modules(shell: Shell, name: str | None) -> None:
    """Show what task files may call: all of it, or NAME (file.copy) or what begins with it (file) in full."""
    if name is None:
        _list(shell)
        return
    from sloth_runner.reference.entries import find, names

    found = find(name)
    if not found:
        from sloth_runner.modules.habits import called

        raise UsageError(
            f"there is no module or function {name!r}",
            next=called(name) or did_you_mean(name, names()) or ["sloth-runner modules"],
        )
    show(shell, name, found)


def show(shell: Shell, name: str, found: Sequence[Entry]) -> None:
    """Print entries in full."""
    if shell.structured:
        shell.document("modules.show", {"name": name, "entries": [_plain(entry) for entry in found]})
        return
    for number, entry in enumerate(found):
        if number:
            shell.print()
        _print(shell, entry)


def _list(shell: Shell) -> None:
    from sloth_runner.reference.entries import entries

    every = entries()
    if shell.structured:
        rows = [{"name": one.name, "module": one.is_module, "doc": one.doc} for one in every]
        shell.document("modules.list", {"entries": rows})
        return
    shell.table(["NAME", "DOES"], [[one.name, one.doc] for one in every], flexible=(1,))


def _plain(entry: Entry) -> dict[str, Any]:
    def rows(fields: Iterable[Field]) -> list[dict[str, Any]]:
        return [
            {
                "name": field.name,
                "type": field.type,
                "words": field.words,
                "required": field.required,
                "default": field.default,
                "doc": field.doc,
            }
            for field in fields
        ]

    return {
        "name": entry.name,
        "module": entry.is_module,
        "signature": entry.signature,
        "doc": entry.doc,
        "arguments": rows(entry.fields),
        "returns": rows(entry.returns),
        "refused": dict(entry.refused),
        "example": entry.example,
    }


def _print(shell: Shell, entry: Entry) -> None:
    width = min(shell.columns, 100)
    shell.print(styled(entry.signature, "bold", shell.color))
    for line in textwrap.wrap(entry.doc, width - 2):
        shell.print(f"  {line}")
    if entry.fields:
        shell.print()
    _fields(shell, entry.fields, width, results=not entry.called)
    if entry.returns:
        _title(shell, "returns, beside changed, message, diff" if entry.is_module else "returns")
        _fields(shell, entry.returns, width, results=True)
    if entry.refused:
        _title(shell, "does not take")
        for name, why in entry.refused.items():
            _wrapped(shell, f"  {name}", why, width)
    if entry.example:
        _title(shell, "for example")
        for line in entry.example.splitlines():
            shell.print(f"  {line}".rstrip())


def _title(shell: Shell, text: str) -> None:
    shell.print()
    shell.print(f"  {styled(text, 'dim', shell.color)}")


def _fields(shell: Shell, fields: Sequence[Field], width: int, *, results: bool = False) -> None:
    for field in fields:
        notes = [] if (results and field.words == "any") or _said(field.words, field.doc) else [field.words]
        if field.required and not results:
            notes.append("needed")
        elif field.default is not None:
            notes.append(f"else {field.default}")
        elif results and not field.required:
            notes.append("optional")
        more = "; ".join(notes)
        text = f"{field.doc} ({more})" if field.doc and more else field.doc or more
        _wrapped(shell, f"  {field.name}", text, width)


def _said(words: str, doc: str) -> bool:
    """Whether what a field can be is in what is said of it already."""
    told = set(re.findall(r"\w+", doc.lower())) | _SMALL
    return told.issuperset(re.findall(r"\w+", words.lower()))


def _wrapped(shell: Shell, head: str, text: str, width: int) -> None:
    """A name, and beside it a text that keeps to its column."""
    column = 18
    lines = textwrap.wrap(text, width - column) or [""]
    if len(head) + 2 > column:
        shell.print(head)
        head = ""
    shell.print(f"{head:<{column}}{lines[0]}".rstrip())
    for line in lines[1:]:
        shell.print(" " * column + line)
