"""Why: ``values`` is layered: files in order, then ``--set``; later ones win, tables merge key by key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sloth_runner.errors import BadValues, FileMissing, UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any
from sloth_runner.state.value import MAX_DEPTH
from sloth_runner.state.written import named_once

Table = dict[str, Any]
_KINDS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "null": "null",
    "timestamp": "a date",
}
_MERGE = "tag:yaml.org,2002:merge"
_INDICATORS = frozenset("[]{}\"'&*!|>%@`,#?")
"""What makes a YAML value more than plain text."""


def load_values(files: Sequence[Path], sets: Sequence[str] = (), strings: Sequence[str] = ()) -> Table:
    """All layers merged. ``sets`` are ``a.b=YAML`` (null says nothing), ``strings`` ``a.b=text``.

    Raises FileMissing, BadValues (a file that can't be read, with its line), UsageError (a bad ``--set``).
    """
    out: Table = {}
    for file in files:
        merge(out, read_values(file))
    for text in sets:
        keys, raw = _assignment("--set", text)
        value = _scalar(raw, ".".join(keys))
        if value is not None:  # as null in a file
            _put(out, keys, value, text)
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
        raw = file.read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise FileMissing(f"there is no values file {file}", next=did_you_mean(file.name, siblings)) from None
    except OSError as error:
        why = "it is a folder" if isinstance(error, IsADirectoryError) else error.strerror
        raise BadValues(
            f"the values file {file} can't be read: {why}", file=str(file), unchanged=["nothing was run"]
        ) from error
    except UnicodeDecodeError as error:
        from shlex import quote

        raise BadValues(
            f"{file.name} is not UTF-8: there is the byte 0x{error.object[error.start]:02x} in this line",
            file=str(file),
            line=error.object.count(b"\n", 0, error.start) + 1,
            unchanged=["nothing was run"],
            next=[f"if it is Latin-1: iconv -f ISO-8859-1 -t UTF-8 {quote(file.name)} > NEW"],
        ) from error
    data = _parse(file, text)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise BadValues(
            f"{file.name}: a values file holds a table: names, and what each stands for", file=str(file)
        )
    for key in data:
        if not isinstance(key, str):
            raise _no_text(file, text, key)
    table: Table = _plain(file, data, file.name)
    return table


def _parse(file: Path, text: str) -> object:
    kind = file.suffix.lower()
    try:
        if kind in (".yaml", ".yml"):
            import yaml

            try:
                return _load_yaml(text)
            except yaml.YAMLError as error:
                mark = getattr(error, "problem_mark", None)
                line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
                problem = getattr(error, "problem", None) or str(error)
                raise _bad(file, text, str(problem), line, column) from error
        if kind == ".toml":
            import tomllib

            return tomllib.loads(text)
        if kind == ".json":
            return json.loads(text, object_pairs_hook=named_once)
    except json.JSONDecodeError as error:
        raise _bad(file, text, error.msg, error.lineno, error.colno) from error
    except RecursionError:
        raise _too_deep(file, file.name) from None
    except ValueError as error:  # tomllib's error says line and column in its text
        raise _bad(file, text, str(error), None, None) from error
    raise BadValues(f"{file.name}: a values file ends in .yaml, .yml, .toml or .json", file=str(file))


def _load_yaml(text: str) -> object:
    """The data of ``text``. Raises YAMLError, also for a table that names a key twice; RecursionError."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        # Before what << brings is put among a table's own keys, which may stand over it.
        _check_names(loader, root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check_names(loader: Any, root: Any) -> None:
    from yaml.constructor import ConstructorError
    from yaml.nodes import MappingNode, ScalarNode, SequenceNode

    todo, seen = [root], set[int]()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            todo += node.value
        elif isinstance(node, MappingNode):
            first: dict[str, int] = {}
            for key, item in node.value:
                todo.append(item)
                if not isinstance(key, ScalarNode) or key.tag == _MERGE:
                    continue
                name, line = str(loader.construct_object(key)), key.start_mark.line + 1
                if name in first:
                    problem = f"the key {name!r} stands twice in one table, first on line {first[name]}"
                    raise ConstructorError(None, None, problem, key.start_mark)
                first[name] = line


def _bad(file: Path, text: str, problem: str, line: int | None, column: int | None) -> BadValues:
    lines = text.splitlines()
    source = lines[line - 1] if line and line <= len(lines) else None
    return BadValues(f"{file.name}: {problem}", file=str(file), line=line, column=column, source=source)


def _no_text(file: Path, text: str, key: object) -> BadValues:
    """The error for a key that YAML takes for something else than text, where it stands."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    root = yaml.compose(text, Loader=loader)
    for node, _ in root.value if root is not None else ():
        kind = node.tag.rpartition(":")[2]
        if kind not in ("str", "merge") and isinstance(node.value, str):
            written, mark = node.value, node.start_mark
            problem = (
                f"the key {written or 'null'} is {_KINDS.get(kind, 'something else')} in YAML, and no text"
            )
            error = _bad(file, text, problem, mark.line + 1, mark.column + 1)
            error.next.append(f'put it in quotes: "{written}"')
            return error
    return _bad(file, text, f"the key {key!r} is no text", None, None)


def _too_deep(file: Path, where: str) -> BadValues:
    return BadValues(f"{where} is nested more than {MAX_DEPTH} deep, or holds itself", file=str(file))


def _plain(file: Path, data: Any, where: str, depth: int = 0, above: frozenset[int] = frozenset()) -> Any:
    """Dates become text, nulls vanish, keys become text: what Lua can hold. ``above``: what ``data`` is part of."""
    if isinstance(data, dict | list):
        if depth >= MAX_DEPTH or id(data) in above:
            raise _too_deep(file, where)
        depth, above = depth + 1, above | {id(data)}
    if isinstance(data, dict):
        return {
            str(k): _plain(file, v, f"{where}: {k}" if depth == 1 else f"{where}.{k}", depth, above)
            for k, v in data.items()
            if v is not None
        }
    if isinstance(data, list):
        if any(item is None for item in data):
            raise BadValues("a list of values can't hold null: Lua's lists have no holes", file=str(file))
        return [_plain(file, item, f"{where}[{i}]", depth, above) for i, item in enumerate(data, 1)]
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


def _scalar(raw: str, name: str) -> object:
    import yaml

    try:
        raw.encode()
    except UnicodeEncodeError:
        return _bytes(raw)
    try:
        value = _load_yaml(raw)
    except yaml.YAMLError as error:
        raise UsageError(f"--set: {raw!r} is no YAML value: {getattr(error, 'problem', error)}") from error
    except RecursionError:
        raise _too_deep(Path("--set"), name) from None
    if value is None:
        return None if raw.strip() else ""
    return _plain(Path("--set"), value, name)


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
