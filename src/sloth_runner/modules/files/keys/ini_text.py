"""Why: INI files have no common definition, so only the line of the key is edited.

A key is (section, name), or (name,) for what stands before the first section. Lines are "name = value", "name: value"
or a lone "name" (an empty value), perhaps indented; "#" and ";" begin a comment where they begin a line. The value is
all that follows, as text: also what some programs take for a comment behind it. Of a name that stands in a section
more than once the last one counts. To some programs a line without a sign that stands further in than the one above
is the rest of its value: that can't be told from the file, so a name with such a line below it is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sloth_runner.modules.files.keys import Unfit
from sloth_runner.modules.files.lines import Line, insert, join, remove, replaced, split
from sloth_runner.plain import Any, NamedTuple

_SECTION = re.compile(r"\s*\[(.*)\]\s*(?:[#;].*)?$")
_PAIR = re.compile(r"(\s*)([^\s=:][^=:]*?)(\s*)(?:([=:])(\s*)(.*))?$")


class _Pair(NamedTuple):
    """A line with a name: what stands before its value, and that."""

    section: str | None
    name: str
    number: int
    start: str
    value: str


def _pairs(lines: Sequence[Line]) -> list[_Pair]:
    section: str | None = None
    found = []
    for number, line in enumerate(lines):
        header = _SECTION.match(line.text)
        if header is not None:
            section = header[1].strip()
        elif line.text.strip() and line.text.lstrip()[0] not in "#;":
            pair = _PAIR.match(line.text)
            if pair is not None:
                space, name, gap, sign, after, value = pair.groups()
                start = f"{space}{name}{gap}{sign or ''}{after or ''}"
                found.append(_Pair(section, name, number, start, (value or "").rstrip()))
    return found


def _split_key(key: Sequence[str]) -> tuple[str | None, str]:
    if len(key) > 2:
        raise Unfit('an INI file has sections and names in them, no more: key = {"section", "a.name"}')
    return (key[0], key[1]) if len(key) == 2 else (None, key[0])


def _headers(lines: Sequence[Line], section: str | None) -> list[int]:
    """The numbers of the lines that begin a section."""
    found = [(number, _SECTION.match(line.text)) for number, line in enumerate(lines)]
    return [number for number, header in found if header is not None and header[1].strip() == section]


def _own(lines: Sequence[Line], key: Sequence[str]) -> list[_Pair]:
    section, name = _split_key(key)
    return [pair for pair in _pairs(lines) if (pair.section, pair.name) == (section, name)]


def find(text: str, key: Sequence[str]) -> tuple[Any, ...]:
    """The value, in a tuple; of a section, an empty table if it has no names."""
    lines = split(text)
    if len(key) == 1 and not _own(lines, key) and _headers(lines, key[0]):
        return ({pair.name: pair.value for pair in _pairs(lines) if pair.section == key[0]},)
    own = _own(lines, key)
    return (own[-1].value,) if own else ()


def depth(text: str, key: Sequence[str]) -> int:
    """1 if the section is there (or needs not be)."""
    section, _ = _split_key(key)
    return 1 if section is not None and _headers(split(text), section) else 0


def put(text: str, key: Sequence[str], value: Any) -> str:
    """The value behind the name, or a new line after the last one of its section."""
    section, name = _split_key(key)
    words = written(value)
    if not _PAIR.match(f"{name}=") or name != name.strip() or name[0] in "#;[":
        raise Unfit(f"{name!r} can't be a name in an INI file")
    lines = split(text)
    own = _own(lines, key)
    if own:
        last = own[-1]
        _refuse_more(lines, last)
        sign = "" if re.search(r"[=:]\s*$", last.start) else " = "
        return join(replaced(lines, last.number, last.start + sign + words))
    line = _like(lines, section, name) + words
    at = _end(lines, section)
    if at is None:
        gap = [""] if lines else []
        return join(insert(lines, len(lines), [*gap, f"[{section}]", line]))
    return join(insert(lines, at, [line]))


def drop(text: str, key: Sequence[str]) -> str:
    """All lines with that name go; of a section, its header, and the empty line before it."""
    lines = split(text)
    own = _own(lines, key)
    if own:
        for pair in own:
            _refuse_more(lines, pair)
        return join(remove(lines, [pair.number for pair in own]))
    headers = _headers(lines, key[0])
    if headers and headers[0] and not lines[headers[0] - 1].text.strip():
        headers.append(headers[0] - 1)
    return join(remove(lines, headers))


def _refuse_more(lines: Sequence[Line], pair: _Pair) -> None:
    """Raise Unfit if what stands below a name may be the rest of its value."""
    texts = [line.text for line in lines[pair.number : pair.number + 2]]
    below = texts[1].strip() if len(texts) == 2 else ""
    alone = bool(below) and below[0] not in "#;[" and not re.search("[=:]", below)
    if alone and _indent(texts[1]) > _indent(texts[0]):
        raise Unfit(
            f"the value of {pair.name!r} may go on in line {pair.number + 2}, which stands further in: "
            "move that line out, or edit it with file.block or file.replace"
        )


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def _end(lines: Sequence[Line], section: str | None) -> int | None:
    """Where a new line of a section goes; None if there is no such section."""
    headers = _headers(lines, section)
    if section is not None and not headers:
        return None
    last = headers[-1] if headers else -1
    for pair in _pairs(lines):
        if pair.section == section and pair.number > last:
            last = pair.number
    return last + 1


def _like(lines: Sequence[Line], section: str | None, name: str) -> str:
    """What stands before a new value: written as in the nearest line that has a value."""
    pairs = [pair for pair in _pairs(lines) if pair.start.rstrip().endswith(("=", ":"))]
    near = [pair for pair in pairs if pair.section == section] or pairs
    if not near:
        return f"{name} = "
    return near[-1].start.replace(near[-1].name, name, 1)


def written(value: Any) -> str:
    """A value as text. Raises Unfit for what an INI file can't hold."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        text = str(value)
        if text != text.strip() or any(char in text for char in "\n\r"):
            raise Unfit("a value in an INI file is one line, without space around it")
        return text
    raise Unfit("a value in an INI file is a text, a number, true or false")


def values(text: str) -> Any:
    """Sections and what is in them; names before the first one stand beside."""
    lines = split(text)
    data: dict[str, Any] = {}
    for line in lines:
        header = _SECTION.match(line.text)
        if header is not None:
            data.setdefault(header[1].strip(), {})
    for pair in _pairs(lines):
        if pair.section is None and isinstance(data.get(pair.name), dict):
            raise Unfit(f"{pair.name!r} is both a section and a name before the first one")
        if pair.section is None:
            data[pair.name] = pair.value
        else:
            data[pair.section][pair.name] = pair.value
    return data


def is_empty(text: str) -> bool:
    """Whether there is nothing but space."""
    return not text.strip()
