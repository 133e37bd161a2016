"""Why: a key's head and each of its revisions hold the same record; this is its form on disk.

A record is one JSON object with short names. First what may change while the revision stays: ``a`` and ``at``
the first revision kept and its time, ``ab`` the bytes of all values kept, ``x`` expiry, ``s`` sensitive, ``y`` the
last touch. Then its core, which never changes and is what the hash chain covers: ``f`` format, ``n`` number, ``w``
write id, ``o`` operation, ``v`` value or ``b`` the SHA-256 of a long one that stands in a blob, ``z`` size, ``t``
time, ``c`` created, ``u m i r k`` user, host, pid, run and task, ``e`` fencing token, ``p`` hash of the revision
before.
"""

from __future__ import annotations

import json
import re

from sloth_runner.errors import Corrupt, KeyWrong, SlothError
from sloth_runner.model import By
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.layout import BLOB, store_key

if TYPE_CHECKING:
    from sloth_runner.state.store import Reader

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
    blob: str = ""
    """SHA-256 of the text when that stands in a blob; ``text`` is None until it is fetched."""
    core: str = ""
    """The core as it was read; empty for a record that is being made."""
    kept: int = 0
    """Bytes of the values of all revisions from ``first`` to this one."""

    def live(self, now: float) -> bool:
        """Whether a reader at ``now`` (seconds since the epoch) sees a value."""
        return (self.text is not None or self.blob != "") and (self.expires is None or self.expires > now)


def encode_record(record: Record) -> bytes:
    """The record's bytes; a long value is left to its blob."""
    # Taken apart at once: this is on the path of every write, and a field of a tuple is slow to ask for by name.
    (
        number, write_id, op, text, size, time, created, by, expires, sensitive, fence, previous,
        first, first_time, touch, blob, _, kept,
    ) = record  # fmt: skip
    user, host, pid, run, task = by
    expiry = "" if expires is None else f'"x":{expires!r},'
    secret = '"s":1,' if sensitive else ""
    touched = f'"y":"{touch}",' if touch else ""
    value = f',"b":"{blob}"' if blob else "" if text is None else f',"v":{text}'
    ran = "" if run is None else f',"r":{_quote(run)}'
    within = "" if task is None else f',"k":{_quote(task)}'
    token = "" if fence is None else f',"e":{fence}'
    oldest = repr(first_time)
    same = created == first_time and type(created) is type(first_time)  # else they differ as text
    made = oldest if same else repr(created)  # to write a fraction costs as much as ten of the others
    return (
        f'{{"a":{first},"at":{oldest},"ab":{kept},{expiry}{secret}{touched}'
        f'"f":{FORMAT},"n":{number},"w":"{write_id}","o":"{op}"{value},"z":{size},"t":{time!r},"c":{made},'
        f'"u":{_quote(user)},"m":{_quote(host)},"i":{pid}{ran}{within}{token},"p":"{previous}"}}'
    ).encode()


def decode_record(data: bytes) -> Record:
    """The record of these bytes. Raises Corrupt."""
    try:
        raw = data.decode()
        row = _loads(raw)
        if row["f"] != FORMAT:
            raise Corrupt(
                f"a record has format {row['f']}; this version reads {FORMAT}",
                next=["use the version of sloth-runner that wrote it, or a newer one"],
            )
        text = None
        if "v" in row:
            # Behind the value stand only numbers and quoted texts, so its end is the last of these marks.
            text = raw[raw.index(_VALUE) + len(_VALUE) : raw.rindex(_SIZE)]
        by = By(row["u"], row["m"], row["i"], row.get("r"), row.get("k"))
        return Record(
            row["n"], row["w"], row["o"], text, row["z"], row["t"], row["c"], by, row.get("x"), "s" in row,
            row.get("e"), row["p"], row["a"], row["at"], row.get("y", ""), row.get("b", ""),
            raw[raw.index(_CORE) : -1], row.get("ab", 0),
        )  # fmt: skip
    except _UNREADABLE as error:
        raise _unreadable(data, error) from error


def version_of(record: Record) -> str:
    """Names what a reader of this record saw: it differs after each change of value, expiry or flag."""
    return f"{record.number}-{record.touch or record.write_id}"


def needs_blob(text: str | None) -> bool:
    """Whether a value's text stands beside its record."""
    return text is not None and len(text) > BLOB_FROM


def load_blob(store: Reader, namespace: str, key: str, record: Record) -> Record:
    """``record`` with its value's text, fetched from its blob where it stands there."""
    if not record.blob or record.text is not None:
        return record
    entry = store.get(store_key(namespace, BLOB, key, record.number))
    if entry is None or sha256(entry.value) != record.blob:
        raise Corrupt(
            f"the value of {key!r} (revision {record.number}) is missing from the store, or damaged"
        )
    return record._replace(text=entry.value.decode())


def sha256(data: bytes) -> str:
    """The digest in hex."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def peek(data: bytes) -> tuple[object, float | None, bool]:
    """A fast look: the JSON value (MISSING for tombstones and blobs), the expiry, whether it is sensitive.

    Raises Corrupt, KeyWrong."""
    try:
        row = _loads(data.decode())
        return row.get("v", MISSING), row.get("x"), "s" in row
    except _UNREADABLE as error:
        raise _unreadable(data, error) from error


def stands_since(data: bytes, moment: float) -> bool:
    """Whether what these bytes record was written at ``moment`` (seconds since the epoch) or before, and does not
    expire: then nothing about its key has changed since. A tenth of the cost of ``decode_record``, which is for those
    of which this is not so, or that can't be read."""
    # Behind the value stand only numbers and quoted texts.
    core, at = data.find(_CORE_BYTES), data.rfind(_TIME)
    if core < 0 or at < core or data.find(_EXPIRY, 0, core) >= 0 or data[:1] + data[-1:] != b"{}":
        return False
    try:
        return float(data[at + len(_TIME) : data.index(b",", at + 1)]) <= moment
    except ValueError:
        return False


class Glance(NamedTuple):
    """What of a head an index keeps. ``text``: the canonical text of a live value that may be searched (not a long
    one, not a sensitive one); ``present``: there is a value, unless it has expired."""

    number: int
    first: int
    text: str | None
    present: bool
    size: int
    time: float
    created: float
    expires: float | None


def glance(data: bytes) -> Glance:
    """A look at a head at half the cost of ``decode_record``. Raises Corrupt, KeyWrong."""
    try:
        raw = data.decode()
        row = _loads(raw)
        text = None
        if "v" in row and "s" not in row:
            text = raw[raw.index(_VALUE) + len(_VALUE) : raw.rindex(_SIZE)]
        present = "v" in row or "b" in row
        return Glance(row["n"], row["a"], text, present, row["z"], row["t"], row["c"], row.get("x"))
    except _UNREADABLE as error:
        raise _unreadable(data, error) from error


class Outline(NamedTuple):
    """What of a head tells its last revision and the end of its value; ``present``: there is a value, unless it has
    expired."""

    number: int
    write_id: str
    expires: float | None
    present: bool


def outline(data: bytes) -> Outline:
    """A look at the beginning of a head, at a fraction of the cost of ``decode_record``. Raises Corrupt, KeyWrong."""
    found = re.match(_OUTLINE, data)
    if found is None:
        record = decode_record(data)
        return Outline(
            record.number, record.write_id, record.expires, record.text is not None or record.blob != ""
        )
    expires, number, write_id, after = found.groups()
    ends = None if expires is None else float(expires)
    return Outline(int(number), write_id.decode(), ends, after != b"z")


MISSING = object()
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
"""What reading anything but a record raises; AttributeError: a stranger stored text in place of bytes."""
_OUTLINE = (
    rb'\{"a":\d+,"at":[^,]+,"ab":\d+,(?:"x":([^,]+),)?(?:"s":1,)?(?:"y":"[^"]*",)?'
    rb'"f":1,"n":(\d+),"w":"([0-9a-f]*)","o":"[a-z]+","([vbz])":'
)
"""The beginning of a record as it is written; one that another wrote in another way is read as JSON."""
_VALUE = '","v":'
_SIZE = ',"z":'
_CORE = '"f":'
_CORE_BYTES, _TIME, _EXPIRY = b'"f":', b',"t":', b'"x":'


def _unreadable(data: bytes, error: Exception) -> SlothError:
    if data[:3] == b"\xffSL":  # no text begins so; sealed records do
        return KeyWrong(
            "this state was sealed while this program used it",
            unchanged=["nothing was changed"],
            next=["start it again with [state.encryption] configured"],
        )
    return Corrupt(f"a stored record can't be read: {error!r}")


def digest(record: Record) -> str:
    """SHA-256 (hex) of a record's core, read or made."""
    return sha256(record.core.encode()) if record.core else digest_of(encode_record(record))


def digest_of(data: bytes) -> str:
    """The same digest, of a record's bytes."""
    return sha256(data[data.index(_CORE_BYTES) : -1])
