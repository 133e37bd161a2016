"""Why: what a task file passes to a module is checked here once, so that no module meets a wrong type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sloth_runner.errors import BadArgument, BadField
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.modules.base import Arg, Module

NOTHING = ("this call changed nothing",)
FURTHER = ("remote_types", "system.types", "databases.types", "certificate_types")
"""Files with types of arguments that only some modules have; they are loaded when one of those is called."""


def check_args(module: Module, raw: Mapping[str, Value]) -> dict[str, Any]:
    """The module's arguments: checked, converted, and completed with their defaults.

    Raises BadField for a name the module does not have, BadArgument for a value it can't have.
    """
    return check(module.name, module.args, raw, module.refused)


def check(
    function: str, args: Sequence[Arg], raw: Mapping[str, Value], refused: Mapping[str, str]
) -> dict[str, Any]:
    """The same for any function that takes one table."""
    checked: dict[str, Any] = {}
    met = 0
    for arg in args:
        value = raw.get(arg.name)
        if value is not None:
            met += 1
            try:
                checked[arg.name] = (TYPES.get(arg.type) or type_of(arg.type))(value)
            except ValueError as error:
                raise BadArgument(f"{function}: {arg.name} {error}", unchanged=NOTHING) from None
        elif arg.required:
            refuse_unknown(function, args, raw, refused)
            raise BadArgument(
                f"{function} needs {arg.name}: {arg.doc}",
                unchanged=NOTHING,
                next=["user says as whom the call acts; say account = … for whom it is about"]
                * (arg.name == "account"),
            )
        else:
            checked[arg.name] = arg.default
    if met != len(raw):
        refuse_unknown(function, args, raw, refused)
    return checked


def type_of(name: str) -> Callable[[object], Any]:
    """The check of a type of arguments. Raises KeyError."""
    return TYPES.get(name) or all_types()[name]


def all_types() -> dict[str, Callable[[object], Any]]:
    """All types of arguments, also those that only some modules have."""
    from importlib import import_module

    found = dict(TYPES)
    for file in FURTHER:
        found.update(import_module(f"sloth_runner.modules.{file}").TYPES)
    return found


def refuse_unknown(
    function: str, args: Sequence[Arg], raw: Mapping[str, Value], refused: Mapping[str, str]
) -> None:
    """Raise BadField for a name that is none of these arguments."""
    known = [arg.name for arg in args]
    for name in raw:
        if name not in known:
            raise _unknown(function, known, name, refused)


def _unknown(function: str, known: Sequence[str], name: str, refused: Mapping[str, str]) -> BadField:
    from sloth_runner.modules.described import COMMON
    from sloth_runner.modules.habits import ARGUMENTS
    from sloth_runner.names import did_you_mean

    refused = {**ARGUMENTS, **refused}
    if name in refused:
        return BadField(f"{function} has no {name}: {refused[name]}", unchanged=NOTHING)
    return BadField(
        f"{function} has no argument {name!r}; it takes {', '.join(known)}",
        unchanged=NOTHING,
        next=did_you_mean(str(name), [*known, *(arg.name for arg in COMMON)]),
    )


def shown(value: object) -> str:
    """A value as an error message shows it: short, and of a table only that it is one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = ascii(value) if not value.isprintable() else repr(value)
        return text if len(text) <= 60 else text[:57] + "…" + text[-1]
    return str(value) if isinstance(value, int | float) else "a table"


def _content(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is a string, not {shown(value)}")
    return value


def _string(value: object) -> str:
    text = _content(value)
    if "\0" in text:
        raise ValueError(f"can't hold a NUL byte: {shown(text)}")
    return text


def _line(value: object) -> str:
    text = _string(value)
    if not text.strip():
        raise ValueError("is empty")
    return text


def _path(value: object) -> str:
    text = _string(value)
    if not text.startswith("/"):
        raise ValueError(f"is an absolute path on the target (it begins with /), not {shown(text)}")
    if "//" not in text and "/." not in text and text[-1] != "/":
        return text
    if ".." in text.split("/"):
        raise ValueError(f"is a path without '..', not {shown(text)}")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


def _file_path(value: object) -> str:
    text = _path(value)
    if isinstance(value, str) and value.endswith(("/", "/.")):
        raise ValueError(f"is the path of a file: name the file itself, not only its folder {shown(value)}")
    return text


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is true or false, not {shown(value)}")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValueError(f"is a whole number, not {shown(value)}")
    return int(value)


def _mode(value: object) -> int:
    if isinstance(value, str) and 3 <= len(value) <= 5 and set(value) <= set("01234567"):
        number = int(value, 8)
        if number <= 0o7777:
            return number
    hint = '"0644"'
    if isinstance(value, int) and not isinstance(value, bool) and set(str(value)) <= set("01234567"):
        hint = f'"{value:04d}"'
        raise ValueError(f"is octal text: write {hint}, because {value} is a decimal number in Lua")
    quoted = ", in a file of values in quotes, too" if isinstance(value, int | float) else ""
    raise ValueError(f"is octal text such as {hint}{quoted}, not {shown(value)}")


def _owner(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    text = _line(value)
    if any(c.isspace() or c in ":/" for c in text):
        raise ValueError(f"is one name or number, not {shown(text)}")
    return text


def _strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_line(value),)
    if value == {}:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"is a list of strings, not {shown(value)}")
    return tuple(_line(item) for item in value)


def _argv(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f'is a list such as {{"ls", "-l"}}, not {shown(value)}')
    words = tuple(_word(item) for item in value)
    if not words[0]:
        raise ValueError("begins with the program's name, which is empty here")
    return words


def _word(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _string(value)


def _variables(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"is a table of names and texts, not {shown(value)}")
    for name in value:
        if not name.isascii() or not name.isidentifier():
            raise ValueError(f"holds {shown(name)}, which can't name a variable")
    return {name: _word(item) for name, item in value.items()}


def _vars(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        words = "a table with others" if isinstance(value, list | tuple) else shown(value)
        raise ValueError(f"is a table with text keys, such as {{port = 80}}, not {words}")
    return value


def _text_line(value: object) -> str:
    text = _string(value)
    if "\n" in text or "\r" in text:
        raise ValueError(f"is one line, without a newline, not {shown(text)}")
    return text


def _regexp(value: object) -> str:
    import re

    text = _content(value)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is a regular expression (Python's), not {shown(text)}: {error}") from None
    return text


def _one_of(*names: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        words = " or ".join([f'"{name}"' for name in names])
        raise ValueError(f"is {words}, not {shown(value)}")

    return check


def _validate(value: object) -> tuple[str, ...]:
    """Words of a command; a text is split as a shell would, and no shell sees it."""
    import shlex

    try:
        words = tuple(shlex.split(_line(value))) if isinstance(value, str) else _argv(value)
    except ValueError as error:
        raise ValueError(f'is a command such as "nginx -t -c %s": {error}') from None
    if not any("%s" in word for word in words):
        raise ValueError("holds %s, which stands for the file to be checked")
    return words


def _key(value: object) -> str | tuple[str, ...]:
    return _line(value) if isinstance(value, str) else _strings(value)


def _value(value: object) -> object:
    return value


def _copied_mode(value: object) -> int | str:
    return "source" if value == "source" else _mode(value)


def _count(value: object) -> int:
    number = _integer(value)
    if number < 0:
        raise ValueError(f"is no negative number, as {shown(value)} is")
    return number


def _sha256(value: object) -> str:
    text = _line(value).lower().removeprefix("sha256:")
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"is a SHA-256, 64 hexadecimal digits, not {shown(value)}")
    return text


def _acl(value: object) -> dict[str, str | None]:
    hint = 'is a table such as { ["user:ann"] = "rw", ["default:group:dev"] = false }'
    if not isinstance(value, dict):
        raise ValueError(f"{hint}, not {shown(value)}")
    entries: dict[str, str | None] = {}
    for entry, given in value.items():
        *sort, name = entry.removeprefix("default:").split(":")
        if sort not in (["user"], ["group"]) or not name or any(c.isspace() or c in ",#" for c in name):
            raise ValueError(
                f"{hint}: {shown(entry)} is neither user:NAME nor group:NAME (default: before it)"
            )
        if given is not False and not (isinstance(given, str) and given and set(given) <= set("rwx-")):
            raise ValueError(f"{hint}: permissions are letters of rwx, or false, not {shown(given)}")
        letters = "".join(letter if letter in str(given) else "-" for letter in "rwx")
        entries[entry] = None if given is False else letters
    return entries


class When(NamedTuple):
    """How a command ended, as a condition: by its exit status, by what it wrote, or both (either is enough)."""

    exit_codes: frozenset[int] = frozenset()
    stdout: str | None = None
    stderr: str | None = None


def _when(value: object) -> bool | When:
    if isinstance(value, bool):
        return value
    hint = 'is true, false, or {exit_codes = {…}, stdout = "regexp", stderr = "regexp"}'
    if not isinstance(value, dict) or not value or set(value) - set(When._fields):
        raise ValueError(f"{hint}, not {shown(value)}")
    codes = value.get("exit_codes", [])
    if codes != {} and not isinstance(codes, list):
        raise ValueError(hint)
    patterns = {name: _regexp(value[name]) for name in ("stdout", "stderr") if name in value}
    return When(frozenset(_integer(code) for code in codes), patterns.get("stdout"), patterns.get("stderr"))


TYPES: Mapping[str, Callable[[object], Any]] = {
    "string": _string,
    "line": _line,
    "command": _line,
    "content": _content,
    "path": _path,
    "file path": _file_path,
    "boolean": _boolean,
    "integer": _integer,
    "mode": _mode,
    "owner": _owner,
    "strings": _strings,
    "argv": _argv,
    "variables": _variables,
    "vars": _vars,
    "when": _when,
    "text line": _text_line,
    "regexp": _regexp,
    "state": _one_of("present", "absent"),
    "validate": _validate,
    "key": _key,
    "key format": _one_of("json", "yaml", "toml", "ini"),
    "value": _value,
    "copied mode": _copied_mode,
    "digest": _one_of("sha256", "sha512", "sha1", "md5"),
    "acl": _acl,
    "count": _count,
    "sha256": _sha256,
}
"""What an argument can be. "content" is a string byte for byte; "line" one that is not blank; "command" one for a
shell; "variables" a table of environment variables; "vars" a table that is passed on as it is; "value" anything that
Lua can pass. ``FURTHER`` files have more."""
