"""Why: the only place where values change sides between Lua and Python, as runs of scalars.

A scalar is bytes, int, float or bool. A table is ``None, 4 * count + form`` and its items (for lists) or its keys
and items in turn; nil is ``None, -1``. values.lua speaks the same. So Python never holds a Lua table, whose life
would hang on the coroutine it was made in, and Lua never holds a Python object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from sloth_runner.errors import BadValue
from sloth_runner.model import Ordered, Pairs
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state.value import MAX_DEPTH, pairs_order

if TYPE_CHECKING:
    from sloth_runner.model import Value

LIST, MAP, PAIRS, ORDERED = 0, 1, 2, 3
SHORT: Final = 4096
"""Characters of a text that is handed over without a thought to memory."""
NAME: Final = 100
"""Characters of a key, likewise."""
CHUNK: Final = 200
"""Scalars that travel in one call; more of them go in pieces."""
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1


def to_bytes(text: str, what: str = "the text") -> bytes:
    """Text as Lua's bytes. Raises BadValue for a lone surrogate that stands for no byte."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise BadValue(f"{what} holds {text[error.start]!r}, which is no character") from None


def to_text(data: bytes) -> str:
    """Lua's bytes as text; what is not UTF-8 becomes lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def flatten(values: Iterable[object], what: str = "the value") -> list[Any]:
    """The scalars for ``values``: Values, None, Ordered, other NamedTuples and mappings (as tables by name).

    A None inside a table is a field that isn't there; inside a list it is refused. Raises BadValue, naming
    ``what`` and the place, for what Lua can't hold.
    """
    out: list[Any] = []
    for value in values:
        _put(out, value, what, 0)
    return out


def _put(out: list[Any], value: object, what: str, depth: int) -> None:
    kind = type(value)
    if kind is str:
        out.append(to_bytes(value, what))  # type: ignore[arg-type] # kind says so; isinstance is slower here
    elif kind is dict and depth < MAX_DEPTH and (fields := record(value)) is not None:  # type: ignore[arg-type] # so
        out += (None, 2 * len(fields) + MAP)
        out += fields
    elif kind is bool or kind is float or kind is bytes:
        out.append(value)
    elif value is None:
        out += (None, -1)
    elif isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise BadValue(f"{what}: the integer {value} does not fit into 64 bits")
        out.append(int(value))
    elif depth >= MAX_DEPTH:
        raise BadValue(f"{what} is nested more than {MAX_DEPTH} deep, or holds itself")
    elif isinstance(value, list) or kind is tuple:
        _put_list(out, value, what, depth)  # type: ignore[arg-type] # a list or a tuple
    else:
        form, items = _rows(value, what)
        rows = [(key, item) for key, item in items if item is not None]
        out += (None, 4 * len(rows) + form)
        for key, item in rows:
            _put(out, key, what, MAX_DEPTH)
            _put(out, item, f"{what}.{key}" if isinstance(key, str) else f"{what}[{key}]", depth + 1)


def record(table: dict[Any, Any]) -> list[Any] | None:
    """The keys and values of a short table of short texts, booleans and fractions, as most results are, in turn; None
    for another."""
    scalars: list[Any] = []
    for key, item in table.items():
        kind = type(item)
        if kind is str:
            if len(item) >= SHORT or not item.isascii():
                return None
            item = item.encode()
        elif item is None:
            continue
        elif kind is not bool and kind is not float:
            return None
        if type(key) is not str or len(key) > NAME or not key.isascii():
            return None
        scalars += (key.encode(), item)
    return scalars if len(scalars) < CHUNK else None


def _put_list(out: list[Any], items: list[object], what: str, depth: int) -> None:
    out += (None, 4 * len(items) + LIST)
    for number, item in enumerate(items, 1):
        if item is None:
            raise BadValue(f"{what}[{number}] is null: a Lua list has no holes")
        _put(out, item, f"{what}[{number}]", depth + 1)


def _rows(value: object, what: str) -> tuple[int, Iterable[tuple[object, object]]]:
    if isinstance(value, Ordered):
        return ORDERED, value.items
    if isinstance(value, Pairs):
        return PAIRS, value.items
    if isinstance(value, Mapping):
        return MAP, value.items()
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return MAP, value._asdict().items()
    if isinstance(value, str):
        raise BadValue(f"{what} is of type {type(value).__name__}, not plain text")
    raise BadValue(f"{what} can't be passed to Lua: it is of type {type(value).__name__}")


def unflatten(scalars: Sequence[Any]) -> list[Any]:
    """The values that a run of scalars stands for."""
    rest = iter(scalars)
    out: list[Any] = []
    for scalar in rest:
        out.append(_table(rest) if scalar is None else _scalar(scalar))
    return out


def table(scalars: Sequence[Any]) -> dict[str, Any]:
    """A table of texts, numbers and booleans whose keys and values are given in turn: most arguments are one."""
    plain = texts(scalars)
    return dict(sorted(zip(plain[::2], plain[1::2], strict=True)))


def texts(scalars: Sequence[Any]) -> tuple[Any, ...]:
    """Scalars without tables among them: bytes become text, None stays None."""
    try:
        return tuple([s.decode() if type(s) is bytes else s for s in scalars])
    except UnicodeDecodeError:
        return tuple([s.decode("utf-8", "surrogateescape") if type(s) is bytes else s for s in scalars])


def _scalar(scalar: Any) -> Any:
    return scalar.decode("utf-8", "surrogateescape") if type(scalar) is bytes else scalar


def _take(rest: Iterator[Any]) -> Any:
    scalar = next(rest)
    return _table(rest) if scalar is None else _scalar(scalar)


def _table(rest: Iterator[Any]) -> Value | None:
    code = next(rest)
    if code == -1:
        return None
    count, form = divmod(code, 4)
    if form == LIST:
        return [_take(rest) for _ in range(count)]
    rows = [(_take(rest), _take(rest)) for _ in range(count)]
    if form == MAP:
        rows.sort(key=_first)
        return dict(rows)
    rows.sort(key=_pair_order)
    return Pairs(tuple(rows))


def _first(row: tuple[Any, Any]) -> str:
    return str(row[0])


def _pair_order(row: tuple[Any, Any]) -> tuple[int, float, str]:
    return pairs_order(row[0])


def pieces(scalars: list[Any], feed: Callable[..., object]) -> list[Any]:
    """Send all but the last piece to ``feed``; returns how many that were, and then the last piece."""
    at = 0
    while len(scalars) - at > CHUNK:
        feed(*scalars[at : at + CHUNK])
        at += CHUNK
    return [at, *scalars[at:]]
