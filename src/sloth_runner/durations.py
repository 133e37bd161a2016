"""Why: durations are written as numbers of seconds or as "1h30m", in Lua, in TOML and on the command line."""

from __future__ import annotations

from sloth_runner.names import with_bytes
from sloth_runner.plain import Final

LONGEST: Final = 36_525 * 86_400.0
"""Seconds: 100 years. What ends later has no end that anybody meant, and soon none that a calendar can say."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class TooLong(ValueError):
    """A duration that nobody can mean."""


def seconds(value: object, what: str = "a duration") -> float:
    """``value`` in seconds: a number, or text such as "30s", "5m", "1h30m", "250ms"; at most 100 years.

    Raises TooLong, and ValueError for anything else and for less than 0, naming ``what``.
    """
    number: float | None = None
    if isinstance(value, bool):
        number = None
    elif isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
    elif isinstance(value, str):
        number = _parse(value.strip())
    if number is None or not number >= 0:
        raise ValueError(
            f'{what} is a number of seconds or text such as "30s", "5m", "1h30m"; not {_shown(value)}'
        )
    if number > LONGEST:
        raise TooLong(f'{what} is at most 100 years ("36525d"); not {_shown(value)}')
    return number


def _shown(value: object) -> str:
    """A value that is no duration, in the words of who wrote it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return with_bytes(repr(value))
    return "nil" if value is None else "a table"


def _parse(text: str) -> float | None:
    total, rest = 0.0, text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        after = rest[digits:]
        unit = after[: len(after) - len(after.lstrip("mshdw"))]
        try:
            amount = float(rest[:digits])
        except ValueError:
            return None
        if not unit:
            return amount if rest == text and not after else None
        if unit not in _UNITS:
            return None
        total += amount * _UNITS[unit]
        rest = after[len(unit) :]
    return total if text else None


def human(amount: float) -> str:
    """A duration for people: ``0.4s``, ``12s``, ``3m 20s``, ``2h 5m``, ``4d 1h``."""
    if amount > LONGEST:
        return "over 100 years"
    if amount < 10:
        return f"{amount:.1f}s"
    whole = round(amount)
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size}{unit} {rest}{small}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"
