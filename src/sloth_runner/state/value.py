"""Why: one codec between Lua's values and bytes, used by the store, the command line, exports and the web.

The text is JSON in one canonical form, so equal values have equal text and the files can be read by people.
What JSON can't hold is tagged: ``{"$bytes": base64}``, ``{"$float": "nan"}``,
``{"$table": [[key, value], …]}``. Integers and floats stay apart (``5`` and ``5.0``), as in Lua.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable

from sloth_runner.errors import BadValue, Corrupt, TooLarge
from sloth_runner.model import Pairs
from sloth_runner.plain import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sloth_runner.model import Value

MAX_VALUE: Final = 1 << 20
"""Bytes a value may have."""
MAX_DEPTH: Final = 100
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_dumps = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode
_quote = json.encoder.encode_basestring
_loads = json.JSONDecoder().decode


def encode(value: Value, what: str = "the value") -> str:
    """The canonical text of ``value``. Raises BadValue (not storable, naming ``what``) or TooLarge."""
    kind = type(value)
    if kind is str and value.isascii():  # type: ignore[union-attr] # kind says so; isinstance is slower here
        text = _quote(value)  # type: ignore[arg-type] # the same
    else:
        text = _dumps(to_json(value, what))
    if len(text) > MAX_VALUE // 4:
        size = size_of(value, text)
        if size > MAX_VALUE:
            raise TooLarge(
                f"{what} has {size:,} bytes; a value may have {MAX_VALUE:,}",
                unchanged=["nothing was stored"],
                next=["store a digest or the path of a file instead"],
            )
    return text


def decode(text: str | bytes) -> Value:
    """The value of a canonical text. Raises Corrupt when it is none."""
    try:
        return from_json(_loads(text if isinstance(text, str) else text.decode()))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Corrupt(f"a stored value can't be read: {error}") from error


def size_of(value: Value, text: str) -> int:
    """The bytes that count against the limit: a string's own, or those of the canonical text."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))
    return len(text.encode())


def type_name(value: Value) -> str:
    """``string``, ``integer``, ``float``, ``boolean`` or ``table``."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    return "float" if isinstance(value, float) else "table"


def to_json(value: object, what: str = "the value", depth: int = 0) -> object:
    """``value`` as what ``json`` can write. Raises BadValue naming ``what`` and the place inside it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, what)
    if isinstance(value, int):
        if _INT_MIN <= value <= _INT_MAX:
            return value
        raise BadValue(f"{what}: the integer {value} does not fit into 64 bits")
    if isinstance(value, float):
        return value if value - value == 0 else {"$float": str(value)}
    if depth >= MAX_DEPTH:
        raise BadValue(f"{what} is nested more than {MAX_DEPTH} deep, or holds itself")
    if isinstance(value, Pairs):
        return _table(value.items, what, depth)
    if isinstance(value, list | tuple):
        return [to_json(item, f"{what}[{i}]", depth + 1) for i, item in enumerate(value, 1)] or {}
    if isinstance(value, dict):
        if all(isinstance(k, str) and not k.startswith("$") and _text(k, what) is k for k in value):
            return {k: to_json(item, f"{what}.{k}", depth + 1) for k, item in value.items()}
        return _table(value.items(), what, depth)
    if isinstance(value, bytes):
        return _text(value.decode("utf-8", "surrogateescape"), what)
    raise BadValue(f"{what} can't be stored: it is {_kind(value)}", unchanged=["nothing was stored"])


def from_json(data: object) -> Value:
    """The value for what ``json`` has read. Raises ValueError for what ``to_json`` never writes."""
    if isinstance(data, str | int | float):  # bool is an int
        return data
    if isinstance(data, list):
        return [from_json(item) for item in data] or {}
    if isinstance(data, dict):
        if len(data) == 1:
            ((key, item),) = data.items()
            if key.startswith("$"):
                return _tagged(key, item)
        return {key: from_json(item) for key, item in data.items()}
    raise ValueError("null is no value")


def pairs_order(key: object) -> tuple[int, float, str]:
    """Sort key for the keys of Pairs: booleans, then numbers by value, then strings."""
    if isinstance(key, bool):
        return (0, float(key), "")
    if isinstance(key, int | float):
        return (1, key, "")
    return (2, 0.0, str(key))


def _table(items: Iterable[tuple[object, object]], what: str, depth: int) -> object:
    rows = sorted(items, key=lambda item: pairs_order(item[0]))
    return {"$table": [[to_json(k, what), to_json(v, f"{what}[{k}]", depth + 1)] for k, v in rows]}


def _tagged(tag: str, item: object) -> Value:
    if tag == "$bytes" and isinstance(item, str):
        return a2b_base64(item).decode("utf-8", "surrogateescape")
    if tag == "$float" and item in ("nan", "inf", "-inf"):
        return float(str(item))
    if tag == "$table" and isinstance(item, list):
        rows = [(from_json(k), from_json(v)) for k, v in item]
        if rows and all(isinstance(k, str) for k, _ in rows):
            return {str(k): v for k, v in rows}
        return Pairs(tuple((k, v) for k, v in rows if isinstance(k, str | int | float)))
    raise ValueError(f"unknown tag {tag}")


def _text(value: str, what: str) -> object:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        try:
            raw = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise BadValue(
                f"{what} holds {value[error.start]!r}, which is no character",
                unchanged=["nothing was stored"],
            ) from None
        return {"$bytes": b2a_base64(raw, newline=False).decode()}
    return value


def _kind(value: object) -> str:
    if value is None:
        return "nil (use state.delete to remove a key)"
    return "a function" if callable(value) else f"of type {type(value).__name__}"
