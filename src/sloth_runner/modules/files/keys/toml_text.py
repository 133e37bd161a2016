"""Why: a TOML text is edited by tomlkit, which keeps comments, order and layout of all else."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.files.keys import Literal, Unfit
from sloth_runner.plain import Any


def values(text: str) -> Any:
    """The data."""
    import tomllib

    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is no TOML: {error}") from error


def is_empty(text: str) -> bool:
    """Whether there is nothing but space."""
    return not text.strip()


def _editor() -> Any:
    """tomlkit. Raises TaskFailed if it is not installed."""
    try:
        import tomlkit
    except ImportError as error:
        raise TaskFailed(
            "editing TOML needs tomlkit, which is not installed",
            unchanged=["this call changed nothing"],
            next=["pip install 'sloth-runner[toml]'"],
        ) from error
    return tomlkit


def _document(text: str) -> Any:
    tomlkit = _editor()
    values(text)
    try:
        return tomlkit.parse(text)
    except tomlkit.exceptions.TOMLKitError as error:
        raise Unfit(f"it is no TOML that can be edited: {error}") from error


def _tables(data: Any, key: Sequence[str]) -> list[Any]:
    """The tables on the way to a key, as far as they are there."""
    tables = []
    for number, name in enumerate(key):
        if not isinstance(data, MutableMapping):
            raise Unfit(f"{'.'.join(key[:number]) or 'what it holds'} is no table")
        tables.append(data)
        if name not in data:
            break
        data = data[name]
    return tables


def find(text: str, key: Sequence[str]) -> tuple[Any, ...]:
    """The value, in a tuple."""
    tables = _tables(values(text), key)
    return (tables[-1][key[-1]],) if len(tables) == len(key) and key[-1] in tables[-1] else ()


def depth(text: str, key: Sequence[str]) -> int:
    """How many of the names are there."""
    tables = _tables(values(text), key)
    return len(tables) - (key[len(tables) - 1] not in tables[-1])


def put(text: str, key: Sequence[str], value: Any) -> str:
    """The value in its place, or a new one in its table."""
    document, tomlkit = _document(text), _editor()
    tables = _tables(document, key)
    inner = key[len(tables) :]
    item = _item(value)
    inline = isinstance(tables[-1], tomlkit.items.InlineTable)
    for number, name in enumerate(reversed(inner)):
        table = tomlkit.inline_table() if inline else tomlkit.table(is_super_table=number > 0)
        table[name] = item
        item = table
    tables[-1][key[len(tables) - 1]] = item
    return str(tomlkit.dumps(document))


def drop(text: str, key: Sequence[str]) -> str:
    """The key taken away."""
    document = _document(text)
    del _tables(document, key)[-1][key[-1]]
    return str(_editor().dumps(document))


def _item(value: Any) -> Any:
    tomlkit = _editor()
    if value is None:
        raise Unfit("TOML has no null")
    if isinstance(value, Literal):
        return tomlkit.value(value.text)
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        for name, inner in value.items():
            table[name] = _item(inner)
        return table
    return tomlkit.item([_item(inner) for inner in value] if isinstance(value, list) else value)
