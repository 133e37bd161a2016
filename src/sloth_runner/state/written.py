"""Why: JSON that people write is read strictly: what would be lost on the way is refused, with what to write instead.

What is stored already is read by ``value`` alone, which takes more than it ever wrote.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Sequence

from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.value import from_json

if TYPE_CHECKING:
    from sloth_runner.model import Value

_DIGITS = 20
"""More than an integer of 64 bits has, with its sign."""


def parse(text: str) -> object:
    """The JSON of ``text``. Raises ValueError for what is none, or could only be read in part; RecursionError."""
    return json.loads(
        text, parse_constant=no_constant, parse_float=finite, parse_int=whole, object_pairs_hook=named_once
    )


def value_of(data: object) -> Value:
    """The value for what ``json`` has read. Raises ValueError for what would lose something; RecursionError."""
    _check(data)
    return from_json(data)


def no_constant(word: str) -> Any:
    """For ``parse_constant``: NaN and its like."""
    raise ValueError(f'{word} is no JSON; write {{"$float": "nan"}}, "inf" or "-inf"')


def finite(text: str) -> float:
    """For ``parse_float``: a number that a float can hold."""
    found = float(text)
    if found - found != 0:
        raise ValueError(f'{text[:40]} is too large for a number; write {{"$float": "inf"}} if that is meant')
    return found


def whole(text: str) -> int:
    """For ``parse_int``: a number that is not absurdly long; whether it fits is found when it is stored."""
    if len(text) > _DIGITS:
        raise ValueError(f"the integer {text[:_DIGITS]}… does not fit into 64 bits")
    return int(text)


def named_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """For ``object_pairs_hook``: an object that names each of its keys once."""
    found: dict[str, Any] = {}
    for key, item in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice in one table")
        found[key] = item
    return found


def _check(data: object) -> None:
    if isinstance(data, list):
        for item in data:
            _check(item)
    elif isinstance(data, dict):
        if len(data) == 1 and isinstance(data.get("$bytes"), str):
            _check_bytes(data["$bytes"])
        elif len(data) == 1 and isinstance(data.get("$table"), list):
            _check_table(data["$table"])
        for item in data.values():
            _check(item)


def _check_bytes(text: str) -> None:
    try:
        a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError(f'{{"$bytes": …}} takes base64; {text[:40]!r} is none') from None


def _check_table(rows: list[object]) -> None:
    seen: set[tuple[bool, object]] = set()
    for row in rows:
        if not isinstance(row, list) or len(row) != 2:
            raise ValueError(f'{{"$table": …}} takes pairs [key, value]; {json.dumps(row)[:40]} is none')
        key = from_json(row[0])
        if not isinstance(key, str | int | float) or key != key:
            raise ValueError(f'{{"$table": …}}: {json.dumps(row[0])[:40]} can\'t be a key')
        mark = (isinstance(key, bool), key)  # to Lua 1 and 1.0 are one key, and true is another
        if mark in seen:
            raise ValueError(f'{{"$table": …}} names the key {json.dumps(row[0])[:40]} twice')
        seen.add(mark)
