"""Why: what a call is given can be told before anything runs where it stands there literally; all else is left open.

This reads no more of Lua than that: the text is taken for one that compiles.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from sloth_runner.lua.source import TEXTS
from sloth_runner.plain import Any, NamedTuple

_TOKEN = re.compile(TEXTS + r"| [A-Za-z_]\w* | \d[\w.]* | \.+ | ::? | [=~<>]= | \S", re.DOTALL | re.VERBOSE)
_LONG = re.compile(r"\[(=*)\[(?:\r?\n)?(.*)\]\1\]", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_OPENING, _CLOSING = ("(", "[", "{", "function", "if", "do", "repeat"), (")", "]", "}", "end", "until")
_WORDS = {"true": True, "false": False, "nil": None}
_KEYWORDS = frozenset(
    [
        *(
            "and",
            "break",
            "do",
            "else",
            "elseif",
            "end",
            "false",
            "for",
            "function",
            "goto",
            "if",
            "in",
            "local",
        ),
        *("nil", "not", "or", "repeat", "return", "then", "true", "until", "while"),
    ]
)
_BY_NAME = frozenset(("_G", "_ENV", "rawset", "load"))
"""What may make globals under names that are not written anywhere."""


class _Open:
    """What stands there is no literal."""

    def __repr__(self) -> str:
        return "OPEN"


OPEN: Any = _Open()


class Written(NamedTuple):
    """A call with one table: its fields by name, OPEN where they are no literals. ``computed``: there may be further
    fields, whose names are no literals; ``unnamed``: there are values without a name."""

    name: str
    line: int
    fields: Mapping[str, Any]
    computed: bool
    unnamed: bool


class _Token(NamedTuple):
    text: str
    line: int


class _Table(NamedTuple):
    fields: dict[str, Any]
    items: list[Any]
    computed: bool
    end: int


def written_calls(text: str, names: Collection[str]) -> Iterator[Written]:
    """The calls of functions with these names (dotted) that are given one table. A function of a name that the text
    binds to something else anywhere (a variable, a parameter) is not looked at."""
    tokens = _tokens(text)
    bound = _bound(tokens)
    roots = {name.partition(".")[0] for name in names} - bound
    for at, token in enumerate(tokens):
        if token.text not in roots or (at and tokens[at - 1].text in (".", ":", "function", "goto")):
            continue
        name, after = _dotted(tokens, at)
        inner = after + (tokens[after].text == "(")
        if name not in names or tokens[inner].text != "{":
            continue
        table = _table(tokens, inner)
        if inner == after or tokens[table.end].text == ")":
            yield Written(name, token.line, table.fields, table.computed, bool(table.items))


def called_globals(texts: Collection[str]) -> Iterator[tuple[int, str, int]]:
    """The calls of globals that none of the texts makes, nor asks for otherwise: the number of the text (from 0), the
    name (dotted), the line."""
    every = [_tokens(text) for text in texts]
    if any(map(_makes_others, every)):
        return
    bound = set().union(*map(_bound, every))
    calls = [(number, *call) for number, tokens in enumerate(every) for call in _calls(tokens)]
    asked = {root for tokens in every for root in _asked(tokens)}
    for number, name, line in calls:
        if name.partition(".")[0] not in bound | asked:
            yield number, name, line


def _makes_others(tokens: Sequence[_Token]) -> bool:
    """Whether there may be globals later of which nothing is written here."""
    return any(
        token.text in _BY_NAME or (token.text == "require" and "function" in groups)
        for token, groups in _grouped(tokens)
    )


def _grouped(tokens: Sequence[_Token]) -> Iterator[tuple[_Token, list[str]]]:
    """Each token, and the brackets and blocks that are open there."""
    groups: list[str] = []
    for token in tokens:
        yield token, groups
        if token.text in _OPENING:
            groups.append(token.text)
        elif token.text in _CLOSING and groups:
            groups.pop()


def _calls(tokens: Sequence[_Token]) -> Iterator[tuple[str, int]]:
    for at, token in _roots(tokens):
        name, after = _dotted(tokens, at)
        if tokens[after].text[:1] in ("(", "{", "'", '"') or _LONG.fullmatch(tokens[after].text):
            yield name, token.line


def _asked(tokens: Sequence[_Token]) -> Iterator[str]:
    """The names that stand alone somewhere: whoever asks if there is such a thing knows that there may be none."""
    for at, token in _roots(tokens):
        if tokens[at + 1].text not in (".", ":", "(", "{") and tokens[at + 1].text[:1] not in ("'", '"', "["):
            yield token.text


def _roots(tokens: Sequence[_Token]) -> Iterator[tuple[int, _Token]]:
    """The names that are no fields, and no keys of a table."""
    for at, token in enumerate(tokens):
        before = tokens[at - 1].text if at else ""
        if not _is_name(token.text) or token.text in _KEYWORDS or before in (".", ":", "goto", "::"):
            continue
        if tokens[at + 1].text != "=" or before not in ("{", ",", ";"):
            yield at, token


def _tokens(text: str) -> list[_Token]:
    """All but comments; the last ones are empty, so that there is always a next one."""
    found = []
    line, at = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        if not match.group().startswith("--"):
            found.append(_Token(match.group(), line))
    return [*found, *[_Token("", line)] * 5]


def _dotted(tokens: Sequence[_Token], at: int) -> tuple[str, int]:
    """The dotted name that begins there, and where it ends."""
    name, at = tokens[at].text, at + 1
    while tokens[at].text == "." and _is_name(tokens[at + 1].text):
        name, at = f"{name}.{tokens[at + 1].text}", at + 2
    return name, at


def _is_name(text: str) -> bool:
    return text[:1].isalpha() or text[:1] == "_"


def _table(tokens: Sequence[_Token], at: int) -> _Table:
    """The table that begins there; ``end`` is behind it."""
    fields: dict[str, Any] = {}
    items: list[Any] = []
    computed = False
    at += 1
    while tokens[at].text not in ("}", ""):
        key, at = _key(tokens, at)
        value, at = _value(tokens, at)
        if key is OPEN:
            computed = True
        elif key is None:
            items.append(value)
        elif value is not None:
            fields[key] = value
        at += tokens[at].text in (",", ";")
    return _Table(fields, items, computed, at + 1)


def _key(tokens: Sequence[_Token], at: int) -> tuple[Any, int]:
    """The key of a field (OPEN: it is computed; None: there is none), and where its value begins."""
    if _is_name(tokens[at].text) and tokens[at + 1].text == "=":
        return tokens[at].text, at + 2
    if tokens[at].text == "[":
        key = _literal(tokens[at + 1].text) if tokens[at + 2].text == "]" else OPEN
        return (key if isinstance(key, str) else OPEN), _behind(tokens, at + 1, ("]",)) + 2
    return None, at


def _value(tokens: Sequence[_Token], at: int) -> tuple[Any, int]:
    """What stands up to the next comma, and where that is."""
    end = _behind(tokens, at, (",", ";", "}"))
    if tokens[at].text == "{":
        table = _table(tokens, at)
        if table.end == end:
            return _of_table(table), end
    if end == at + 1:
        return _literal(tokens[at].text), end
    if end == at + 2 and tokens[at].text == "-":
        number = _literal(tokens[at + 1].text)
        return (-number if type(number) in (int, float) else OPEN), end
    return OPEN, end


def _behind(tokens: Sequence[_Token], at: int, ends: Collection[str]) -> int:
    """Where the first of these is that stands in no brackets and no block that begins on the way."""
    depth = 0
    while tokens[at].text and (depth or tokens[at].text not in ends):
        depth += (tokens[at].text in _OPENING) - (tokens[at].text in _CLOSING)
        at += 1
    return at


def _of_table(table: _Table) -> Any:
    """A table as a call would meet it, if all of it is known."""
    inner = [*table.fields.values(), *table.items]
    if table.computed or any(one is OPEN or one is None for one in inner) or (table.fields and table.items):
        return OPEN
    return table.items or table.fields


def _literal(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] in ("'", '"'):
        unknown = [one for one in re.findall(r"\\(.)", text, re.DOTALL) if one not in _ESCAPES]
        return OPEN if unknown else re.sub(r"\\(.)", lambda found: _ESCAPES[found[1]], text[1:-1])
    if long := _LONG.fullmatch(text):
        return long[2]
    for number in (int, float):
        try:
            return number(text) if text[:1].isdigit() and "_" not in text else OPEN
        except ValueError:
            continue
    return OPEN


def _bound(tokens: Sequence[_Token]) -> set[str]:
    """The names that the text itself gives a meaning: variables, parameters, functions."""
    found: set[str] = set()
    for at, (token, groups) in enumerate(_grouped(tokens)):
        if token.text in ("local", "for"):
            found.update(_names(tokens, at + 1 + (tokens[at + 1].text == "function")))
        elif token.text == "function":
            head = _dotted(tokens, at + 1)[1] if _is_name(tokens[at + 1].text) else at + 1
            found.update((tokens[at + 1].text, *_names(tokens, head + 1)))
        elif _is_name(token.text) and tokens[at + 1].text == "=" and groups[-1:] != ["{"]:
            root = at
            while root > 1 and tokens[root - 1].text == ".":  # who gives a table a field may give it others
                root -= 2
            found.add(tokens[root].text)
    return found


def _names(tokens: Sequence[_Token], at: int) -> Iterator[str]:
    """The names there, with commas between; one may have an attribute."""
    while _is_name(tokens[at].text):
        yield tokens[at].text
        at += 4 if tokens[at + 1].text == "<" else 1
        at += tokens[at].text == ","
        if tokens[at - 1].text != ",":
            return
