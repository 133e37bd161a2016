"""Why: what a request asks for is declared once: checked, documented (OpenAPI) and handed on from one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

from sloth_runner.errors import BadValue, UsageError
from sloth_runner.moments import parse_moment
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple
from sloth_runner.state import written
from sloth_runner.state.layout import check_key

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT, KEY, COUNT, MOMENT, FLAG, VALUE = "text", "key", "count", "moment", "flag", "value"
LONGEST = 2048


class Param(NamedTuple):
    """One parameter of a query, or field of a body. ``kind``: how it is read; ``least`` and ``most``: of a count;
    ``words``: what a text may be; ``longest``: its characters."""

    name: str
    kind: str
    help: str
    required: bool = False
    default: Any = None
    most: int = 1000
    words: tuple[str, ...] = ()
    least: int = 1
    longest: int = LONGEST


class Given:
    """What was asked for, by name; every declared parameter is there. ``match``: the version that a write is based
    on ("": there must be nothing yet; None: not said)."""

    __slots__ = ("match", "values")

    def __init__(self, values: Mapping[str, Any], match: str | None = None) -> None:
        self.values = values
        self.match = match

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def pairs(query: bytes) -> list[tuple[str, str]]:
    """What an address asks for. Raises UsageError: text that is no UTF-8 would name another key than was meant."""
    try:
        return parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise UsageError("the address is no UTF-8", unchanged=["nothing was changed"]) from None


def read(
    params: Sequence[Param], query: Iterable[tuple[str, str]], clock: Callable[[], float]
) -> dict[str, Any]:
    """The parameters as they were given in a query. Raises UsageError, BadName."""
    known = {param.name: param for param in params}
    found: dict[str, Any] = {}
    for name, text in query:
        param = known.get(name)
        if param is None:
            raise UsageError(
                f"there is no parameter {name!r}",
                unchanged=["nothing was changed"],
                next=did_you_mean(name, known) or [f"parameters: {', '.join(known) or 'none'}"],
            )
        if name in found:
            raise UsageError(f"{name} is given twice", unchanged=["nothing was changed"])
        found[name] = _parsed(param, text, clock)
    return _complete(params, found)


def read_body(params: Sequence[Param], body: bytes) -> dict[str, Any]:
    """The fields of a JSON object. Raises UsageError, BadValue, BadName."""
    try:
        raw = written.parse(body.decode() or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no JSON: {error}", unchanged=["nothing was changed"]) from None
    if not isinstance(raw, dict):
        raise UsageError("the body is a JSON object", unchanged=["nothing was changed"])
    known = {param.name: param for param in params}
    for name in raw:
        if name not in known:
            raise UsageError(
                f"there is no field {name[:80]!r}",
                unchanged=["nothing was changed"],
                next=did_you_mean(name, known) or [f"fields: {', '.join(known)}"],
            )
    return _complete(params, {name: _field(known[name], item) for name, item in raw.items()})


def value_of(raw: object) -> Any:
    """The value for its JSON form. Raises BadValue."""
    try:
        return written.value_of(raw)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadValue(f"this is no value: {error}", unchanged=["nothing was changed"]) from None


def _complete(params: Sequence[Param], found: dict[str, Any]) -> dict[str, Any]:
    for param in params:
        if param.required and found.get(param.name) is None:
            raise UsageError(f"{param.name} is missing", unchanged=["nothing was changed"], next=[param.help])
        found.setdefault(param.name, param.default)
    return found


def _parsed(param: Param, text: str, clock: Callable[[], float]) -> Any:
    if param.kind == COUNT:
        if not (text.isascii() and text.isdigit() and param.least <= int(text) <= param.most):
            raise _bad(param, f"a whole number from {param.least} to {param.most:,}", text)
        return int(text)
    if param.kind == FLAG:
        if text not in ("true", "false"):
            raise _bad(param, "true or false", text)
        return text == "true"
    if param.kind == MOMENT:
        try:
            return parse_moment(text, clock())
        except (ValueError, OverflowError):
            raise _bad(
                param, "a time such as 2026-01-31T09:00 (UTC), or how long ago such as 2h30m", text
            ) from None
    return _text(param, text)


def _text(param: Param, text: str) -> str:
    if param.kind == KEY:
        return check_key(text)
    if param.required and not text:
        raise UsageError(f"{param.name} is empty", unchanged=["nothing was changed"], next=[param.help])
    if len(text) > param.longest:
        raise UsageError(f"{param.name} is longer than {param.longest} characters")
    if param.words and text not in param.words:
        raise _bad(param, f"one of {', '.join(param.words)}", text)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _bad(param, "UTF-8 text", text) from None
    return text


def _field(param: Param, raw: object) -> Any:
    if raw is None and not param.required:
        return param.default
    if param.kind == VALUE:
        return value_of(raw)
    if param.kind == COUNT:
        if isinstance(raw, bool) or not isinstance(raw, int) or not param.least <= raw <= param.most:
            raise _bad(param, f"a whole number from {param.least} to {param.most:,}", raw)
        return raw
    if param.kind == FLAG:
        if not isinstance(raw, bool):
            raise _bad(param, "true or false", raw)
        return raw
    if not isinstance(raw, str):
        raise _bad(param, "text", raw)
    return _text(param, raw)


def _bad(param: Param, wanted: str, got: object) -> UsageError:
    return UsageError(f"{param.name}: {wanted}; not {str(got)[:80]!r}", unchanged=["nothing was changed"])
