"""Why: ``json`` and ``yaml`` in task files: text to values and back, for data only, never for objects or code."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

from sloth_runner.errors import BadArgument, BadValue
from sloth_runner.model import Pairs
from sloth_runner.plain import TYPE_CHECKING, Any, Final
from sloth_runner.state.value import MAX_DEPTH

if TYPE_CHECKING:
    from sloth_runner.model import Value

MAX_NODES: Final = 1_000_000
"""Items a decoded text may have."""


def functions() -> dict[str, Callable[..., object]]:
    """The pure functions of this module by their names in Lua."""
    return {
        "json.encode": json_encode,
        "json.decode": json_decode,
        "yaml.encode": yaml_encode,
        "yaml.decode": yaml_decode,
    }


def json_encode(value: Value | None, options: Value | None = None) -> str:
    """JSON with sorted keys; ``{indent = n}`` spreads it over lines. An empty table is ``{}``.

    Raises BadValue for what JSON has no form for: nil, NaN and infinity, bytes that are no text, and tables whose
    keys are neither 1..n nor text.
    """
    indent = _indent("json.encode", options)
    plain = _plain(value, "json.encode: the value", finite=True)
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, indent=indent, separators=separators)


def json_decode(text: Value | None) -> object:
    """The value of a JSON text. Fields that are null are left out; null alone is nil; in a list it is an error."""
    source = _text("json.decode", text)
    try:
        data = json.loads(source, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadArgument(
            f"json.decode: {error.msg} (line {error.lineno}, column {error.colno} of the text)"
        ) from None
    except ValueError as error:
        raise BadArgument(f"json.decode: {error}") from None
    except RecursionError:
        raise BadValue(f"json.decode: the text is nested more than {MAX_DEPTH} deep") from None
    return _loaded(data, "json.decode: the value", 0, [MAX_NODES])


def yaml_encode(value: Value | None) -> str:
    """YAML in block style with sorted keys. Raises BadValue as ``json_encode`` does (NaN and infinity are fine)."""
    import yaml

    plain = _plain(value, "yaml.encode: the value", finite=False)
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(plain, Dumper=dumper, allow_unicode=True, default_flow_style=False, sort_keys=True))


def yaml_decode(text: Value | None) -> object:
    """The value of one YAML document, built from plain data only; dates come as ISO text, null as in JSON."""
    import yaml

    source = _text("yaml.decode", text)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = yaml.load(source, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1} of the text)" if mark else ""
        raise BadArgument(f"yaml.decode: {getattr(error, 'problem', None) or error}{place}") from None
    except RecursionError:
        raise BadValue(f"yaml.decode: the text is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise BadArgument(f"yaml.decode: {error}") from None
    return _loaded(data, "yaml.decode: the value", 0, [MAX_NODES])


def _indent(name: str, options: Value | None) -> int | None:
    if options is None or options == {}:
        return None
    if not isinstance(options, dict) or set(options) != {"indent"}:
        raise BadArgument(f"{name}: the options are {{indent = spaces}}")
    indent = options["indent"]
    if isinstance(indent, bool) or not isinstance(indent, int) or not 0 <= indent <= 16:
        raise BadArgument(f"{name}: indent is a number of spaces up to 16, not {indent!r}")
    return indent


def _text(name: str, text: Value | None) -> str:
    if isinstance(text, str):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadArgument(f"{name}: the text is not UTF-8") from None
        return text
    raise BadArgument(f"{name} needs a text, not {'nil' if text is None else type(text).__name__}")


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _plain(value: object, what: str, *, finite: bool) -> object:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadValue(
                f"{what} holds bytes that are not UTF-8: encode them first, such as in hex"
            ) from None
        return value
    if isinstance(value, float) and finite and not math.isfinite(value):
        raise BadValue(f"{what} is {value}, which JSON has no form for")
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        return [_plain(item, f"{what}[{i}]", finite=finite) for i, item in enumerate(value, 1)]
    if isinstance(value, dict):
        return {
            _plain(k, what, finite=finite): _plain(v, f"{what}.{k}", finite=finite) for k, v in value.items()
        }
    if isinstance(value, Pairs):
        raise BadValue(f"{what} is a table whose keys are neither 1 to n nor all text: it has no form there")
    raise BadValue(f"{what} is nil; leave it out")


def _loaded(data: object, what: str, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise BadValue(f"{what}: there are more than {MAX_NODES:,} items (YAML aliases count each time)")
    if depth > MAX_DEPTH:
        raise BadValue(f"{what} is nested more than {MAX_DEPTH} deep, or holds itself")
    if isinstance(data, dict):
        rows = {_key(k, what): (k, v) for k, v in data.items()}
        if len(rows) != len(data):
            raise BadValue(f"{what} has two keys that are the same text")
        return {k: _loaded(v, f"{what}.{k}", depth + 1, left) for k, (_, v) in rows.items() if v is not None}
    if isinstance(data, list):
        for number, item in enumerate(data, 1):
            if item is None:
                raise BadValue(f"{what}[{number}] is null: a Lua list has no holes")
        return [_loaded(item, f"{what}[{i}]", depth + 1, left) for i, item in enumerate(data, 1)]
    if data is None or isinstance(data, str | bool | int | float | bytes):
        return data
    if hasattr(data, "isoformat"):
        return data.isoformat()
    raise BadValue(f"{what} is of type {type(data).__name__}, which has no form in Lua")


def _key(key: object, what: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float) or hasattr(key, "isoformat"):
        return str(key)
    raise BadValue(f"{what} has a key of type {type(key).__name__}; keys are text")
