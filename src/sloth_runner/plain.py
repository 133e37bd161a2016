"""Why: start-up is a feature. To load ``typing`` is a tenth of what a short command takes, and nothing here needs it
while it runs: annotations are never looked at. And a hundred named tuples of the standard library's are a fifth of a
small run's time: typing's compiles the text of every annotation, and that of collections a function for every class.

To a type checker all names here are typing's. ``NamedTuple`` makes classes that do the same as typing's; ``__new__``
is compiled once for each number of fields, and gets its parameters' names from the class. What else there is only
keeps definitions from failing. Standard library only, as all that is sent to bare machines.
"""

from __future__ import annotations

from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import (
        IO,
        Any,
        Final,
        NamedTuple,
        NoReturn,
        Protocol,
        TextIO,
        TypeAlias,
        TypeVar,
        cast,
        overload,
    )
else:
    IO = Any = Final = NoReturn = TextIO = TypeAlias = object

    class Protocol:
        """What a class has to have; never asked for at run time."""

        __slots__ = ()

    def TypeVar(name, **_):  # noqa: N802 - typing's name
        """A name that stands for a type."""
        return name

    def cast(_, value):
        """The value."""
        return value

    def overload(function):
        """One of several signatures; the last definition is the function."""
        return function

    try:
        from _collections import _tuplegetter
    except ImportError:  # another Python than CPython
        from operator import itemgetter

        def _tuplegetter(index, doc):
            return property(itemgetter(index), doc=doc)

    _TEMPLATES = {}

    def _constructor(fields):
        """``lambda _cls, a, b: tuple.__new__(_cls, (a, b))`` with these names."""
        count = len(fields)
        if count not in _TEMPLATES:
            names = "".join(f"_{number}, " for number in range(count))
            source = f"lambda _cls, {names}: new(_cls, ({names}))"
            _TEMPLATES[count] = eval(source, {"new": tuple.__new__, "__builtins__": {}})  # noqa: S307 - our own text
        template = _TEMPLATES[count]
        code = template.__code__.replace(co_varnames=("_cls", *fields), co_name="__new__")
        return FunctionType(code, template.__globals__, "__new__")

    def _make(cls, iterable):
        """A new one from a sequence or an iterable."""
        result = tuple.__new__(cls, iterable)
        if len(result) != len(cls._fields):
            raise TypeError(f"expected {len(cls._fields)} arguments, got {len(result)}")
        return result

    def _replace(self, /, **given):
        """A new one with other values of some fields."""
        result = tuple.__new__(type(self), map(given.pop, self._fields, self))
        if given:
            raise TypeError(f"there are no fields {sorted(given)}")
        return result

    def _asdict(self):
        """Field names and values."""
        return dict(zip(self._fields, self))  # noqa: B905 - Python 3.8 has no strict

    def _repr(self):
        return f"{type(self).__name__}({', '.join(f'{f}={v!r}' for f, v in self._asdict().items())})"

    def _getnewargs(self):
        return tuple(self)

    _SHARED = {
        "__slots__": (),
        "_make": classmethod(_make),
        "_replace": _replace,
        "_asdict": _asdict,
        "__repr__": _repr,
        "__getnewargs__": _getnewargs,
    }

    class _Maker(type):
        def __new__(cls, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body[field] for field in fields if field in body}
            new = _constructor(fields)
            new.__defaults__ = tuple(defaults.values())
            getters = {field: _tuplegetter(index, None) for index, field in enumerate(fields)}
            own = {"_fields": fields, "_field_defaults": defaults, "__new__": new, "__match_args__": fields}
            return type(name, (tuple,), {**_SHARED, **own, **body, **getters})

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})

__all__ = [
    "IO",
    "TYPE_CHECKING",
    "Any",
    "Final",
    "NamedTuple",
    "NoReturn",
    "Protocol",
    "TextIO",
    "TypeAlias",
    "TypeVar",
    "cast",
    "overload",
]
