"""Why: modules and functions come from several places and in two shapes; here they are one list, grouped in pages.

Nothing is written here by hand: what is missing in a description is missing everywhere, and a test says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from sloth_runner.modules import kinds, modules
from sloth_runner.modules.base import Arg, Kind, Module
from sloth_runner.modules.described import COMMON, RESULT, Function, Param, Record
from sloth_runner.plain import Any, NamedTuple
from sloth_runner.reference import language, pure, state
from sloth_runner.reference.examples import examples
from sloth_runner.reference.types import TYPES, ArgType

_RECORD = re.compile(r"sloth\.[\w.]+")
_TYPED = re.compile(r"\(([^()]+(?:\([^()]*\)[^()]*)*)\) (.*)", re.DOTALL)


class Field(NamedTuple):
    """An argument, parameter, result or field. ``type`` is for editors, ``words`` for people; ``default`` is what
    holds without it, as Lua (None: nothing does)."""

    name: str
    type: str
    words: str
    doc: str
    required: bool
    default: str | None = None


class Entry(NamedTuple):
    """A function of task files, module or not.

    ``table``: it takes one table of ``fields``; ``positional`` is the one that a single value stands for.
    ``is_module``: it takes the common arguments and returns the common results as well. ``called`` False: it is no
    function but a value, whose fields these are, or a kind of resource (its name ends in a colon).
    """

    name: str
    doc: str
    is_module: bool
    table: bool
    fields: tuple[Field, ...]
    returns: tuple[Field, ...]
    positional: str | None = None
    refused: Mapping[str, str] = {}
    overloads: tuple[str, ...] = ()
    called: bool = True

    @property
    def example(self) -> str:
        """Lines of a task file that call it; "" if there is nothing to show."""
        return examples().get(self.name, "")

    @property
    def signature(self) -> str:
        """How it is called, in short."""
        if not self.called:
            return f"{self.name}NAME" if self.name.endswith(":") else self.name
        if self.table:
            short = f" or {self.name}({self.positional})" if self.positional else ""
            return f"{self.name}({{ … }}){short}"
        names = [field.name if field.required else f"[{field.name}]" for field in self.fields]
        return f"{self.name}({', '.join(names)})"


class Page(NamedTuple):
    """What belongs together: the entries that share the first part of their name, and what they speak of."""

    name: str
    doc: str
    entries: tuple[Entry, ...]
    kinds: tuple[Kind, ...]
    records: tuple[Record, ...]
    variables: tuple[Param, ...]


def functions() -> tuple[Function, ...]:
    """All functions of task files that are no modules."""
    return (*language.FUNCTIONS, *state.FUNCTIONS, *pure.FUNCTIONS)


def entries() -> tuple[Entry, ...]:
    """All modules and functions, by name."""
    found = [*map(_of_module, modules().values()), *map(_of_function, functions())]
    return tuple(sorted(found, key=lambda entry: entry.name))


def records() -> tuple[Record, ...]:
    """All tables with known fields."""
    from sloth_runner.modules import facts

    return (*language.RECORDS, *state.RECORDS, *facts.RECORDS)


def variables() -> tuple[Param, ...]:
    """Globals and fields that are no functions."""
    return (*language.VARIABLES, *state.VARIABLES)


def common() -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """The arguments and the results that all modules share."""
    return tuple(map(_argument, COMMON)), tuple(map(_parameter, RESULT))


def pages() -> tuple[Page, ...]:
    """Everything, by pages, in the order of their names."""
    known: dict[str, dict[str, list[Any]]] = {}

    def put(name: str, what: str, item: object) -> None:
        page = known.setdefault(page_of(name), {"entries": [], "kinds": [], "records": [], "variables": []})
        page[what].append(item)

    for entry in entries():
        put(entry.name, "entries", entry)
    for kind in kinds().values():
        put(kind.name, "kinds", kind)
    for variable in variables():
        put(variable.name, "variables", variable)
    for name, group in (("task", language.RECORDS), ("state", state.RECORDS)):
        for record in group:
            put(name, "records", record)
    from sloth_runner.modules import facts

    for record in facts.RECORDS:
        put("facts", "records", record)
    return tuple(
        Page(name, language.PAGES.get(name, ""), *(tuple(found) for found in known[name].values()))
        for name in sorted(known)
    )


def page_of(name: str) -> str:
    """The page that a dotted name is on."""
    first = name.removesuffix(":").partition(".")[0]
    return language.PAGE_OF.get(first, first)


def find(name: str) -> tuple[Entry, ...]:
    """The entries that a name stands for: one with the tables that it takes, or all that begin with it, or all of a
    page; none if nothing is called so."""
    everything = (*entries(), *_values())
    exact = tuple(entry for entry in everything if entry.name == name)
    taken = {found for entry in exact for field in entry.fields for found in _RECORD.findall(field.words)}
    exact += tuple(entry for entry in everything if entry.name in taken and entry not in exact)
    below = tuple(entry for entry in everything if entry.name.startswith((name + ".", name + ":")))
    if exact or below:
        return exact + below
    return tuple(entry for entry in everything if page_of(entry.name) == name)


def names() -> list[str]:
    """Everything that ``find`` finds: the names of entries, values, kinds (with a colon) and pages."""
    every = (*entries(), *_values())
    return sorted({entry.name for entry in every} | {page_of(entry.name) for entry in every})


def _values() -> Iterator[Entry]:
    """What is looked up though it is not called: variables, their fields that are tables, kinds of resources."""
    known = {record.name: record for record in records()}

    def value(name: str, doc: str, type_: str) -> Entry:
        record = known.get(next(iter(_RECORD.findall(type_)), ""))
        fields = tuple(map(_parameter, record.fields)) if record else ()
        return Entry(name, doc, False, False, fields, (), called=False)

    for variable in variables():
        entry = value(variable.name, variable.doc, variable.type)
        yield entry
        for field in entry.fields:
            yield value(f"{variable.name}.{field.name}", f"{field.doc}: {field.type}", field.type)
    for record in known.values():
        yield Entry(
            record.name, record.doc, False, False, tuple(map(_parameter, record.fields)), (), called=False
        )
    for kind in kinds().values():
        yield Entry(f"{kind.name}:", f"A kind of resource: {kind.doc}.", False, False, (), (), called=False)


def _of_module(module: Module) -> Entry:
    fields = tuple(map(_argument, module.args))
    returns = tuple(_returned(name, doc) for name, doc in module.returns.items())
    return Entry(
        module.name, module.doc, True, True, fields, returns, module.positional, dict(module.refused)
    )  # fmt: skip


def _of_function(function: Function) -> Entry:
    returns = tuple(map(_parameter, function.returns))
    if function.args:
        fields = tuple(map(_argument, function.args))
        return Entry(function.name, function.doc, False, True, fields, returns)
    fields = tuple(map(_parameter, function.params))
    return Entry(function.name, function.doc, False, False, fields, returns, overloads=function.overloads)


def _argument(arg: Arg) -> Field:
    found = TYPES.get(arg.type) or ArgType("any", arg.type)
    value = arg.default
    if "mode" in arg.type and isinstance(value, int):
        value = f"{value:04o}"  # as it is written, not as it is kept
    default = None if arg.required or value is None else as_lua(value)
    return Field(arg.name, found.lua, found.words, arg.doc, arg.required, default)


def _parameter(param: Param) -> Field:
    return Field(param.name, param.type, param.type, param.doc, not param.optional)


def _returned(name: str, doc: str) -> Field:
    typed = _TYPED.fullmatch(doc)
    if typed is None:
        return Field(name, "any", "any", doc, True)
    word = typed[1].removesuffix("?")
    return Field(name, word, word, typed[2], not typed[1].endswith("?"))


def as_lua(value: object) -> str:
    """A default as a task file would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {as_lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Iterable):
        return "{" + ", ".join(map(as_lua, value)) + "}"
    raise TypeError(f"a default of type {type(value).__name__} has no form in Lua")
