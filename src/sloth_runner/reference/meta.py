"""Why: an editor with lua-language-server completes and checks task files if it has their types: these files.

One ``---@meta`` file a page. A table is a class; a function that takes a table has a class for its arguments, and a
module one for its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sloth_runner.modules.base import Kind
from sloth_runner.modules.described import Record
from sloth_runner.reference import language
from sloth_runner.reference.entries import Entry, Field, Page, common, pages

MARK = "-- Made by sloth-runner types: what is changed here is lost."
_STANDARD = frozenset(("io", "os"))
"""Tables that lua-language-server knows already."""


def files() -> dict[str, str]:
    """The files by name."""
    made = {f"{page.name}.lua": _file(_page(page)) for page in pages()}
    made["common.lua"] = _file(_common())
    return dict(sorted(made.items()))


def _file(lines: Iterable[str]) -> str:
    return "\n".join(["---@meta _", MARK, "", *lines]).rstrip("\n") + "\n"


def _common() -> Iterator[str]:
    arguments, results = common()
    for alias in language.ALIASES:
        yield from (f"---{alias.doc}", f"---@alias {alias.name} {alias.type}", "")
    yield from _class("sloth.Common", "What every module takes beside its own arguments.", arguments)
    yield from _class("sloth.Result", "What every module returns.", results)
    yield from _kinds(kind for page in pages() for kind in page.kinds)


def _kinds(kinds: Iterable[Kind]) -> Iterator[str]:
    yield "---The kinds of resources that modules converge, as they stand before the colon of an address."
    yield "---@alias sloth.Kind"
    for kind in kinds:
        yield f'---| "{kind.name}" # {_flat(kind.doc)}'
    yield ""


def _page(page: Page) -> Iterator[str]:
    for record in page.records:
        yield from _record(record)
    yield from _tables(page)
    tables = frozenset(owner for entry in page.entries for owner in _owners(entry.name))
    for entry in page.entries:
        yield from _entry(entry, tables)
    for variable in page.variables:
        if "." not in variable.name:
            yield from (*_text(variable.doc), f"---@type {variable.type}", f"{variable.name} = nil", "")


def _tables(page: Page) -> Iterator[str]:
    """Every table that holds functions of this page, the outer ones first; one may be a function as well."""
    owners = {owner for entry in page.entries for owner in _owners(entry.name)}
    calls = {entry.name: entry for entry in page.entries if entry.name in owners}
    for owner in sorted(owners - _STANDARD):
        if owner in calls:
            yield from _about(calls[owner])
        yield f"---@class sloth.{owner}"
        for variable in page.variables:
            above, _, last = variable.name.rpartition(".")
            if above == owner:
                yield f"---@field {last} {variable.type} {_flat(variable.doc)}"
        if owner in calls:
            yield f"---@overload {_type(calls[owner])}"
        yield from (f"{owner} = {{}}", "")


def _owners(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _entry(entry: Entry, tables: frozenset[str]) -> Iterator[str]:
    if entry.table:
        above = "sloth.Common" if entry.is_module else None
        yield from _class(_arguments(entry), f"The arguments of {entry.name}.", entry.fields, above)
    if entry.is_module:
        yield from _class(_result(entry), f"What {entry.name} returns.", entry.returns, "sloth.Result")
    if entry.name in tables:
        return
    yield from _about(entry)
    yield from _parameters(entry)
    for overload in entry.overloads:
        yield f"---@overload {overload}"
    names = "args" if entry.table else ", ".join(field.name for field in entry.fields)
    yield from (f"function {entry.name}({names}) end", "")


def _about(entry: Entry) -> Iterator[str]:
    yield from _text(entry.doc)
    for name, why in entry.refused.items():
        yield f"--- * no `{name}`: {_flat(why)}"


def _parameters(entry: Entry) -> Iterator[str]:
    if entry.table:
        short = _short(entry)
        about = f" {short[1:].replace('|', ' or ')} stands for {{{entry.positional} = …}}" if short else ""
        yield f"---@param args {_arguments(entry)}{short}{about}"
    else:
        for field in entry.fields:
            yield f"---@param {field.name}{'' if field.required else '?'} {field.type} {_flat(field.doc)}".rstrip()
    if entry.is_module:
        yield f"---@return {_result(entry)}"
    for field in () if entry.is_module else entry.returns:
        name = "" if field.name == "..." else f" {field.name}"
        kind = "any ..." if field.name == "..." else field.type
        yield f"---@return {kind}{name} {_flat(field.doc)}".rstrip()


def _short(entry: Entry) -> str:
    """What may be given in place of a table, as alternatives to it."""
    for field in entry.fields:
        if field.name == entry.positional:
            return "|string|boolean" if "boolean" in field.type else "|string"
    return ""


def _type(entry: Entry) -> str:
    """The entry as the type of a function."""
    result = _result(entry) if entry.is_module else ", ".join(field.type for field in entry.returns)
    if entry.table:
        parameters = f"args: {_arguments(entry)}{_short(entry)}"
    else:
        parameters = ", ".join(
            f"{field.name}{'' if field.required else '?'}: {field.type}" for field in entry.fields
        )
    return f"fun({parameters})" + (f": {result}" if result else "")


def _arguments(entry: Entry) -> str:
    return f"sloth.{entry.name}.Args"


def _result(entry: Entry) -> str:
    return f"sloth.{entry.name}.Result"


def _class(name: str, doc: str, fields: Iterable[Field], above: str | None = None) -> Iterator[str]:
    yield f"---{doc}"
    yield f"---@class {name}" + (f": {above}" if above else "")
    for field in fields:
        default = "" if field.default is None else f" ({field.default} if not given)"
        optional = "" if field.required else "?"
        yield f"---@field {field.name}{optional} {field.type} {_flat(field.doc)}{default}".rstrip()
    yield ""


def _record(record: Record) -> Iterator[str]:
    yield from _text(record.doc)
    yield f"---@class {record.name}"
    for field in record.fields:
        yield f"---@field {field.name}{'?' if field.optional else ''} {field.type} {_flat(field.doc)}".rstrip()
    yield from (f"---@{annotation}" for annotation in record.also)
    yield ""


def _text(doc: str) -> Iterator[str]:
    for line in doc.splitlines():
        yield f"---{line}"


def _flat(doc: str) -> str:
    return " ".join(doc.split())
