"""Why: state must be carried elsewhere, kept as a backup and brought back; this is the form it travels in.

A bundle is JSON Lines in UTF-8 (docs/bundle-format.md): for each namespace a header, its records, and a closing line
with the digest of every byte before it. A record's value stands in its line as it is stored, so that nothing is
lost on the way, and each line has one form only. Whatever is read here is bounded before it is understood.
"""

from __future__ import annotations

import json
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator, Mapping

from sloth_runner.errors import Corrupt, SlothError, TooLarge
from sloth_runner.plain import Any, Final, NamedTuple, TypeAlias
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, LEASE, META, SEP, SHARED, check_agent_name
from sloth_runner.state.value import MAX_VALUE

FORMAT: Final = "sloth-runner/bundle"
VERSION: Final = 1
BLOCK: Final = 1 << 20
LINE_MAX: Final = 24 << 20
"""Bytes of a line: base64 of the 16 MiB that a store's value may have, and room."""
TEXT_MAX: Final = 1 << 20
"""Bytes of JSON that stand in a line as they are; longer values are base64, which takes no more room when read."""
STRING_MAX: Final = 6 * MAX_VALUE + 2
"""Bytes of the JSON of a string value of the greatest length, all of it escapes."""
HEADER_MAX: Final = 16 << 10
SECTIONS_MAX: Final = 10_000
NAME_MAX: Final = 4096
NEVER: Final = frozenset((LEASE, META))
"""Kinds that stay where they are: who holds a lock now, and what is known of the namespace as a whole."""
OF_KEYS: Final = (HISTORY, BLOB, HEAD)
"""Kinds that make up one key; its lines stand together, the head last."""
BYTES: Final = '{"$bytes":"'
_quote = json.encoder.encode_basestring
scan_string: Callable[[str, int, bool], tuple[str, int]] = getattr(json.decoder, "scanstring")  # noqa: B009 - not in its stubs
"""A JSON string, from behind its first quote: the text, and where it ends."""
_loads = json.JSONDecoder().decode


class Header(NamedTuple):
    """What a section says of itself: ``section`` of ``sections`` (from 1) holds ``namespace`` as of ``created``.

    ``lineage`` is the namespace's identity (None: it was empty), ``head`` the digest over the heads of all its
    chains, ``counts`` what is in it; ``prefix`` limits it to keys below.
    """

    section: int
    sections: int
    namespace: str
    lineage: str | None
    head: str
    created: str
    user: str
    host: str
    program: str
    with_history: bool
    prefix: str
    counts: Mapping[str, int]


class Closing(NamedTuple):
    """The last line of a section: how many records of each kind stand in it, and the digest of all bytes before."""

    section: int
    counts: Mapping[str, int]
    digest: str


class Line(NamedTuple):
    """A record: its kind, its name, what its store key has after that (a revision, or other text), its value."""

    kind: str
    name: str
    rest: int | str | None
    value: bytes


Part: TypeAlias = "Header | Closing | bytes"
"""What a bundle is made of; bytes are whole lines of records."""


def header_line(header: Header) -> bytes:
    """The header's line."""
    row = {
        "format": FORMAT,
        "version": VERSION,
        "section": header.section,
        "sections": header.sections,
        "namespace": header.namespace,
        "lineage": header.lineage,
        "head": header.head,
        "created": header.created,
        "by": {"user": header.user, "host": header.host},
        "program": header.program,
        "with_history": header.with_history,
        "prefix": header.prefix,
        "counts": dict(header.counts),
    }
    return _dump(row)


def closing_line(closing: Closing) -> bytes:
    """The closing line."""
    return _dump({"end": closing.section, "counts": dict(closing.counts), "digest": closing.digest})


def record_line(line: Line) -> bytes:
    """The line of one record. Raises TooLarge for a value that no bundle takes."""
    start = _line_start(line.kind, line.name, line.rest).encode()
    value = line.value if _stands_as_it_is(line) else _base64(line.value)
    if len(start) + len(value) + 2 > LINE_MAX:
        raise TooLarge(
            f"the record {line.name!r} has {len(line.value):,} bytes: too long for a bundle",
            unchanged=["nothing was exported"],
        )
    return b"%b%b]\n" % (start, value)


def parse(raw: bytes) -> Line:
    """The record of one line, without its newline. Raises Corrupt for any form but the one that is written."""
    try:
        text = raw.decode()
        kind = text[2]
        if not (text.startswith('["') and text[3:6] == '","' and kind.isascii() and kind.islower()):
            raise ValueError("it begins as no record does")
        name, at = scan_string(text, 6, True)
        rest: int | str | None = None
        if text[at + 1 : at + 2].isdigit():
            end = text.index(",", at + 1, at + 14)
            rest, at = int(text[at + 1 : end]), end
        elif text[at + 1 : at + 2] == '"':
            more, at = scan_string(text, at + 2, True)
            rest = rest_of(more.split(SEP))
            if not more or rest != more:
                raise ValueError("what follows its name is not as this program writes it")
        start = text[: at + 1]
        if start != _line_start(kind, name, rest) or text[-1] != "]" or kind in NEVER:
            raise ValueError("it is not as this program writes it")
        if not 0 < len(name) <= NAME_MAX or any(c < " " for c in name) or len(str(rest)) > NAME_MAX:
            raise ValueError("its name is none")
        return Line(kind, name, rest, _value(kind, text[at + 1 : -1]))
    except (ValueError, IndexError, RecursionError) as error:
        raise damaged(f"a record can't be read: {error}") from error


def store_rest(line: Line) -> str:
    """What follows the name in the record's store key."""
    if line.rest is None:
        return ""
    return f"{SEP}{line.rest:012d}" if isinstance(line.rest, int) else f"{SEP}{line.rest}"


def rest_of(parts: list[str]) -> int | str | None:
    """The ``rest`` of a store key's parts after the name."""
    if not parts:
        return None
    only = parts[0]
    if len(parts) == 1 and len(only) == 12 and only.isascii() and only.isdigit():
        return int(only)
    return SEP.join(parts)


def read(blocks: Iterable[bytes]) -> Iterator[Part]:
    """Take a bundle apart and verify it on the way: each closing line's digest and counts, that all sections are
    there, and that nothing follows. A section's records are only to be trusted once its Closing has come.

    Raises Corrupt.
    """
    import hashlib

    digest = hashlib.sha256()
    header: Header | None = None
    sections, done, lines = 0, 0, 0
    for piece in _pieces(blocks):
        if done and done == sections:
            raise damaged("something follows its closing line")
        if piece[0:1] == b"[":
            if header is None:
                raise damaged("records stand before the header")
            digest.update(piece)
            lines += piece.count(b"\n")
            yield piece
        elif header is None:
            header = _header(piece)
            if header.section != done + 1 or (sections and header.sections != sections):
                raise damaged(f"section {done + 1} is missing")
            sections = header.sections
            digest.update(piece)
            yield header
        else:
            closing = _closing(piece)
            if closing.section != header.section or closing.digest != f"sha256:{digest.hexdigest()}":
                raise damaged("its digest does not fit what stands in it")
            if lines != sum(closing.counts.values()):
                raise damaged("it does not hold as many records as it says")
            digest.update(piece)
            done, header, lines = header.section, None, 0
            yield closing
    if header is not None or done == 0 or done < sections:
        raise damaged("it is cut off")


def damaged(why: str) -> Corrupt:
    """The error for a bundle that is not as it was written."""
    return Corrupt(
        f"the bundle is damaged: {why}", unchanged=["nothing was changed"], next=["use another copy of it"]
    )


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines: records together, headers and closing lines (which begin with a brace) alone."""
    carry = b""
    for block in blocks:
        data = carry + block if carry else block
        cut = data.rfind(b"\n") + 1
        carry = data[cut:]
        if len(carry) > LINE_MAX:
            raise damaged(f"a line is longer than {LINE_MAX:,} bytes")
        at = 0
        while at < cut:
            if data[at : at + 1] == b"{":
                end = data.index(b"\n", at) + 1
            else:
                found = data.find(b'\n{"end":', at, cut)  # anything else in braces is no record
                end = cut if found < 0 else found + 1
                if data[at : at + 1] != b"[":
                    raise damaged("a line is no record of a bundle")
            yield data[at:end]
            at = end
    if carry:
        raise damaged("it is cut off")


def _header(line: bytes) -> Header:
    row = _object(line)
    try:
        if row.get("format") != FORMAT:
            raise damaged("it is no bundle of sloth-runner")
        if row["version"] != VERSION:
            raise Corrupt(
                f"the bundle has version {str(row['version'])[:20]}; this program reads version {VERSION}",
                unchanged=["nothing was changed"],
                next=["use the version of sloth-runner that wrote it, or a newer one"],
            )
        by = row["by"]
        header = Header(
            _int(row["section"], SECTIONS_MAX), _int(row["sections"], SECTIONS_MAX), _str(row["namespace"]),
            None if row["lineage"] is None else _hex(row["lineage"], 32), _hex(row["head"], 64),
            _str(row["created"]), _str(by["user"]), _str(by["host"]), _str(row["program"]),
            _bool(row["with_history"]), _str(row["prefix"]), _counts(row["counts"]),
        )  # fmt: skip
        if header.namespace != SHARED:
            check_agent_name(header.namespace)
    except SlothError as error:
        raise error if isinstance(error, Corrupt) else damaged(error.message) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(f"its header can't be read: {error!r}") from error
    if not 1 <= header.section <= header.sections:
        raise damaged("its header can't be read: there is no such section")
    return header


def _closing(line: bytes) -> Closing:
    row = _object(line)
    try:
        return Closing(_int(row["end"], SECTIONS_MAX), _counts(row["counts"]), _str(row["digest"]))
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(f"its closing line can't be read: {error!r}") from error


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > HEADER_MAX:
        raise damaged("its header is too long")
    try:
        row: dict[str, Any] = _loads(line.decode().rstrip("\n"))
        canonical = isinstance(row, dict) and _dump(row) == line
    except (ValueError, RecursionError) as error:
        problem = damaged(f"a header can't be read: {error}")
        problem.next += ["or is it JSON, as state export --format json writes it? then say --format json"]
        raise problem from error
    if not canonical:
        raise damaged("a header is not as this program writes it")
    return row


def _value(kind: str, text: str) -> bytes:
    """A value as it is stored, checked to be JSON (within what may stand as it is), or from its base64."""
    if text.startswith(BYTES):
        try:
            value = a2b_base64(text[len(BYTES) : -2], strict_mode=True)
        except Error as error:
            raise ValueError(f"no base64: {error}") from None
        if _base64(value) != text.encode():
            raise ValueError("no canonical base64")
        if _stands_as_it_is(Line(kind, "", None, value)):
            raise ValueError("base64 where none is needed")
        return value
    value = text.encode()
    if not _stands_as_it_is(Line(kind, "", None, value)):
        raise ValueError("its value is no JSON, or too long")
    return value


def _stands_as_it_is(line: Line) -> bool:
    """Whether a value is put into its line as it is: JSON on one line, not too long, not taken for base64."""
    value = line.value
    if line.kind == BLOB and value[:1] == b'"':
        most, begins = STRING_MAX, True
    else:
        most, begins = TEXT_MAX, line.kind == BLOB or value[:1] in (b"{", b"[")
    if not begins or len(value) > most or b"\n" in value or value.startswith(BYTES.encode()):
        return False
    if line.kind in (HEAD, HISTORY):
        return True  # whoever reads it decodes the record
    try:
        _loads(value.decode())
    except (ValueError, RecursionError):
        return False
    return value[-1:] not in (b" ", b"\t", b"\r")


def _base64(value: bytes) -> bytes:
    return b'%b%b"}' % (BYTES.encode(), b2a_base64(value, newline=False))


def _line_start(kind: str, name: str, rest: int | str | None) -> str:
    if rest is None:
        return f'["{kind}",{_quote(name)},'
    return f'["{kind}",{_quote(name)},{rest if isinstance(rest, int) else _quote(rest)},'


def _dump(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _int(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError("no such number")
    return value


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is missing")
    value.encode()
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is missing")
    return value


def _hex(value: object, length: int) -> str:
    text = _str(value)
    if len(text) != length or any(c not in "0123456789abcdef" for c in text):
        raise ValueError("no digest")
    return text


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > 100:
        raise ValueError("the counts are missing")
    return {_str(name): _int(number, 1 << 48) for name, number in value.items()}
