"""Why: a checkpoint says what every key was at; what it names survives pruning, and a pinned digest of it shows
later that a whole store was replaced by an older one.

A tag is a record of kind ``g`` and, below its name, chunks of rows (key, revision, hash) in key order, each small
enough for any store and named by its first key, so that one key's row is found by one look. While a tag is being made
nothing is pruned in its namespace: no revision that it is about to name can go.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import Enum

from sloth_runner.errors import BadName, Conflict, Corrupt, KeyMissing
from sloth_runner.model import By
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, SEP, TAG, check_name, place, prefix_of, store_key
from sloth_runner.state.record import decode_record, digest
from sloth_runner.state.store import ABSENT, Change, Check, walk

if TYPE_CHECKING:
    from sloth_runner.state.store import Store

FORMAT = 1
CHUNK = 24 * 1024
"""Bytes of rows in one chunk, about."""
MAKING, DONE, DROPPING = "making", "done", "dropping"
_MARK = "="
_PAST = ">"
"""Sorts behind all chunks of a tag, before the next tag."""


class Tag(NamedTuple):
    """A checkpoint: ``digest`` over the rows of its ``keys`` keys; ``time`` is seconds since the epoch."""

    name: str
    status: str
    digest: str
    keys: int
    time: float
    by: By
    rev: int
    """The store's version of its record."""


class Row(NamedTuple):
    """What a checkpoint says of one key: its revision then, and that revision's hash."""

    key: str
    number: int
    hash: str


class Pin(Enum):
    """Whether a revision may go. WAIT: not now, a tag is being made."""

    NO = 0
    YES = 1
    WAIT = 2


class HeadDigest:
    """The digest over (key, number, hash) of all keys in key order: SHA-256 of a line for each."""

    def __init__(self) -> None:
        import hashlib

        self._hash = hashlib.sha256(b"sloth-runner head 1\n")
        self.count = 0

    def add(self, row: Row) -> None:
        """The next key."""
        self._hash.update(f"{row.key}\0{row.number}\0{row.hash}\n".encode())
        self.count += 1

    def hex(self) -> str:
        """The digest so far, in hex."""
        return self._hash.hexdigest()


def check_tag_name(name: object) -> str:
    """Return ``name`` if it may name a tag: 1 to 128 letters, digits, ``.``, ``_``, ``-``. Raises BadName."""
    if isinstance(name, str) and 0 < len(name) <= 128 and name.isascii():
        rest = name.replace("-", "").replace("_", "").replace(".", "")
        if name[0].isalnum() and rest.isalnum():
            return name
    raise BadName(
        f"{name!r} can't name a tag",
        unchanged=["nothing was changed"],
        next=["use letters, digits, '.', '_' and '-', starting with a letter or digit"],
    )


def find(store: Store, namespace: str, name: str) -> Tag | None:
    """The tag of this name, unfinished ones too."""
    entry = store.get(store_key(namespace, TAG, name))
    return None if entry is None else _decode(name, entry.value, entry.rev)


def names(store: Store, namespace: str) -> Iterator[str]:
    """The names of all tags of a namespace, in order, unfinished ones too."""
    prefix, after = prefix_of(namespace, TAG), ""
    while True:
        entry = next(iter(store.scan(prefix, after=after, limit=1)), None)
        if entry is None:
            return
        name = place(entry.key).name
        yield name
        after = f"{store_key(namespace, TAG, name)}{SEP}{_PAST}"


def every(store: Store, namespace: str) -> Iterator[Tag]:
    """All tags of a namespace by name, unfinished ones too. Raises Corrupt."""
    for name in names(store, namespace):
        tag = find(store, namespace, name)
        if tag is not None:
            yield tag


def rows(store: Store, namespace: str, name: str) -> Iterator[Row]:
    """The rows of a tag, in key order. Raises Corrupt."""
    for entry in walk(store, _chunks(namespace, name), page=16):
        yield from _rows(name, entry.value)


def pins(store: Store, namespace: str, key: str, number: int) -> Pin:
    """Whether a tag names this revision, so that it must stay."""
    found = Pin.NO
    for tag in every(store, namespace):
        if tag.status == MAKING:
            return Pin.WAIT
        if tag.status == DONE and found is Pin.NO:
            row = _row(store, namespace, tag.name, key)
            if row is not None and row.number == number:
                found = Pin.YES
    return found


def make(store: Store, namespace: str, name: str, by: By, now: float) -> Tag:
    """Store the revision and hash of every key, deleted ones too, as the checkpoint ``name``.

    Each key is named as it was at some moment while the tag was made. A tag of that name that was never finished is
    made anew. Raises BadName (there is one), Conflict (another process is at it, too).
    """
    check_tag_name(name)
    old = find(store, namespace, name)
    if old is not None and old.status == DONE:
        raise BadName(
            f"there is a tag {name!r} already in {namespace}",
            unchanged=["nothing was changed"],
            next=["choose another name, or delete that one first"],
        )
    tag = Tag(name, MAKING, "", 0, now, by, old.rev if old else ABSENT)
    try:
        tag = _put(store, namespace, tag)
        _drop_chunks(store, namespace, tag)
        head = HeadDigest()
        for chunk in _gather(store, namespace, head):
            first = f"{_chunks(namespace, name)}{chunk[0].key}"
            data = json.dumps({"f": FORMAT, "rows": chunk}, ensure_ascii=False, separators=(",", ":"))
            _commit(store, [Change(first, data.encode(), ABSENT), _unchanged(namespace, tag)])
        return _put(store, namespace, tag._replace(status=DONE, digest=head.hex(), keys=head.count))
    except Conflict as conflict:
        raise _busy(name) from conflict


def drop(store: Store, namespace: str, name: str) -> None:
    """Delete a tag, and the revisions below the horizon that only it kept. Raises KeyMissing, Conflict."""
    tag = require(store, namespace, name)
    try:
        tag = _put(store, namespace, tag._replace(status=DROPPING))
        for row in rows(store, namespace, name):
            _let_go(store, namespace, row)
        _drop_chunks(store, namespace, tag)
        _commit(store, [Change(store_key(namespace, TAG, name), None, tag.rev)])
    except Conflict as conflict:
        raise _busy(name) from conflict


def require(store: Store, namespace: str, name: str) -> Tag:
    """The tag of this name. Raises BadName, KeyMissing with suggestions."""
    check_name(name, "the name of a tag")
    tag = find(store, namespace, name)
    if tag is None:
        known = [one.name for one in every(store, namespace)]
        raise KeyMissing(
            f"there is no tag {name!r} in {namespace}",
            unchanged=["nothing was changed"],
            next=[*did_you_mean(name, known), *([f"tags: {', '.join(known)}"] if known else [])],
        )
    return tag


def _gather(store: Store, namespace: str, head: HeadDigest) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for entry in walk(store, prefix_of(namespace, HEAD)):
        record = decode_record(entry.value)
        row = Row(place(entry.key).name, record.number, digest(record))
        head.add(row)
        chunk.append(row)
        size += len(row.key.encode()) + 90
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _row(store: Store, namespace: str, name: str, key: str) -> Row | None:
    """One key's row: in the last chunk that begins with it or before it."""
    prefix = _chunks(namespace, name)
    for entry in store.scan(prefix, after=f"{prefix}{key}\0", limit=1, reverse=True):
        return next((row for row in _rows(name, entry.value) if row.key == key), None)
    return None


def _let_go(store: Store, namespace: str, row: Row) -> None:
    """Remove a revision that lies below its key's horizon and is named by no other tag."""
    head = store.get(store_key(namespace, HEAD, row.key))
    if head is None or row.number >= decode_record(head.value).first:
        return
    if pins(store, namespace, row.key, row.number) is not Pin.NO:
        return
    found = [store.get(store_key(namespace, kind, row.key, row.number)) for kind in (HISTORY, BLOB)]
    gone = [Change(entry.key, None, entry.rev) for entry in found if entry is not None]
    if gone:
        _commit(store, gone)


def _drop_chunks(store: Store, namespace: str, tag: Tag) -> None:
    at_once = max(1, min(100, store.traits.max_changes - 1))
    while found := list(store.scan(_chunks(namespace, tag.name), limit=at_once)):
        _commit(store, [*(Change(e.key, None, e.rev) for e in found), _unchanged(namespace, tag)])


def _put(store: Store, namespace: str, tag: Tag) -> Tag:
    row = {
        "f": FORMAT,
        "status": tag.status,
        "digest": tag.digest,
        "keys": tag.keys,
        "time": tag.time,
        "by": tag.by,
    }
    key = store_key(namespace, TAG, tag.name)
    return tag._replace(rev=_commit(store, [Change(key, json.dumps(row).encode(), tag.rev)]))


def _commit(store: Store, changes: Sequence[Change | Check]) -> int:
    """Commit, and find out what became of it if the reply is lost; the new Rev of the first change.

    Raises Conflict, Indeterminate. A record says who makes the tag and when, so nobody else's looks like ours.
    """
    first = changes[0]
    assert isinstance(first, Change)

    def applied() -> bool:
        now = store.get(first.key)
        return (None if now is None else now.value) == first.value

    revs = settle(store, changes, applied)
    if revs is not None:
        return revs[0]
    now = store.get(first.key)
    return now.rev if now else ABSENT


def _decode(name: str, data: bytes, rev: int) -> Tag:
    try:
        row = json.loads(data)
        if row["f"] != FORMAT:
            raise Corrupt(
                f"the tag {name!r} has format {row['f']}; this version reads {FORMAT}",
                next=["use the version of sloth-runner that wrote it, or a newer one"],
            )
        by = By(*row["by"])
        return Tag(name, row["status"], row["digest"], row["keys"], row["time"], by, rev)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"the record of tag {name!r} can't be read: {error!r}") from error


def _rows(name: str, data: bytes) -> list[Row]:
    try:
        return [Row(str(key), int(number), str(hash_)) for key, number, hash_ in json.loads(data)["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"the rows of tag {name!r} can't be read: {error!r}") from error


def _chunks(namespace: str, name: str) -> str:
    return f"{store_key(namespace, TAG, name)}{SEP}{_MARK}"


def _unchanged(namespace: str, tag: Tag) -> Check:
    return Check(store_key(namespace, TAG, tag.name), tag.rev)


def _busy(name: str) -> Conflict:
    return Conflict(
        f"the tag {name!r} is being made or deleted by another process",
        next=["try again when that has ended"],
    )
