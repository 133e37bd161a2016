"""Why: what a task file passes to a module is what the module expects, or is refused with what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from sloth_runner.errors import BadArgument, BadField
from sloth_runner.modules.arguments import When, all_types, check, shown
from sloth_runner.modules.base import Arg

DIGEST = "ab" * 32
TAKEN: list[tuple[str, Any, Any]] = [
    ("line", "x ", "x "),
    ("path", "/", "/"),
    ("path", "/a//b/./c/", "/a/b/c"),
    ("path", "/a..b", "/a..b"),
    ("file path", "/a//b", "/a/b"),
    ("boolean", False, False),
    ("integer", 3.0, 3),
    ("integer", -1, -1),
    ("count", 0, 0),
    ("mode", "644", 0o644),
    ("mode", "0000", 0),
    ("mode", "07777", 0o7777),
    ("mode", "01234567"[:4], 0o123),
    ("copied mode", "source", "source"),
    ("copied mode", "0600", 0o600),
    ("owner", 0, "0"),
    ("owner", "www-data", "www-data"),
    ("strings", "one", ("one",)),
    ("strings", {}, ()),
    ("strings", ["a", "b"], ("a", "b")),
    ("argv", ["ls", "-l", 3, 0.5, ""], ("ls", "-l", "3", "0.5", "")),
    ("variables", {"A_1": "x", "b": 2}, {"A_1": "x", "b": "2"}),
    ("vars", {"a": [1]}, {"a": [1]}),
    ("text line", "", ""),
    ("regexp", "^a+$", "^a+$"),
    ("state", "absent", "absent"),
    ("validate", "nginx -t -c '%s'", ("nginx", "-t", "-c", "%s")),
    ("validate", ["test", "-f", "x%s"], ("test", "-f", "x%s")),
    ("key", "a.b", "a.b"),
    ("key", ["a", "b.c"], ("a", "b.c")),
    ("sha256", f"sha256:{DIGEST.upper()}", DIGEST),
    ("acl", {"user:ann": "wr", "default:group:dev": False}, {"user:ann": "rw-", "default:group:dev": None}),
    ("acl", {"group:a": "x-r-w"}, {"group:a": "rwx"}),
    ("acl", {"group:a": "-"}, {"group:a": "---"}),
    ("when", True, True),
    ("when", {"exit_codes": [0, 3.0]}, When(frozenset({0, 3}))),
    ("when", {"exit_codes": {}, "stdout": "a", "stderr": "b"}, When(frozenset(), "a", "b")),
]
REFUSED: list[tuple[str, Any, str]] = [
    ("line", " \n", "is empty"),
    ("line", 5, "is a string, not 5"),
    ("string", "a\0", r"can't hold a NUL byte: 'a\\x00'"),
    ("path", "a/b", "is an absolute path on the target"),
    ("path", "/a/../b", "is a path without '..'"),
    ("path", "/a/..", "is a path without '..'"),
    ("file path", "/a/", "name the file itself, not only its folder '/a/'"),
    ("file path", "/a/.", "name the file itself"),
    ("boolean", 1, "is true or false, not 1"),
    ("integer", True, "is a whole number, not true"),
    ("integer", 1.5, "is a whole number, not 1.5"),
    ("integer", "1", "is a whole number, not '1'"),
    ("count", -1, "is no negative number, as -1 is"),
    ("mode", "64", "is octal text such as"),
    ("mode", "006440", "is octal text such as"),
    ("mode", "0648", "is octal text such as"),
    ("mode", "17777", "is octal text such as"),
    ("mode", 644, 'write "0644", because 644 is a decimal number in Lua'),
    ("mode", 420.0, r'"0644", in a file of values in quotes, too, not 420.0'),
    ("mode", 489, "in quotes, too, not 489"),
    ("mode", False, "is octal text such as"),
    ("mode", {}, '"0644", not a table'),
    ("owner", -1, "is a string, not -1"),
    ("owner", True, "is a string, not true"),
    ("owner", "a b", "is one name or number"),
    ("owner", "a:b", "is one name or number"),
    ("owner", "a/b", "is one name or number"),
    ("strings", 5, "is a list of strings, not 5"),
    ("strings", ["a", ""], "is empty"),
    ("argv", "ls -l", 'is a list such as {"ls", "-l"}, not'),
    ("argv", [""], "begins with the program's name, which is empty here"),
    ("argv", ["x", True], "is a string, not true"),
    ("variables", "A=1", "is a table of names and texts"),
    ("variables", {"1a": "x"}, "'1a', which can't name a variable"),
    ("variables", {"ä": "x"}, "which can't name a variable"),
    ("vars", ["a"], "not a table with others"),
    ("vars", "a", "not 'a'"),
    ("text line", "a\nb", "is one line"),
    ("text line", "a\rb", "is one line"),
    ("regexp", "(", "is a regular expression"),
    ("state", "gone", 'is "present" or "absent", not \'gone\''),
    ("state", {}, 'is "present" or "absent", not a table'),
    ("validate", "nginx -t", "holds %s"),
    ("validate", "'%s", "is a command such as"),
    ("sha256", DIGEST[1:], "64 hexadecimal digits"),
    ("sha256", "xy" * 32, "64 hexadecimal digits"),
    ("acl", "user:ann=rw", "is a table such as"),
    ("acl", {"user:": "r"}, "is neither user:NAME nor group:NAME"),
    ("acl", {"other:a": "r"}, "is neither user:NAME nor group:NAME"),
    ("acl", {"user:a,b": "r"}, "is neither user:NAME nor group:NAME"),
    ("acl", {"user:a b": "r"}, "is neither user:NAME nor group:NAME"),
    ("acl", {"user:a": ""}, "permissions are letters of rwx"),
    ("acl", {"user:a": True}, "permissions are letters of rwx"),
    ("acl", {"user:a": 7}, "permissions are letters of rwx"),
    ("when", {}, "is true, false, or"),
    ("when", {"exit_code": [0]}, "is true, false, or"),
    ("when", {"exit_codes": 0}, "is true, false, or"),
    ("when", "x", "is true, false, or"),
    ("when", {"stdout": "("}, "is a regular expression"),
]


@pytest.mark.parametrize(("type_", "given", "taken"), TAKEN)
def test_what_is_taken(type_: str, given: Any, taken: Any) -> None:
    found = all_types()[type_](given)
    assert (found, type(found)) == (taken, type(taken))


@pytest.mark.parametrize(("type_", "given", "words"), REFUSED)
def test_what_is_refused(type_: str, given: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        all_types()[type_](given)
    assert words.replace("\\\\", "\\") in str(caught.value)


ARGS = (Arg("path", "path", "where", required=True), Arg("count", "count", "how many", default=3))


def test_arguments_are_completed_and_what_is_nil_is_not_there() -> None:
    assert check("f", ARGS, {"path": "/a"}, {}) == {"path": "/a", "count": 3}
    assert check("f", ARGS, {"path": "/a", "count": 0}, {}) == {"path": "/a", "count": 0}


@pytest.mark.parametrize(
    ("raw", "error", "words", "advice"),
    [
        ({}, BadArgument, "f needs path: where", ""),
        ({"path": "a"}, BadArgument, "f: path is an absolute path", ""),
        ({"pth": "/a"}, BadField, "f has no argument 'pth'; it takes path, count", "path"),
        ({"path": "/a", "cont": 1}, BadField, "f has no argument 'cont'; it takes path, count", "count"),
        ({"path": "/a", "size": 1}, BadField, "f has no size: it grows", ""),
    ],
)
def test_what_is_not_among_them_is_told(
    raw: dict[str, Any], error: type[BadArgument], words: str, advice: str
) -> None:
    with pytest.raises(error) as caught:
        check("f", ARGS, raw, {"size": "it grows"})
    assert words in caught.value.message
    assert advice in " ".join(caught.value.next)
    assert list(caught.value.unchanged) == ["this call changed nothing"]


def test_values_are_shown_short() -> None:
    values: tuple[object, ...] = (True, False, 1.5, {}, "a")
    assert [shown(value) for value in values] == [
        "true",
        "false",
        "1.5",
        "a table",
        "'a'",
    ]
    assert shown("x" * 58) == repr("x" * 58)
    assert shown("x" * 59) == f"'{'x' * 56}…'"
    assert shown("\u202e") == r"'\u202e'"
