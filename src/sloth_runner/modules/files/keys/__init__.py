"""Why: one key in a JSON, YAML, TOML or INI file is a resource of its own; all else in the file, comments and layout
too, stays as it is.

Each format is one file with ``find``, ``put`` and ``drop``; ``values`` says what all of its data are, so that an edit
is checked before it is written: the new text must mean the old data with that one change, or nothing is done.

Attribute of kind "file.key": ``value``, in canonical JSON, because 1, 1.0, true and "1" are four values; in INI files
all values are texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes, Change

FORMATS = {
    "json": "json",
    "yaml": "yaml",
    "yml": "yaml",
    "toml": "toml",
    "ini": "ini",
    "cfg": "ini",
    "conf": "ini",
}
"""Formats by a file name's ending."""


class Unfit(Exception):
    """Why a text can't be read, or can't be edited in that way."""


class Literal(NamedTuple):
    """A value that JSON has not (a date, a time), as its format writes it."""

    text: str


class Format(Protocol):
    """What one format can do. A key is a tuple of names, outermost first. All raise Unfit."""

    def find(self, text: str, key: Sequence[str]) -> tuple[Any, ...]:
        """The key's value in a tuple; an empty one if it isn't there."""

    def depth(self, text: str, key: Sequence[str]) -> int:
        """How many of the key's names are there, from the outermost on."""

    def put(self, text: str, key: Sequence[str], value: Any) -> str:
        """The text with that value; tables that are missing around it are made."""

    def drop(self, text: str, key: Sequence[str]) -> str:
        """The text without the key, which is there."""

    def values(self, text: str) -> Any:
        """All data of the text."""

    def is_empty(self, text: str) -> bool:
        """Whether nothing is in it, not even a comment."""


def format_of(name: str) -> Format:
    """The format of that name."""
    from importlib import import_module

    made: Format = import_module(f"sloth_runner.modules.files.keys.{name}_text")
    return made


def canonical(value: Any) -> str:
    """A value as text: equal texts are equal values of equal types."""
    import json

    return json.dumps(unshared(value), ensure_ascii=False, sort_keys=True)


def plain(text: str) -> Any:
    """The value that ``canonical`` wrote."""
    import json

    return json.loads(
        text, object_hook=lambda item: Literal(item["$literal"]) if set(item) == {"$literal"} else item
    )


def read(text: str, params: Mapping[str, Any]) -> tuple[Attributes | None, dict[str, Any]]:
    """The key's value; if it is missing, how many of its tables are there."""
    form = format_of(params["format"])
    try:
        found = form.find(text, params["key"])
        if found:
            return {"value": canonical(found[0])}, {}
        return None, {"depth": form.depth(text, params["key"])}
    except Unfit as error:
        raise _unfit(params, error) from error


def edit(text: str, change: Change) -> str:
    """The key set, or taken away with the tables that were made around it, if they are empty now."""
    params = change.resource.params
    form, key = format_of(params["format"]), list(params["key"])
    try:
        if change.wanted is not None:
            value = plain(str(change.wanted["value"]))
            new = form.put(text, key, value)
            _check(form, text, new, key, (value,))
            return new
        if not form.find(text, key):
            return text
        new = form.drop(text, key)
        _check(form, text, new, key, ())
        return _tidied(form, new, key, change)
    except Unfit as error:
        raise _unfit(params, error) from error


def _tidied(form: Format, text: str, key: list[str], change: Change) -> str:
    depth = change.extra.get("depth")
    for length in range(len(key) - 1, depth if isinstance(depth, int) else len(key), -1):
        found = form.find(text, key[:length])
        if not found or found[0] != {}:
            return text
        text = form.drop(text, key[:length])
    return "" if "file" in change.extra and form.is_empty(text) else text


def _check(form: Format, old: str, new: str, key: Sequence[str], value: tuple[Any, ...]) -> None:
    """The new text must mean what the old one meant, but for that key. Where others refer to it (anchors of YAML),
    the new one may mean nothing at all."""
    expected = target = unshared(form.values(old))
    for name in key[:-1]:
        target = target.setdefault(name, {})
    if value:
        target[key[-1]] = unshared(value[0])
    else:
        del target[key[-1]]
    more = Unfit("this key can't be changed without changing more than it")
    try:
        made = form.values(new)
    except Unfit:
        raise more from None
    if canonical(made) != canonical(expected):
        raise more


def unshared(value: Any) -> Any:
    """A value as JSON can hold it, in which nothing stands in two places at once; a value that JSON has not becomes
    ``{"$literal": text}``, a key that is no text one that says so."""
    if isinstance(value, Literal):
        return {"$literal": value.text}
    if isinstance(value, Mapping):
        named = {name if isinstance(name, str) else f"{type(name).__name__} {name}": name for name in value}
        return {name: unshared(value[own]) for name, own in named.items()}
    if isinstance(value, list | tuple):
        return [unshared(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return {"$literal": value.isoformat() if hasattr(value, "isoformat") else repr(value)}


def _unfit(params: Mapping[str, Any], error: Unfit) -> TaskFailed:
    path, name = params["path"], key_name(params["key"])
    return TaskFailed(
        f"{path}, key {name}: {error}",
        unchanged=[str(path)],
        next=["file.line and file.replace edit any text"],
    )


def key_name(key: Sequence[str]) -> str:
    """A key as one text: its names with dots between them, those with other characters in quotes."""
    import json

    return ".".join(name if _bare(name) else json.dumps(name, ensure_ascii=False) for name in key)


def _bare(name: str) -> bool:
    return bool(name) and all(char.isalnum() or char in "_-" for char in name)
