"""Why: a JSON text is edited where the value stands; all other bytes stay."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from sloth_runner.modules.files.keys import Literal, Unfit
from sloth_runner.plain import Any, NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")


class _Member(NamedTuple):
    """Where one member of an object stands: key from ``start``, its value from ``value`` to ``end``."""

    key: str
    start: int
    value: int
    end: int


class _Object(NamedTuple):
    """An object from ``start`` ("{") to ``end`` (after "}")."""

    start: int
    end: int
    members: list[_Member]


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def values(text: str) -> Any:
    """The data; an object for a text with nothing in it."""
    if is_empty(text):
        return {}
    return _parsed(text)


def is_empty(text: str) -> bool:
    """Whether there is nothing, or an empty object."""
    return "".join(text.split()) in ("", "{}")


def _parsed(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise Unfit("an object in it names a key twice")
        return made

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is no JSON: {error}") from error


def _object(text: str, at: int) -> _Object | None:
    """The object that begins at ``at`` in a text that is JSON; None for another value."""
    at = _skip(text, at)
    if text[at] != "{":
        return None
    start, members, decoder = at, [], json.JSONDecoder()
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, after = decoder.raw_decode(text, at)
        value = _skip(text, _skip(text, after) + 1)
        _, end = decoder.raw_decode(text, value)
        members.append(_Member(key, at, value, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return _Object(start, at + 1, members)


def _walk(text: str, key: Sequence[str]) -> tuple[list[_Object], _Member | None]:
    """The objects on the way to a key, as far as they are there; and its member."""
    _parsed(text)
    at, objects = 0, []
    for number, name in enumerate(key):
        here = _object(text, at)
        if here is None:
            raise Unfit(f"{'.'.join(key[:number]) or 'what it holds'} is no object")
        objects.append(here)
        member = next((one for one in here.members if one.key == name), None)
        if member is None:
            return objects, None
        if number == len(key) - 1:
            return objects, member
        at = member.value
    return objects, None


def find(text: str, key: Sequence[str]) -> tuple[Any, ...]:
    """The value, in a tuple."""
    _, member = _walk(text if text.strip() else "{}", key)
    return () if member is None else (json.loads(text[member.value : member.end]),)


def depth(text: str, key: Sequence[str]) -> int:
    """How many of the names are there."""
    objects, member = _walk(text if text.strip() else "{}", key)
    return len(objects) - (member is None)


def put(text: str, key: Sequence[str], value: Any) -> str:
    """The value in its place, or a new member after the last one of its object."""
    if not text.strip():
        text = "{}\n"
    objects, member = _walk(text, key)
    indent = _indent(text)
    if member is not None:
        written = _written(value, indent, _margin(text, member.start), _newline(text))
        return text[: member.value] + written + text[member.end :]
    here = objects[-1]
    for name in reversed(key[len(objects) :]):
        value = {name: value}
    name = key[len(objects) - 1]
    margin = _margin(text, here.start)
    if not here.members:
        between, close = _newline(text) + margin + (indent or "  "), _newline(text) + margin
        made = _member(name, value, indent or "  ", margin + (indent or "  "), _newline(text))
        return text[: here.start] + "{" + between + made + close + "}" + text[here.end :]
    last = here.members[-1]
    between = text[here.start + 1 : here.members[0].start]
    if len(here.members) > 1:
        between = text[text.index(",", here.members[-2].end) + 1 : last.start]
    made = _member(name, value, indent if "\n" in between else "", _margin(text, last.start), _newline(text))
    return text[: last.end] + "," + between + made + text[last.end :]


def drop(text: str, key: Sequence[str]) -> str:
    """The member and one comma taken away."""
    objects, member = _walk(text, key)
    assert member is not None
    here = objects[-1]
    number = here.members.index(member)
    if len(here.members) == 1:
        return text[: here.start] + "{}" + text[here.end :]
    if number:
        return text[: here.members[number - 1].end] + text[member.end :]
    return text[: member.start] + text[here.members[1].start :]


def _member(name: str, value: Any, indent: str, margin: str, newline: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)}: {_written(value, indent, margin, newline)}"


def _written(value: Any, indent: str, margin: str, newline: str) -> str:
    if isinstance(value, Literal):
        raise Unfit(f"JSON has no value {value.text}")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent or None)
    return text.replace("\n", newline + margin)


def _indent(text: str) -> str:
    found = re.search(r"\n([ \t]+)\"", text)
    return found[1] if found else ""


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _margin(text: str, at: int) -> str:
    """The space that begins the line in which ``at`` stands."""
    start = text.rfind("\n", 0, at) + 1
    found = re.match(r"[ \t]*", text[start:])
    return found[0] if found else ""
