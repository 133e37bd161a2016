"""Why: what an import does to one key is decided in one place, whatever the store, for a dry run and in earnest.

The target's record of a key and the bundle's are related in one of a few ways. There is none here: the bundle's
record is carried as it is, with its history if that is in the bundle. They hold the same: nothing is done. The
bundle's chain goes on from ours: its revisions are added as they are. It holds another value and a higher number: the
value is set by a new revision with the operation ``import``. Otherwise what is here is newer, or has gone another
way: taking the bundle's value would lose something, and needs force; even then it is a new revision on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple, Protocol
from sloth_runner.state.bundle import damaged
from sloth_runner.state.bundle_records import Chain, check_record, check_text, with_first
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, store_key
from sloth_runner.state.record import Record, digest, encode_record, needs_blob, sha256
from sloth_runner.state.value import decode, size_of

if TYPE_CHECKING:
    from sloth_runner.model import By

SAMPLES: Final = 10


class Sink(Protocol):
    """Where decisions go."""

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Put entries."""
        ...

    def done(self) -> None:
        """A key is whole: what was put since the last call belongs together."""
        ...


def as_it_is(key: str, value: bytes) -> bytes:
    """The value of a record, unchanged."""
    return value


class Terms(NamedTuple):
    """How to merge. ``comparable``: both sides are one lineage, so revision numbers mean the same; ``empty``: there
    is nothing of the state there yet; ``mapping``: pairs of prefixes, only keys below one being taken, under the
    other; ``replace``: keys below ``prefix`` that the bundle lacks are deleted; ``fit``: what is taken of a record
    that is of no key, by its store key."""

    namespace: str
    comparable: bool
    empty: bool
    with_history: bool
    mapping: tuple[tuple[str, str], ...]
    replace: bool
    prefix: str
    by: By
    now: float
    new_id: Callable[[], str]
    fit: Callable[[str, bytes], bytes] = as_it_is


class Lost(NamedTuple):
    """A key whose value here is newer than, or has parted from, the bundle's."""

    key: str
    here: int
    bundle: int
    time: float
    user: str
    host: str


class Figures:
    """What a merge comes to, in keys: new ones, changed, the same already, deleted, and those of the changed that are
    ``behind`` (see Lost, of which ``lost`` names a few); then ``left_out`` by a mapping; then other records put, and
    those of them that overwrite another."""

    __slots__ = ("behind", "changed", "deleted", "left_out", "lost", "new", "others", "others_behind", "same")

    def __init__(self) -> None:
        self.new = self.changed = self.same = self.deleted = self.behind = 0
        self.left_out = self.others = self.others_behind = 0
        self.lost: list[Lost] = []

    @property
    def writes(self) -> bool:
        """Whether anything is written."""
        return bool(self.new or self.changed or self.deleted or self.others)


class Key:
    """One key as its records pass by: revisions, oldest first, each long value before its revision, then the head.

    ``target`` is its name here (None: it is left out), ``have`` the head that is here, or None."""

    def __init__(
        self, terms: Terms, name: str, target: str | None, have: Record | None, sink: Sink, figures: Figures
    ) -> None:
        self.name = name
        self._terms = terms
        self.target = target
        self._have = have
        self._sink = sink
        self._figures = figures
        self._chain = Chain(name)
        self._on_chain = have is None
        self._blob: tuple[int, bytes] | None = None

    def blob(self, number: int, value: bytes) -> None:
        """A long value."""
        try:
            check_text(value.decode())
        except (SlothError, ValueError) as error:
            raise damaged(f"a long value of {self.name!r} can't be taken: {error}") from error
        self._blob = (number, value)

    def revision(self, number: int, raw: bytes) -> None:
        """A revision."""
        record = check_record(raw, self.name)
        if record.number != number:
            raise damaged(f"revision {number} of {self.name!r} says that it is {record.number}")
        self._check_blob(record)
        self._chain.step(record)
        have = self._have
        if have is not None and number == have.number:
            self._on_chain = digest(record) == digest(have)
        elif self._on_chain:
            self._put_revision(number, raw, record)

    def head(self, raw: bytes) -> None:
        """The head: what becomes of the key."""
        record = check_record(raw, self.name)
        if self._terms.with_history:
            self._chain.close(record)
        elif record.text is None and not record.blob:
            raise damaged(f"the key {self.name!r} has no value")
        else:
            self._check_blob(record)
        if self.target is None:
            return
        if self._have is None:
            self._carry(raw, record)
        else:
            self._merge(self._have, raw, record)

    def set_value(self, text: str) -> None:
        """Set a value by a new revision, unless it is there. It does not expire; a sensitive key stays so."""
        if self.target is None:
            return
        have, now = self._have, self._terms.now
        if have is not None and have.live(now) and _value_of(have) == _value_id(text):
            self._figures.same += 1
            return
        self._figures.new += have is None or not have.live(now)
        self._figures.changed += have is not None and have.live(now)
        self._write("import", text, None, have is not None and have.sensitive)

    def delete(self) -> None:
        """Delete by a new revision."""
        assert self._have is not None
        self._write("delete", None, None, self._have.sensitive)

    def _carry(self, raw: bytes, record: Record) -> None:
        """A key that is not here: as it is."""
        self._figures.new += 1
        if self._terms.with_history:
            self._put(HEAD, None, raw)
        else:
            alone = with_first(raw, record, record.number, record.time)
            self._put_revision(record.number, alone, record)
            self._put(HEAD, None, alone)
        self._sink.done()

    def _merge(self, have: Record, raw: bytes, record: Record) -> None:
        now = self._terms.now
        here, there = have.live(now), record.live(now)
        same = here == there and (not here or _value_of(have) == _value_of(record))
        if not self._terms.with_history:
            follows = record.number == have.number + 1 and record.previous == digest(have)
            self._on_chain = follows or (record.number == have.number and digest(record) == digest(have))
        if self._on_chain and record.number > have.number:
            self._extend(have, raw, record)
        elif same and (not here or (have.expires, have.sensitive) == (record.expires, record.sensitive)):
            self._figures.same += 1
        elif same or (self._on_chain and record.number == have.number):
            self._figures.changed += 1
            touched = have._replace(
                expires=record.expires, sensitive=record.sensitive, touch=self._terms.new_id()
            )
            self._put(HEAD, None, encode_record(touched))
            self._sink.done()
        else:
            self._overwrite(have, record, alive=there)

    def _extend(self, have: Record, raw: bytes, record: Record) -> None:
        """The bundle's chain goes on from what is here."""
        self._figures.changed += 1
        data = with_first(raw, record, have.first, have.first_time)
        if not self._terms.with_history:
            self._put_revision(record.number, data, record)
        self._put(HEAD, None, data)
        self._sink.done()

    def _overwrite(self, have: Record, record: Record, *, alive: bool) -> None:
        """Another value, and no chain that leads from ours to it: a new revision on top."""
        terms = self._terms
        if not alive and not terms.with_history and not terms.replace:
            self._figures.same += 1  # it has expired in the bundle, and so is not in it
            return
        if terms.comparable and not terms.mapping and (have.number >= record.number or terms.with_history):
            self._figures.behind += 1
            if len(self._figures.lost) < SAMPLES and self.target is not None:
                by = have.by
                lost = Lost(self.target, have.number, record.number, have.time, by.user, by.host)
                self._figures.lost.append(lost)
        self._figures.changed += 1
        if alive:
            text = record.text if self._blob is None or not record.blob else self._blob[1].decode()
            self._write("import", text, record.expires, record.sensitive)
        else:
            self.delete()

    def _write(self, op: str, text: str | None, expires: float | None, sensitive: bool) -> None:
        """A new revision by whoever imports, on top of what is here."""
        have, terms = self._have, self._terms
        alive = have is not None and have.live(terms.now)
        size = 0 if text is None else size_of(decode(text), text)
        record = Record(
            number=have.number + 1 if have else 1,
            write_id=terms.new_id(),
            op=op,
            text=text,
            size=size,
            kept=(have.kept if have else 0) + size,
            time=terms.now,
            created=have.created if have is not None and alive and text is not None else terms.now,
            by=terms.by,
            expires=expires,
            sensitive=sensitive,
            previous=digest(have) if have else "",
            first=have.first if have else 1,
            first_time=have.first_time if have else terms.now,
            blob=sha256(text.encode()) if text is not None and needs_blob(text) else "",
        )
        data = encode_record(record)
        if record.blob and text is not None:
            self._put(BLOB, record.number, text.encode())
        self._put(HISTORY, record.number, data)
        self._put(HEAD, None, data)
        self._sink.done()

    def _check_blob(self, record: Record) -> None:
        if record.blob:
            if self._blob is None or self._blob[0] != record.number or sha256(self._blob[1]) != record.blob:
                raise damaged(f"the long value of {self.name!r} (revision {record.number}) is missing")
        elif self._blob is not None and self._blob[0] == record.number:
            raise damaged(f"revision {record.number} of {self.name!r} has a long value it does not name")

    def _put_revision(self, number: int, raw: bytes, record: Record) -> None:
        if record.blob and self._blob is not None:
            self._put(BLOB, number, self._blob[1])
        self._put(HISTORY, number, raw)

    def _put(self, kind: str, number: int | None, value: bytes) -> None:
        if self.target is not None:
            self._sink.put([(store_key(self._terms.namespace, kind, self.target, number), value)])


def _value_of(record: Record) -> tuple[str | None, str]:
    return record.text, record.blob


def _value_id(text: str) -> tuple[str | None, str]:
    return (None, sha256(text.encode())) if needs_blob(text) else (text, "")
