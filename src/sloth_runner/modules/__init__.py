"""Why: one table of modules, and one way to check what they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sloth_runner.durations import seconds
from sloth_runner.errors import BadArgument, BadField, FileMissing
from sloth_runner.modules.base import Arg, Module
from sloth_runner.names import did_you_mean

SOURCE_LIMIT = 256 << 20


def modules() -> dict[str, Module]:
    """All modules by dotted name."""
    from sloth_runner.modules import cmd, file

    return {module.name: module for module in (*cmd.MODULES, *file.MODULES)}


def pure_functions(folder: Path) -> dict[str, Callable[..., object]]:
    """Functions that run on the controller and only compute, by dotted name; ``folder`` is the task file's."""
    from sloth_runner.modules import crypto, template

    return {**crypto.functions(), **template.functions(folder)}


def check_args(module: Module, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, checked, converted and completed. Raises BadField, BadArgument."""
    known = {arg.name: arg for arg in module.args}
    for field in raw:
        if field not in known:
            raise BadField(
                f"{module.name} has no argument {field!r}; it takes {', '.join(known)}",
                next=did_you_mean(str(field), known),
            )
    out: dict[str, Any] = {}
    for arg in module.args:
        if arg.name in raw:
            out[arg.name] = _convert(module.name, arg, raw[arg.name])
        elif arg.required:
            raise BadArgument(f"{module.name} needs {arg.name}: {arg.doc}")
        else:
            out[arg.name] = arg.default
    return out


def read_source(folder: str, path: str) -> bytes:
    """A file on the controller; a relative path starts at ``folder``. Raises FileMissing, BadArgument."""
    full = Path(folder, path)
    try:
        if full.is_dir():
            raise BadArgument(f"{full} is a folder; a file is needed")
        with full.open("rb") as file:
            content = file.read(SOURCE_LIMIT + 1)
    except FileNotFoundError:
        siblings = [p.name for p in full.parent.iterdir()] if full.parent.is_dir() else []
        raise FileMissing(f"there is no file {full}", next=did_you_mean(full.name, siblings)) from None
    except OSError as error:
        raise FileMissing(f"{full} can't be read: {error.strerror}", system=str(error)) from error
    if len(content) > SOURCE_LIMIT:
        raise BadArgument(f"{full} has more than {SOURCE_LIMIT >> 20} MiB")
    return content


def _convert(name: str, arg: Arg, value: Any) -> Any:
    convert = _KINDS[arg.kind]
    try:
        return convert(value)
    except ValueError as error:
        raise BadArgument(f"{name}: {arg.name} {error}") from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8 text") from None
    if "\0" in value:
        raise ValueError("can't hold a NUL byte")
    return value


def _content(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {value!r}")
    return value.encode("utf-8", "surrogateescape")


def _path(value: Any) -> str:
    text = _string(value)
    if not text.startswith("/"):
        raise ValueError(f"must be an absolute path on the target, not {text!r}")
    if ".." in text.split("/"):
        raise ValueError(f"must not hold '..': {text!r}")
    return text if text == "/" else text.rstrip("/")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def _mode(value: Any) -> int:
    if isinstance(value, str) and value and len(value) <= 5 and all(c in "01234567" for c in value):
        return int(value, 8)
    hint = f'"0{value}"' if isinstance(value, int) and not isinstance(value, bool) else '"0644"'
    raise ValueError(f"must be octal text such as {hint}, not {value!r}")


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_string(value),)
    if value == {}:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"must be a string or a list of strings, not {value!r}")
    return tuple(_string(item) for item in value)


def _argv(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of strings that is not empty")
    return tuple(_string(str(item) if isinstance(item, int) else item) for item in value)


def _table(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a table with text keys, not {value!r}")
    return {
        _string(key): _string(str(item) if isinstance(item, int) else item) for key, item in value.items()
    }


def _vars(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a table with text keys, not {value!r}")
    return value


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "string": _string,
    "content": _content,
    "path": _path,
    "boolean": _boolean,
    "duration": lambda value: seconds(value),
    "mode": _mode,
    "strings": _strings,
    "argv": _argv,
    "table": _table,
    "vars": _vars,
}
