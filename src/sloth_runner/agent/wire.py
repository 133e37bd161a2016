"""Why: an operation, its result and its failure must mean the same on both ends of a wire, whatever carries them.

One message is a JSON text followed by the byte strings that occur in it: ``length of the text | text | bytes …``,
where the text is ``[value, [lengths of the byte strings]]``. A value of ``ops`` (or of this file) is a list: its
class's name and its fields, trailing ones left out where they have their defaults. What a field may be is read from
its annotation, so that a new operation needs no code here; whatever else comes over the wire is refused as
Malformed.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache

from sloth_runner import ops
from sloth_runner.plain import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from sloth_runner.ops import Result

    Blobs: TypeAlias = "list[bytes]"

VERSION = 1
"""Of the protocol: what both ends must have in common."""
_LENGTH = struct.Struct(">I")


class Malformed(Exception):
    """What came over the wire is no message of this protocol."""


class Hello(NamedTuple):
    """What an agent says first: the protocol's version, its own hash, its Python, who it is."""

    version: int
    build: str
    python: tuple[int, ...]
    user: str
    uid: int
    home: str
    pid: int


class Start(NamedTuple):
    """What a controller says first: its version, a random name of the session, after how many seconds of silence the
    agent may take it for gone, and the password that sudo wants (None: it needs none)."""

    version: int
    session: str
    patience: float
    password: str | None = None


class Request(NamedTuple):
    """An operation to be performed. Replies to requests with numbers up to ``seen`` have arrived. ``user``: as
    whom it is performed (None: as the agent's own user)."""

    op: ops.Op
    seen: int = 0
    user: str | None = None


class Kept(NamedTuple):
    """Stands for an operation with a content (a Write's, an Unpack's, a Fetch's body) that has come before: ``op``
    without it, and its SHA-256 (hex)."""

    op: ops.Op
    digest: str


class Refused(NamedTuple):
    """An OpError."""

    kind: str
    path: str
    reason: str
    partial: bool = False
    results: tuple[Result, ...] = ()


class Overran(NamedTuple):
    """A program took longer than it might and was stopped; the last it said."""

    label: str
    timeout: float
    said: bytes


class Unstoppable(NamedTuple):
    """A program has to be stopped and can't be: it runs as another user."""

    label: str
    user: str
    group: int
    system: str


class Stopped(NamedTuple):
    """The operation was cancelled."""


class Forgotten(NamedTuple):
    """The number of a request is not new, and what came of it is no longer known; nothing was done now."""


class Lacking(NamedTuple):
    """A content that a request names by its digest (hex) has not come, or is no longer kept; nothing was done."""

    digest: str


class Broken(NamedTuple):
    """The agent itself failed, in words."""

    text: str


OPERATIONS = (
    ops.Stat, ops.Read, ops.Write, ops.MakeDir, ops.MakeLink, ops.SetTimes, ops.SetAttrs, ops.Remove, ops.Glob,
    ops.List, ops.Unpack, ops.WhoAmI, ops.Whose, ops.Facts, ops.Exec, ops.Fetch, ops.Reach, ops.Pause, ops.Batch,
    Kept,
)  # fmt: skip
RESULTS = (
    ops.Found, ops.Content, ops.Done, ops.Matches, ops.Listing, ops.Unpacked, ops.Identity, ops.Owned, ops.Gathered,
    ops.Ran, ops.Fetched, ops.Reached, ops.Paused,
)  # fmt: skip
FAILURES = (Refused, Overran, Unstoppable, Stopped, Forgotten, Lacking, Broken)


def dumps(value: Any) -> bytes:
    """A message. ``value`` is one of the classes above, an operation, a result or a tuple of results."""
    blobs: list[bytes] = []
    text = json.dumps([_put(value, blobs), [len(blob) for blob in blobs]], separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *blobs))


def loads(data: bytes, *classes: type) -> Any:
    """The value of a message, which is of one of ``classes`` (``tuple`` among them: results too). Raises
    Malformed."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        text = data[_LENGTH.size : _LENGTH.size + length]
        raw, lengths = json.loads(text)
        blobs = _cut(data, _LENGTH.size + length, lengths)
        value = _get(raw, blobs, frozenset(one.__name__ for one in classes), tuple in classes)
    except Malformed:
        raise
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        struct.error,
        RecursionError,
        OverflowError,
    ) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None
    return value


def _cut(data: bytes, start: int, lengths: list[int]) -> list[bytes]:
    blobs = []
    for length in lengths:
        if type(length) is not int or length < 0 or start + length > len(data):
            raise Malformed("the lengths of its byte strings are wrong")
        blobs.append(data[start : start + length])
        start += length
    if start != len(data):
        raise Malformed("something follows it")
    return blobs


def _put(value: Any, blobs: list[bytes]) -> Any:
    kind = type(value)
    if kind is tuple:
        return ["", *[_put(one, blobs) for one in value]]
    fields, least = _fields(kind.__name__)
    last = len(value)
    while last > least and value[last - 1] == fields[last - 1].default:
        last -= 1
    return [kind.__name__, *[field.put(one, blobs) for field, one in zip(fields, value[:last])]]  # noqa: B905 - 3.8


def _get(raw: Any, blobs: list[bytes], names: frozenset[str], results: bool) -> Any:
    if type(raw) is not list or not raw or type(raw[0]) is not str:
        raise Malformed("it is no value")
    name = raw[0]
    if name == "" and results:
        return tuple([_get(one, blobs, _NAMES["Result"], True) for one in raw[1:]])
    if name not in names:
        raise Malformed(f"a {ascii(name)[:40]} is not expected here")
    fields, least = _fields(name)
    given = raw[1:]
    if not least <= len(given) <= len(fields):
        raise Malformed(f"a {name} has {len(fields)} fields")
    values = [field.get(one, blobs) for field, one in zip(fields, given)]  # noqa: B905 - 3.8
    values += [field.default for field in fields[len(given) :]]
    return _CLASSES[name](*values)


class _Codec(NamedTuple):
    """How a type's values are put into a message and got out of it."""

    put: Callable[[Any, list[bytes]], Any]
    get: Callable[[Any, list[bytes]], Any]


class _Field(NamedTuple):
    put: Callable[[Any, list[bytes]], Any]
    get: Callable[[Any, list[bytes]], Any]
    default: Any


_CLASSES: dict[str, Any] = {
    one.__name__: one for one in (*OPERATIONS, *RESULTS, *FAILURES, Hello, Start, Request)
}
_NAMES = {
    "Op": frozenset(one.__name__ for one in OPERATIONS),
    "ops.Op": frozenset(one.__name__ for one in OPERATIONS),
    "Result": frozenset(one.__name__ for one in RESULTS),
}
_STAMP = "tuple[int, int, int, int, int]"


@lru_cache(maxsize=None)
def _fields(name: str) -> tuple[tuple[_Field, ...], int]:
    """The fields of a class, and how many of them have no default."""
    made = _CLASSES[name]
    found = []
    for field in made._fields:
        codec = _codec(made.__annotations__[field])
        found.append(_Field(codec.put, codec.get, made._field_defaults.get(field)))
    return tuple(found), len(found) - len(made._field_defaults)


@lru_cache(maxsize=None)
def _codec(text: str) -> _Codec:
    """What an annotation means on the wire."""
    text = text.strip()
    if text.endswith(" | None"):
        inner = _codec(text[:-7])
        return _Codec(
            lambda value, blobs: None if value is None else inner.put(value, blobs),
            lambda raw, blobs: None if raw is None else inner.get(raw, blobs),
        )
    if text == "Stamp":
        text = _STAMP
    if text.startswith("tuple["):
        return _tuple(_parts(text[6:-1]))
    if text in _NAMES:
        return _Codec(_put, lambda raw, blobs: _get(raw, blobs, _NAMES[text], text == "Result"))
    return _SIMPLE[text]


def _tuple(parts: list[str]) -> _Codec:
    if parts[-1] == "...":
        one = _codec(parts[0])
        return _Codec(
            lambda value, blobs: [one.put(item, blobs) for item in value],
            lambda raw, blobs: tuple([one.get(item, blobs) for item in _list(raw)]),
        )
    each = [_codec(part) for part in parts]

    def get(raw: Any, blobs: list[bytes]) -> tuple[Any, ...]:
        if len(_list(raw)) != len(each):
            raise Malformed("a list has a wrong length")
        return tuple([codec.get(item, blobs) for codec, item in zip(each, raw)])  # noqa: B905 - 3.8

    return _Codec(
        lambda value, blobs: [codec.put(item, blobs) for codec, item in zip(each, value)],  # noqa: B905 - 3.8
        get,
    )


def _parts(text: str) -> list[str]:
    """What stands between the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in (*parts, text[start:])]


def _list(raw: Any) -> list[Any]:
    if type(raw) is not list:
        raise Malformed("a list is missing")
    return raw


def _plain(*kinds: type) -> _Codec:
    def get(raw: Any, blobs: list[bytes]) -> Any:
        if type(raw) not in kinds:
            raise Malformed(f"a field is no {kinds[0].__name__}")
        return raw

    return _Codec(lambda value, blobs: value, get)


def _put_bytes(value: bytes, blobs: list[bytes]) -> int:
    blobs.append(value)
    return len(blobs) - 1


def _get_bytes(raw: Any, blobs: list[bytes]) -> bytes:
    if type(raw) is not int or raw < 0:
        raise Malformed("a byte string is missing")
    return blobs[raw]


def _get_texts(raw: Any, blobs: list[bytes]) -> dict[str, str]:
    if type(raw) is not dict or not all(type(value) is str for value in raw.values()):
        raise Malformed("a table of texts is missing")
    return raw


def _get_number(raw: Any, blobs: list[bytes]) -> float:
    if type(raw) not in (int, float):
        raise Malformed("a number is missing")
    return raw  # type: ignore[no-any-return] # the line above


_SIMPLE = {
    "str": _plain(str),
    "int": _plain(int),
    "bool": _plain(bool),
    "float": _Codec(lambda value, blobs: value, _get_number),
    "bytes": _Codec(_put_bytes, _get_bytes),
    "Mapping[str, str]": _Codec(lambda value, blobs: dict(value), _get_texts),
    "object": _Codec(lambda value, blobs: value, lambda raw, blobs: raw),
}
