"""Why: arguments from Lua are checked in one manner, with errors that name the function and what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sloth_runner.durations import seconds
from sloth_runner.errors import BadArgument, BadField, BadName
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any, TypeAlias
from sloth_runner.state.layout import check_key, check_prefix, type_word

Kinds: TypeAlias = "type | tuple[type, ...]"


def key(name: str, value: object) -> str:
    """A state key. Raises BadName naming the function."""
    try:
        return check_key(value)
    except BadName as error:
        raise BadName(f"{name}: {error.message}", unchanged=error.unchanged, next=error.next) from None


def prefix(name: str, value: object) -> str:
    """What keys begin with, or "". Raises BadName naming the function."""
    return check_prefix(string(name, "the prefix", value), f"{name}: a prefix")


def duration(name: str, value: object, what: str = "ttl") -> float:
    """A duration of more than 0 seconds."""
    try:
        number = seconds(value, what)
    except ValueError as error:
        raise BadArgument(f"{name}: {error}") from None
    if number <= 0:
        raise BadArgument(f"{name}: {what} must be more than 0, not {value!r}")
    return number


def string(name: str, what: str, value: object) -> str:
    """Text."""
    if isinstance(value, str):
        return value
    raise BadArgument(f"{name}: {what} is a string, not {_a(value)}")


def number(name: str, what: str, value: object) -> int | float:
    """A number (an integer or a float)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise BadArgument(f"{name}: {what} is a number, not {_a(value)}")


def integer(name: str, what: str, value: object) -> int:
    """A whole number; floats without a fraction count."""
    found = number(name, what, value)
    if found - found == 0 and found == int(found):
        return int(found)
    raise BadArgument(f"{name}: {what} is a whole number, not {value!r}")


def options(name: str, value: object, known: Mapping[str, Kinds]) -> dict[str, Any]:
    """An options table whose fields are all known. Raises BadField, BadArgument."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadArgument(f"{name}: options are a table, not {_a(value)}")
    for field, item in value.items():
        if field not in known:
            raise BadField(
                f"{name} has no option {field!r}; it has {', '.join(known)}",
                next=did_you_mean(str(field), known),
            )
        kinds = known[field]
        if not isinstance(item, kinds) or (isinstance(item, bool) and kinds in (int, float, (int, float))):
            raise BadArgument(f"{name}: option {field!r} can't be {_a(item)}")
    return dict(value)


def take(name: str, args: Sequence[object], least: int, most: int) -> list[Any]:
    """The arguments, filled up with None to ``most``. Raises BadArgument for too few or too many."""
    count = len(args)
    if least <= count <= most:
        return [*args, *[None] * (most - count)]
    given = list(args)
    while given and given[-1] is None and len(given) > most:
        given.pop()
    if len(given) > most:
        raise BadArgument(f"{name} takes at most {most} argument{'s' * (most != 1)}, not {len(given)}")
    if len(given) < least:
        raise BadArgument(f"{name} takes at least {least} argument{'s' * (least != 1)}, not {len(given)}")
    return given


def _a(value: object) -> str:
    word = type_word(value)
    return word if word == "nil" else f"a {word}"
