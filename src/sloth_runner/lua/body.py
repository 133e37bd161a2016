"""Why: the engine resumes generators of calls; this makes one of each Lua function."""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.lua.bridge import SHORT, record, table, texts
from sloth_runner.model import Call, Partial, Returned, Site
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.lua.runtime import Got, Runtime
    from sloth_runner.model import Body, Start

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1


def starter(runtime: Runtime, number: int) -> Start:
    """What begins the registered Lua function: called with the values it gets."""

    def start(*args: object) -> Body:
        return _body(runtime, number, args)

    return start


def _body(runtime: Runtime, number: int, args: tuple[object, ...]) -> Body:
    step = runtime.step
    failed: tuple[BaseException, str] | None = None
    body, got = runtime.start(number, args)
    try:
        while got[0] > 0:
            last = _call(runtime, got)
            try:
                value = yield last
            except GeneratorExit:
                runtime.abandon(body)
                raise
            except BaseException as error:
                failed = (error, last.name)
                got = runtime.throw(body, error)
                continue
            if value is None or value is True or value is False or type(value) is float:
                got = step(body, True, value)
            elif type(value) is str and len(value) < SHORT and value.isascii():
                got = step(body, True, value.encode())
            elif type(value) is int and _INT_MIN <= value <= _INT_MAX:
                got = step(body, True, value)
            elif type(value) is dict and (fields := record(value)) is not None:
                got = step(body, 1, *fields)
            else:
                got = runtime.answer(body, _results(last, value), _unknown(value))
        runtime.live.discard(body)
        return _result(runtime, got, failed)
    finally:
        runtime.drop(body)


def _call(runtime: Runtime, got: Got) -> Call:
    kind = got[0]
    if kind == 1:
        return Call(got[1].decode(), texts(got[2:]))
    _, name, file, line, outer, *scalars = got
    site = None if file is None else runtime.sites.get((file, line)) or _site(runtime, file, line)
    further = () if outer is None else _sites(outer)
    if kind == 4:
        return Call(name.decode(), (table(scalars),), site, further)
    values: list[Any] = runtime.values(scalars[0], scalars[1:])
    if kind == 3:
        keys, numbers = values
        return Call(name.decode(), (keys, [starter(runtime, number) for number in numbers]), site)
    return Call(name.decode(), tuple(values), site, further)


def _site(runtime: Runtime, file: bytes, line: int) -> Site:
    site = runtime.sites[file, line] = Site(file[1:].decode("utf-8", "surrogateescape"), line)
    return site


def _sites(outer: bytes) -> tuple[Site, ...]:
    """The lines further out on the stack: "LINE@FILE", one below the other."""
    found = []
    for frame in outer.decode("utf-8", "surrogateescape").split("\n"):
        line, _, file = frame.partition("@")
        found.append(Site(file, int(line)))
    return tuple(found)


def _results(call: Call, value: object) -> Sequence[object]:
    """A reply as the values that the Lua call returns."""
    if isinstance(value, Returned):
        return value.values
    if call.name == "parallel" and isinstance(value, list | tuple):
        return [_first(item) for item in value]
    if type(value) is tuple:
        return value
    if isinstance(value, Partial):
        return (dict(value.known),)
    return (value,)


def _unknown(value: object) -> str | None:
    """The names of the fields that a reply leaves open, if it leaves some."""
    return "\n".join(value.unknown) if isinstance(value, Partial) else None


def _first(value: object) -> object:
    if isinstance(value, Returned):
        return value.values[0] if value.values else None
    return value


def _result(runtime: Runtime, got: Got, failed: tuple[BaseException, str] | None) -> object:
    if got[0] < 0:
        raise runtime.ended(got, failed)
    values = runtime.values(got[1], got[2:])
    if not values:
        return None
    return values[0] if len(values) == 1 else Returned(tuple(values))
