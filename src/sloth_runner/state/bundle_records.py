"""Why: a bundle's records are checked before they are believed, and a million of them must not take long.

Most are plain: a short name, a string or whole number, all ASCII without escapes. One regular expression proves a
whole block of those right and takes them apart; all others are decoded, one by one, to the same end: a record is
accepted only if it is, byte for byte, what this program writes.
"""

from __future__ import annotations

import re

from sloth_runner.errors import Corrupt, SlothError
from sloth_runner.plain import Final, TypeAlias
from sloth_runner.state.bundle import damaged
from sloth_runner.state.record import Record, decode_record, digest
from sloth_runner.state.value import decode, encode, size_of

LATEST: Final = 253402300800.0
"""Seconds since the epoch: the year 10000. Later moments have no ISO form."""
NUMBER_MAX: Final = 10**12
_WHOLE = rb"(?:0|[1-9][0-9]{0,10}+)"
_MOMENT = _WHOLE + rb"(?:\.(?:[0-9]{0,16}[1-9]|0))?+"
_STRING = rb'"[^"\\\x00-\x1f]*+"'
_INTEGER = rb"(?:0|-?[1-9][0-9]{0,17}+)"
_MUTABLE = (
    rb'(?:"x":-?[0-9][0-9.e+]*+,)?+(?:"s":1,)?+(?:"y":"[0-9a-f]{32}",)?+'  # expiry, sensitive, last touch
)
_HEAD = re.compile(
    rb'\{"a":[1-9][0-9]{0,11},"at":[0-9][0-9.e+]*+,(?P<kept>"ab":[0-9]++,)?+(?P<rest>' + _MUTABLE + rb")"
)
_PLAIN = re.compile(
    rb'(?m)^\["k","([ !#-\[\]-~]{1,512}+)",(\{"a":([1-9][0-9]{0,11}+),"at":' + _MOMENT
    + rb',("ab":' + _WHOLE + rb',)?+((?:"x":' + _MOMENT + rb',)?+(?:"s":1,)?+(?:"y":"[0-9a-f]{32}",)?+)'
    + rb'("f":1,"n":([1-9][0-9]{0,11}+),"w":"[0-9a-f]{32}","o":"[a-z]{1,20}+","v":(?:' + _STRING + rb"|" + _INTEGER
    + rb'|true|false),"z":(' + _WHOLE + rb'),"t":(' + _MOMENT + rb'),"c":' + _MOMENT + rb',"u":' + _STRING
    + rb',"m":' + _STRING + rb',"i":' + _WHOLE + rb'(?:,"r":' + _STRING + rb')?+(?:,"k":' + _STRING
    + rb')?+(?:,"e":' + _WHOLE + rb')?+,"p":"(?:[0-9a-f]{64})?+"\}))\]\n'
)  # fmt: skip
_HEX = re.compile("[0-9a-f]*")
_WORD = re.compile("[a-z]{1,20}")


Plain: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""A plain head, taken apart: name, the whole record, and of that: first revision kept, bytes kept (with its name),
what may change while the revision stays, the core with the record's last brace, number, size, time."""


def plain_heads(block: bytes) -> list[Plain] | None:
    """The heads in a block of whole lines if all of them are plain; else None."""
    found: list[Plain] = _PLAIN.findall(block)
    if len(found) != block.count(b"\n"):
        return None
    try:
        block.decode()
    except UnicodeDecodeError:
        return None
    return found


def alone(head: Plain) -> bytes:
    """The record of a plain head as the only one kept of its key."""
    _, record, first, kept, mutable, core, number, size, time = head
    return record if first == number else restart(number, time, size if kept else b"", mutable, core)


def restart(first: bytes, time: bytes, kept: bytes, mutable: bytes, core: bytes) -> bytes:
    """A record whose oldest kept revision is ``first``, of ``time``; ``kept`` are bytes kept, if it says so."""
    bytes_kept = b'"ab":%b,' % kept if kept else b""
    return b'{"a":%b,"at":%b,%b%b%b' % (first, time, bytes_kept, mutable, core)


def with_first(raw: bytes, record: Record, first: int, first_time: float) -> bytes:
    """The bytes of ``record`` (which are ``raw``) with another horizon."""
    head = _HEAD.match(raw)
    assert head is not None
    if (record.first, record.first_time) == (first, first_time):
        return raw
    kept = b""
    if head["kept"]:
        kept = b"%d" % record.size if first == record.number else head["kept"][5:-1]
    return restart(b"%d" % first, repr(first_time).encode(), kept, head["rest"], raw[head.end() :])


def check_record(raw: bytes, name: str) -> Record:
    """Decode a head or revision of ``name`` and prove that it is what this program writes. Raises Corrupt."""
    try:
        record = decode_record(raw)
        head = _HEAD.match(raw)
        if head is None or head.end() != raw.index(b'"f":'):
            raise ValueError("it does not begin as records do")
        if digest(record) != digest(record._replace(core="")) or not raw.endswith(
            f"{record.core}}}".encode()
        ):
            raise ValueError("it is not as this program writes it")
        _check_fields(record)
        if record.text is not None:
            check_text(record.text, record.size)
        return record
    except SlothError as error:
        raise _bad(name, error.message) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _bad(name, str(error)) from error


def check_text(text: str, size: int | None = None) -> None:
    """Prove that a value's text is canonical (and has ``size`` bytes). Raises ValueError and what ``value`` does."""
    value = decode(text)
    if encode(value) != text:
        raise ValueError("its value is not in canonical form")
    if size is not None and size != size_of(value, text):
        raise ValueError("its value has not the size it says")


def _check_fields(record: Record) -> None:
    numbers = (record.number, record.first, record.size, record.by.pid)
    if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise ValueError("a number is none")
    if not 1 <= record.first <= record.number < NUMBER_MAX or record.size < 0:
        raise ValueError("a number is out of range")
    moments = (record.time, record.created, record.first_time, record.expires or 0.0)
    if not all(0 <= moment < LATEST for moment in moments):
        raise ValueError("a time is out of range")
    if len(record.write_id) != 32 or not _HEX.fullmatch(record.write_id):
        raise ValueError("its write id is none")
    if len(record.previous) not in (0, 64) or not _HEX.fullmatch(record.previous):
        raise ValueError("the hash of the revision before it is none")
    if len(record.blob) not in (0, 64) or not _HEX.fullmatch(record.blob):
        raise ValueError("the hash of its long value is none")
    if not _WORD.fullmatch(record.op) or (record.blob and record.text is not None):
        raise ValueError("its fields contradict each other")


def _bad(name: str, why: str) -> Corrupt:
    return damaged(f"a record of {name!r} can't be taken: {why}")


class Chain:
    """The revisions of one key as they pass by, oldest first: each must hold the hash of the one before.

    Below the horizon of the head there may be gaps (what is kept there is what tags name); from it on, none."""

    __slots__ = ("_last", "_name", "_run")

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Record | None = None
        self._run = 0

    def step(self, record: Record) -> None:
        """The next revision. Raises Corrupt."""
        last = self._last
        if last is not None and record.number <= last.number:
            raise _bad(self._name, "its revisions are out of order")
        if last is None or record.number != last.number + 1:
            self._run = record.number
        elif record.previous != digest(last):
            raise _bad(self._name, f"revision {record.number} does not follow from revision {last.number}")
        if record.number == 1 and record.previous:
            raise _bad(self._name, "revision 1 names a revision before it")
        self._last = record

    def close(self, head: Record) -> None:
        """The head, which must be the last revision, all from its horizon on being there. Raises Corrupt."""
        last = self._last
        if last is None or last.number != head.number or digest(last) != digest(head):
            raise _bad(self._name, "its last revision is not what its head says")
        if self._run > head.first:
            raise _bad(self._name, f"revisions {head.first} to {self._run - 1} are missing")
