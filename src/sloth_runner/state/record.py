"""Why: a key's head and each of its revisions hold the same record; this is its form on disk.

A record is one JSON object with short names: ``n`` number, ``w`` write id, ``o`` operation, ``v`` value or
``b`` blob, ``z`` size, ``x`` expiry, ``s`` sensitive, ``t`` time, ``c`` created, ``u m i r k`` user, host,
pid, run and task, ``e`` fencing token, ``p`` hash of the revision before, ``a`` and ``at`` the first revision
kept and its time, ``y`` the last touch.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from sloth_runner.errors import Corrupt
from sloth_runner.model import By

FORMAT = 1
BLOB_FROM = 64 * 1024
"""Texts longer than this stand in a blob beside the record."""

_loads = json.JSONDecoder().decode
_quote = json.encoder.encode_basestring


class Record(NamedTuple):
    """One revision of one key. ``text`` is the value's canonical text, None for a tombstone."""

    number: int
    write_id: str
    op: str
    text: str | None
    size: int
    time: float
    created: float
    by: By
    expires: float | None = None
    sensitive: bool = False
    fence: int | None = None
    previous: str = ""
    first: int = 1
    first_time: float = 0.0
    touch: str = ""
    in_blob: bool = False

    def live(self, now: float) -> bool:
        """Whether a reader at ``now`` (seconds since the epoch) sees a value."""
        return (self.text is not None or self.in_blob) and (self.expires is None or self.expires > now)


def encode_record(record: Record) -> bytes:
    """The record's bytes; a long value is left to its blob (see ``needs_blob``)."""
    parts = [_core(record, blob=needs_blob(record))]
    if record.expires is not None:
        parts.append(f'"x":{record.expires!r}')
    if record.sensitive:
        parts.append('"s":1')
    if record.touch:
        parts.append(f'"y":"{record.touch}"')
    parts.append(f'"a":{record.first},"at":{record.first_time!r}')
    return ("{" + ",".join(parts) + "}").encode()


def needs_blob(record: Record) -> bool:
    """Whether the value's text stands beside the record."""
    return record.in_blob or (record.text is not None and len(record.text) > BLOB_FROM)


def decode_record(data: bytes) -> Record:
    """The record of these bytes; ``in_blob`` with ``text`` None when the value must be fetched beside it."""
    try:
        row = _loads(data.decode())
        if row["f"] != FORMAT:
            raise Corrupt(f"a record has format {row['f']}; this version reads {FORMAT}")
        value = row.get("v", MISSING)
        text = None if value is MISSING else _canonical(value)
        by = By(row["u"], row["m"], row["i"], row.get("r"), row.get("k"))
        return Record(
            row["n"], row["w"], row["o"], text, row["z"], row["t"], row["c"], by, row.get("x"),
            row.get("s") == 1, row.get("e"), row["p"], row["a"], row["at"], row.get("y", ""), "b" in row,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"a stored record can't be read: {error!r}") from error


def digest(record: Record) -> str:
    """SHA-256 (hex) of what can't change in a revision: all but expiry, sensitivity and retention marks."""
    from hashlib import sha256

    return sha256(_core(record, blob=False).encode()).hexdigest()


def peek(data: bytes) -> tuple[object, float | None, bool]:
    """A fast look: the JSON value (MISSING for tombstones and blobs), the expiry, whether it is sensitive."""
    row = _loads(data.decode())
    return row.get("v", MISSING), row.get("x"), "s" in row


MISSING = object()
_canonical = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def _core(record: Record, *, blob: bool) -> str:
    user, host, pid, run, task = record.by
    who = f'"u":{_quote(user)},"m":{_quote(host)},"i":{pid}'
    if run is not None:
        who += f',"r":{_quote(run)}'
    if task is not None:
        who += f',"k":{_quote(task)}'
    if record.fence is not None:
        who += f',"e":{record.fence}'
    if blob:
        value = ',"b":1'
    else:
        value = "" if record.text is None else f',"v":{record.text}'
    return (
        f'"f":{FORMAT},"n":{record.number},"w":"{record.write_id}","o":"{record.op}"{value},'
        f'"z":{record.size},'
        f'"t":{record.time!r},"c":{record.created!r},{who},"p":"{record.previous}"'
    )
