"""Why: what the ledger keeps of a resource is one set of records, written and read in one form."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

from sloth_runner.errors import Corrupt, Foreign, SlothError
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.ops import Stamp

KEPT_CONTENT = 1 << 20
"""Bytes of a content that are kept for showing differences and for bringing it back."""

Attributes = Mapping[str, Any]


class Entry(NamedTuple):
    """What the ledger knows of one resource. ``wanted`` and ``applied`` None: it was to be absent.

    ``applied`` are the attributes that were wanted, as seen after they were applied. ``before`` is what was there
    before we first touched it (None: nothing), ``touched`` whether we ever changed it. ``content`` and
    ``before_content`` are digests of contents that are kept. ``order`` grows with each creation; ``site`` are the
    lines of the task file that named it. With ``salt`` the resource is sensitive: attributes are salted digests.
    ``memory`` is what the call remembers beside. ``agent`` is where the task ran, if the call went elsewhere from
    there; ``others`` are further stacks that name it, each with task, agent and site. ``before`` is {} if something
    was there of which nothing was kept. ``left`` are attributes beside ``applied`` that our writes have made, as the
    last of them left them: undone, they go back too, unless others have changed them since.

    ``seen`` are the stamps of the file and of its ``source`` on the controller (``TARGET;SOURCE``) at a moment when
    the wanted content was theirs, and ``call`` identifies the call that met them so: while call and stamps are the
    same, the look is done. ``file`` is the digest of the whole file that a part was put into, as it was left.
    ``shares`` are, where several stacks name it, the attributes that each of them wants.
    ``user`` is as whom the call acted (None: as the login): to look at it and to undo it may need the same rights.
    ``notify`` are the handlers that the call named: undone, it calls for them, too.
    """

    kind: str
    id: str
    params: Attributes
    wanted: Attributes | None
    applied: Attributes | None
    before: Attributes | None
    extra: Attributes
    touched: bool
    content: str | None
    before_content: str | None
    order: float
    time: float
    by: tuple[str, str, int, str | None, str | None]
    stack: str
    site: tuple[str, ...]
    line: int | None
    module: str
    salt: str = ""
    keep: bool = False
    memory: Mapping[str, Any] | None = None
    call: str = ""
    seen: str = ""
    source: str = ""
    agent: str = ""
    others: Mapping[str, Any] = {}
    left: Mapping[str, Any] = {}
    file: str = ""
    user: str | None = None
    shares: Mapping[str, list[str]] = {}
    notify: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """``kind:id``."""
        return f"{self.kind}:{self.id}"

    @property
    def adopted(self) -> bool:
        """Whether it was already as wanted when we first met it, and we never had to change it."""
        return not self.touched


class Intent(NamedTuple):
    """What is about to be changed: how it was before, and which handlers the change will call for. ``covered``: the
    attributes are salted digests."""

    before: Attributes | None
    extra: Attributes
    before_content: str | None
    touched: bool
    notify: tuple[str, ...]
    time: float
    run: str
    covered: bool = False


class Pending(NamedTuple):
    """A handler that is due: of which stack, since when, called for by which resource, run and task. Each resource
    calls for itself: what one takes back, or what was settled, says nothing of the others."""

    handler: str
    stack: str
    address: str
    time: float
    run: str
    task: str


class Unseen(NamedTuple):
    """An entry whose file was changed too recently for its stamp to be trusted: to be looked at again later."""

    entry: Entry
    call: str
    source: Stamp | None


def checksum(attributes: Attributes | None) -> str:
    """SHA-256 (hex) over attributes in canonical form; "absent" for none."""
    if attributes is None:
        return "absent"
    from hashlib import sha256

    return sha256(_dump(attributes)).hexdigest()


def contents_of(record: Entry | Intent) -> set[str]:
    """The digests of all kept contents that a record refers to."""
    own = record.content if isinstance(record, Entry) else None
    return {one for one in (own, record.before_content, *record.extra.get("contents", ())) if one}


_text_of = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode


def _dump(data: object) -> bytes:
    return _text_of(data).encode()


def encode(record: Entry | Intent | Pending) -> bytes:
    """A record as bytes; fields that have their default value are left out. ``call`` and ``seen`` come first, so that
    they can be found without reading the rest."""
    defaults = record._field_defaults
    fields = zip(record._fields, record, strict=True)
    row = {name: value for name, value in fields if name not in defaults or value != defaults[name]}
    if not isinstance(record, Entry) or not record.call:
        return _dump(row)
    del row["call"], row["seen"]
    return b'%s%s","seen":"%s",%s' % (CALL_PREFIX, record.call.encode(), record.seen.encode(), _dump(row)[1:])


CALL_PREFIX = b'{"call":"'
CALL_SIZE = 32
"""Hex digits that identify a call."""


def stamps(target: Stamp | None, source: Stamp | None = None) -> str:
    """Stamps as an entry keeps them."""
    one = "" if target is None else _STAMP % tuple(target)
    return f"{one};" if source is None else f"{one};{_STAMP % tuple(source)}"


_STAMP = "%x,%x,%x,%x,%x"
"""Hexadecimal: decimal digits of a time in nanoseconds cost ten times as much."""


def target_stamp(entry: Entry) -> Stamp | None:
    """The stamp of the file when it was as applied."""
    return _stamp(entry.seen.partition(";")[0])


def source_stamp(entry: Entry) -> Stamp | None:
    """The stamp of the source when its content was the one wanted."""
    return _stamp(entry.seen.partition(";")[2])


def _stamp(text: str) -> Stamp | None:
    if not text:
        return None
    device, inode, size, modified, changed = (int(part, 16) for part in text.split(","))
    return device, inode, size, modified, changed


def decode(data: bytes) -> Entry:
    """An entry from its bytes. Raises Corrupt, Foreign (of a later version)."""
    try:
        row = json.loads(data)
        row["by"] = tuple(row["by"])
        row["site"] = tuple(row["site"])
        row["notify"] = tuple(row.get("notify", ()))
        return Entry(**row)
    except _UNREADABLE as error:
        raise _unreadable(data, "an entry", Entry, error) from error


def of_both(mine: bytes, theirs: bytes) -> bytes:
    """An entry that is to take the place of one which another stack has put there meanwhile: that one's claim stays,
    and so does what it has seen before it touched the resource, if it was there first. Raises Corrupt, Foreign (of a
    later version)."""
    ours, there = decode(mine), decode(theirs)
    site = [covered_line(line) if ours.salt else line for line in there.site]
    others = {**there.others, there.stack: [there.by[4], there.agent, site]}
    others.pop(ours.stack, None)
    if others.keys() <= ours.others.keys():
        return mine
    entry = ours._replace(others={**others, **ours.others})
    if there.touched and not there.salt and not ours.salt and (not ours.touched or _was_first(there, ours)):
        entry = entry._replace(
            touched=True, before=there.before, before_content=there.before_content, extra=there.extra,
            order=there.order,
        )  # fmt: skip
    return encode(entry)


def _was_first(one: Entry, other: Entry) -> bool:
    """Whether of two that have changed a resource one came before the other: who comes later sees what the first has
    made. Where that can be said of both (one makes what the other removes), clocks decide."""
    after, before = _is_made(one, other.before), _is_made(other, one.before)
    if after is not before:
        return after
    return one.time < other.time if after else one.before is None


def _is_made(entry: Entry, seen: Attributes | None) -> bool:
    """Whether what was seen is what an entry's call has made."""
    if entry.applied is None or seen is None:
        return entry.applied is seen
    return all(name in seen and seen[name] == value for name, value in entry.applied.items())


def decode_intent(data: bytes) -> Intent:
    """An intent from its bytes. Raises Corrupt, Foreign (of a later version)."""
    try:
        row = json.loads(data)
        row["notify"] = tuple(row["notify"])
        return Intent(**row)
    except _UNREADABLE as error:
        raise _unreadable(data, "an intent", Intent, error) from error


def decode_pending(data: bytes) -> Pending:
    """A handler that is due from its bytes. Raises Corrupt, Foreign (of a later version)."""
    try:
        return Pending(**json.loads(data))
    except _UNREADABLE as error:
        raise _unreadable(data, "a handler that is due", Pending, error) from error


_UNREADABLE = (ValueError, KeyError, TypeError)


def _unreadable(data: bytes, what: str, form: type[Entry | Intent | Pending], error: Exception) -> SlothError:
    """A later version may keep more of a resource; read without that, it would be lost with the next write."""
    with contextlib.suppress(ValueError):
        row = json.loads(data)
        more = sorted(row.keys() - form._fields) if isinstance(row, dict) else []
        if more and form._field_defaults.keys() | row.keys() >= set(form._fields):
            return Foreign(
                f"{what} of the ledger was written by a later version of sloth-runner: this one does not know "
                f"what it says of {', '.join(map(repr, more))}",
                next=["use the version of sloth-runner that wrote it, or a newer one"],
            )
    return Corrupt(f"{what} of the ledger can't be read: {error!r}")


def escaped(name: str) -> str:
    """An address as part of a store key: control characters and ``%`` are percent-encoded."""
    if name.isprintable() and "%" not in name:
        return name
    out = []
    for char in name:
        bad = char == "%" or not (char.isprintable() or char == " ") or 0xD800 <= ord(char) < 0xE000
        out.append(
            "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape")) if bad else char
        )
    return "".join(out)


_COVERED = "sha256:"


def covered_line(line: str) -> str:
    """A line of a task file that may hold a secret, as an entry keeps it; one that is covered already as it is."""
    if is_covered(line):
        return line
    from hashlib import sha256

    return _COVERED + sha256(line.encode("utf-8", "surrogateescape")).hexdigest()


def is_covered(line: str) -> bool:
    """Whether it stands for a line that is not shown."""
    return line.startswith(_COVERED)
