"""Why: Lua says what it stumbled over, in its own terms; what people of other languages meant is told beside it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_LONG = 2_000
"""Characters of a line that are looked at: nobody writes longer ones by hand."""
_WORDS = "Lua writes and, or, not in words"
_COMMENT = "a comment begins with -- in Lua"
_END = "a block above has no end of its own: if, for, while, function each need one"
_BLOCKS = "blocks are written in words: if … then … end, for … do … end, function(…) … end"
_SYNTAX = (
    # near what, in a line with what, and what to do
    (r"[-+*/=]", r"[-+*/]=", "Lua has no operators such as +=: write x = x + 1"),
    (r"[-+]|end|<eof>", r"\w(\+\+|--)", "Lua has no ++: write x = x + 1"),
    (r"\W", r"!=", "unequal is written ~= in Lua"),
    (r"\W", r"&&|\|\|", _WORDS),
    (r"\W", r"!", _WORDS),
    (r"#", r"^\s*#", _COMMENT),
    (r"//?|\*", r"^\s*(//|/\*|\*)", _COMMENT),
    (r"\?", r"\?.*:", "a choice is written in Lua: condition and one or other"),
    (r"=", r"\b(el)?(se)?if\b[^=~<>]*=[^=]", "equal is written == in a condition"),
    (r"[\"'].*|\w+|\{", r"^\s*[\"']?\w+[\"']?\s*:\s", "a field is written with = in Lua: name = value"),
    (r"\W", r"^\s*[\"']\w+[\"']\s*:", "a field is written with = in Lua: name = value"),
    (r"[)>]", r"\)\s*=>", "a function is written in Lua: function(…) … end"),
    (r"\W|\w+", r"\b(elif|else if)\b.*\bthen\b", "it is one word in Lua: elseif … then"),
    (r",", r"^\s*end\s*,", _END),
    (r"\}", r"^\s*\}\s*[),]", _END),
    (r",", r"\)\s*,\s*$", "a call that stands for itself has no comma after it"),
    (r"\{", r"\)\s*\{\s*$|\b(then|else|do|try)\s*\{", _BLOCKS),
    (r"\}", r"^\s*\}\s*(else.*)?$", _BLOCKS),
    (r"\w+", r"^\s*(let|var|const|my)\s+\w", "a variable is declared in Lua: local name = value"),
    (r"\w+", r"^\s*(def|func|fn)\s+\w", "a function is declared in Lua: local function name(…) … end"),
)
_EXPECTED = {
    "'end' expected": _END,
    "'then' expected": "a condition is written: if … then … end",
    "'do' expected": "a loop is written: for … do … end, while … do … end",
}
_CLOSE = r"^'\}' expected(?: \(to close '\{' at line (\d+)\))? near '(?![,;:)}])"
_LOOPS = r"\(for iterator 'for iterator'\)"
_INDEX = r"\(field '(\?|integer index)'\)"
_COMPARED = "^attempt to compare (number with string|string with number)"
_ARGUMENTS = ("this", "params", "deps")
LITERALS = {
    **dict.fromkeys(("None", "null", "NULL", "Null", "undefined", "NIL", "Nil"), "nil"),
    **dict.fromkeys(("True", "TRUE", "yes", "Yes", "YES", "on", "On"), "true"),
    **dict.fromkeys(("False", "FALSE", "no", "No", "NO", "off", "Off"), "false"),
}
"""What other languages write for nil, true and false. In Lua these are variables, which would silently be nil."""


def meant(message: str, near: str, source: str) -> list[str]:
    """What to do about a syntax error, as its ``next``: one line, or none."""
    source = source[:_LONG]
    for stumbled, line, said in _SYNTAX:
        if re.fullmatch(stumbled, near[:1] if stumbled == r"\W" else near) and re.search(line, source):
            return [said]
    for said, advised in _EXPECTED.items():
        if message.startswith(said):
            return [advised]
    table = re.search(_CLOSE, message)
    if table:
        place = f", begun on line {table.group(1)}," if table.group(1) else ""
        return [f"is there a comma missing before it? the fields of a table{place} are separated by commas"]
    return []


def advice(message: str, source: str) -> list[str]:
    """What to do about an error of Lua's while it ran, as its ``next``."""
    if re.search(_LOOPS, message):
        return [
            "a loop over a list: for _, item in ipairs(list) do … end",
            "over a table with names: for key, value in pairs(t) do … end",
        ]
    if re.search(_INDEX, message):
        return ["there is nothing at that place: lists begin at 1 in Lua, and #list is the last"]
    if re.search(_COMPARED, message):
        return ["a text is no number: tonumber(text) makes one of it, tostring(number) a text"]
    if "nil value" in message and "tonumber(" in source:
        return ["tonumber gives nil for what is no number: tonumber(x) or 0"]
    if found := re.search(r"nil value \(global '(\w+)'\)", message):
        if found.group(1) in _ARGUMENTS:
            return ["run gets it as an argument: run = function(this, params, deps) … end"]
        return []
    if re.search(r"nil value \(field '(length|len|size)'\)", message):
        return ["how many there are in a list, or how long a text is, says #: #list"]
    if found := re.search(r"nil value \(field '([^']+)'\)", message):
        return _missing(found.group(1), source[:_LONG])
    return []


def fails_by(name: str, source: str) -> bool:
    """Whether a line fails at once because ``name`` is nil: it is called, indexed or joined to a text there, and the
    error says so."""
    word = re.escape(name)
    return re.search(rf"(?<![\w.:]){word}\s*[(.:\[{{\"']|\.\.\s*{word}(?!\w)", source) is not None


def expected(name: str, source: str) -> bool:
    """Whether a line asks if ``name`` is set, or has a default for it: whoever wrote it knows that it may not be."""
    word = rf"(?<![\w.:]){re.escape(name)}"
    asked = rf"{word}\s*(or\b|[=~]=\s*nil\b)|\bnil\s*[=~]=\s*{word}\b|\btype\s*\(\s*{word}\b|(?<!\w)_G\b"
    return re.search(asked, source) is not None


def declared(lines: Iterable[str]) -> set[str]:
    """The names of variables that a file declares."""
    found: set[str] = set()
    for line in lines:
        for names in re.findall(r"\blocal\s+(?:function\s+)?(\w+(?:\s*,\s*\w+)*)", line):
            found.update(re.split(r"\s*,\s*", names))
    return found


def _missing(field: str, source: str) -> list[str]:
    """What a field of a table that is there without anybody's doing lacks."""
    owner = re.search(rf"\b(deps|env|params)((?:\.\w+)*)\.{re.escape(field)}\b", source)
    if owner is None:
        return []
    path = (owner.group(2) + "." + field)[1:]
    match owner.group(1):
        case "env":
            return [f"the variable {path} is not set; env({path!r}, 'default') has a default"]
        case "deps":
            task = path.split(".")[0]
            said = f"deps.{task} is what the task {task} returned"
            return [f"{said}: it is named in depends_on, and returns a table"]
    return ["params are the task's own, and its run's second argument: run = function(this, params) … end"]


def stray(source: str) -> tuple[int, str, str] | None:
    """The first character of a line that Lua knows only in texts: where it is (from 0), what is said, what to do."""
    outside = re.sub(
        r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])*'|--.*", lambda text: " " * len(text.group()), source[:_LONG]
    )
    for at, char in enumerate(outside):
        if char.isascii() or char.isalnum() or unicodedata.category(char) == "Cs":
            continue
        name = unicodedata.name(char, "of no name").lower()
        said = f"there is a character that Lua does not know here: U+{ord(char):04X}, {name}"
        return at, said, _instead(char)
    return None


def _instead(char: str) -> str:
    if "quotation mark" in unicodedata.name(char, "").lower():
        return "write \" or '"
    if unicodedata.category(char) == "Pd":
        return "write - or --"
    return "write a blank" if char.isspace() else "take it out"
