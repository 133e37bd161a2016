"""Why: what an argument can be is checked by a function; for editors and pages it also needs a type and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class ArgType(NamedTuple):
    """A type of arguments: as lua-language-server writes it, and in words."""

    lua: str
    words: str


TYPES: Final[Mapping[str, ArgType]] = {
    "string": ArgType("string", "text without NUL bytes"),
    "line": ArgType("string", "text that is not blank"),
    "content": ArgType("string", "any text, byte for byte"),
    "path": ArgType("string", "an absolute path on the target, without .."),
    "file path": ArgType("string", "an absolute path on the target that names a file, not only its folder"),
    "boolean": ArgType("boolean", "true or false"),
    "mode": ArgType("string", 'octal text such as "0644"'),
    "owner": ArgType("string|integer", "a name or a number"),
    "strings": ArgType("string|string[]", "a string or a list of strings"),
    "argv": ArgType("(string|number)[]", "a list: a program and its arguments"),
    "variables": ArgType("table<string, string|number>", "a table of names and texts"),
    "vars": ArgType("table<string, any>", "a table with text keys"),
    "changed_when": ArgType("boolean|{exit_codes: integer[]}", "true, false, or {exit_codes = {…}}"),
    "duration": ArgType("sloth.Duration", 'seconds, or text such as "30s", "5m"'),
}
"""The types of arguments by their names in ``modules.arguments.TYPES``; a test holds the two together."""
