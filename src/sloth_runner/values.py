"""Why: ``values`` is layered: files in order, then ``--set``; later ones win, tables merge key by key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sloth_runner.errors import BadValues, FileMissing, UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any

Table = dict[str, Any]
_INDICATORS = frozenset("[]{}\"'&*!|>%@`,#?")
"""What makes a YAML value more than plain text."""


def load_values(files: Sequence[Path], sets: Sequence[str] = (), strings: Sequence[str] = ()) -> Table:
    """All layers merged. ``sets`` are ``a.b=YAML scalar``, ``strings`` ``a.b=text``.

    Raises FileMissing, BadValues (a file that can't be read, with its line), UsageError (a bad ``--set``).
    """
    out: Table = {}
    for file in files:
        merge(out, read_values(file))
    for text in sets:
        keys, raw = _assignment("--set", text)
        _put(out, keys, _scalar(raw), text)
    for text in strings:
        keys, raw = _assignment("--set-string", text)
        _put(out, keys, raw, text)
    return out


def merge(into: Table, more: Table) -> None:
    """Put ``more`` over ``into``; tables are merged, everything else is replaced."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def read_values(file: Path) -> Table:
    """One file by its suffix: .yaml, .yml, .toml or .json."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise FileMissing(f"there is no values file {file}", next=did_you_mean(file.name, siblings)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadValues(f"the values file {file} can't be read: {error}", file=str(file)) from error
    data = _parse(file, text)
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise BadValues("a values file holds a table with text keys", file=str(file))
    table: Table = _plain(file, data)
    return table


def _parse(file: Path, text: str) -> object:
    kind = file.suffix.lower()
    try:
        if kind in (".yaml", ".yml"):
            import yaml

            try:
                return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            except yaml.YAMLError as error:
                mark = getattr(error, "problem_mark", None)
                line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
                problem = getattr(error, "problem", None) or str(error)
                raise _bad(file, text, str(problem), line, column) from error
        if kind == ".toml":
            import tomllib

            return tomllib.loads(text)
        if kind == ".json":
            return json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(file, text, error.msg, error.lineno, error.colno) from error
    except ValueError as error:  # tomllib's error says line and column in its text
        raise _bad(file, text, str(error), None, None) from error
    raise BadValues(f"{file.name}: a values file ends in .yaml, .yml, .toml or .json", file=str(file))


def _bad(file: Path, text: str, problem: str, line: int | None, column: int | None) -> BadValues:
    lines = text.splitlines()
    source = lines[line - 1] if line and line <= len(lines) else None
    return BadValues(f"{file.name}: {problem}", file=str(file), line=line, column=column, source=source)


def _plain(file: Path, data: Any) -> Any:
    """Dates become text, nulls vanish, keys become text: what Lua can hold."""
    if isinstance(data, dict):
        return {str(k): _plain(file, v) for k, v in data.items() if v is not None}
    if isinstance(data, list):
        if any(item is None for item in data):
            raise BadValues("a list of values can't hold null: Lua's lists have no holes", file=str(file))
        return [_plain(file, item) for item in data]
    if isinstance(data, str | int | float):
        return data
    if hasattr(data, "isoformat"):
        return data.isoformat()
    raise BadValues(f"a value of type {type(data).__name__} can't be passed to Lua", file=str(file))


def _assignment(option: str, text: str) -> tuple[list[str], str]:
    path, equals, raw = text.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise UsageError(f"{option} takes key=value, with dots in the key for tables; not {text!r}")
    return keys, raw


def _scalar(raw: str) -> object:
    import yaml

    try:
        raw.encode()
    except UnicodeEncodeError:
        return _bytes(raw)
    try:
        value = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise UsageError(f"--set: {raw!r} is no YAML value: {getattr(error, 'problem', error)}") from error
    return "" if value is None else _plain(Path("--set"), value)


def _bytes(raw: str) -> str:
    """Text with bytes that are not UTF-8: YAML has no such text, and Lua takes it as it is."""
    if raw.lstrip()[:1] in _INDICATORS:
        raise UsageError(
            "--set: YAML is UTF-8 text; this value holds other bytes",
            unchanged=["nothing was run"],
            next=["--set-string takes it as text, as it is"],
        )
    return raw


def _put(out: Table, keys: list[str], value: object, text: str) -> None:
    for key in keys[:-1]:
        inner = out.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {text}: {key!r} is no table")
        out = inner
    out[keys[-1]] = value
