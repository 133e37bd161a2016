"""Why: what an import does to each key is decided in one place, whatever the store, for a dry run and in earnest.

The target's record of a key and the bundle's are related in one of a few ways. There is none here: the bundle's
record is carried as it is, with its history if that is in the bundle. They hold the same: nothing is done. The
bundle's chain goes on from ours: its revisions are added as they are. It holds another value and a higher number: the
value is set by a new revision with the operation ``import``. Otherwise what is here is newer, or has gone another
way: taking the bundle's value would lose something, and needs force; even then it is a new revision on top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from operator import lt
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sloth_runner.errors import SlothError
from sloth_runner.state.bundle import NEVER, Line, damaged, parse, store_rest
from sloth_runner.state.bundle_records import (
    Chain,
    Plain,
    check_record,
    check_text,
    plain_heads,
    with_first,
)
from sloth_runner.state.layout import (
    BLOB,
    FENCE,
    HEAD,
    HISTORY,
    SEP,
    check_key,
    place,
    prefix_of,
    store_key,
)
from sloth_runner.state.locks import fence_token
from sloth_runner.state.record import Record, decode_record, digest, encode_record, needs_blob, sha256
from sloth_runner.state.value import decode, size_of

if TYPE_CHECKING:
    from sloth_runner.model import By
    from sloth_runner.state.store import Entry, Reader

SAMPLES: Final = 10


class Sink(Protocol):
    """Where decisions go."""

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Put entries."""
        ...

    def done(self) -> None:
        """A key is whole: what was put since the last call belongs together."""
        ...


class Terms(NamedTuple):
    """How to merge. ``comparable``: both sides are one lineage, so revision numbers mean the same; ``empty``: there
    is nothing of the state there yet; ``mapping``: pairs of prefixes, only keys below one being taken, under the
    other; ``replace``: keys below ``prefix`` that the bundle lacks are deleted."""

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


class Merge:
    """Merges one section's records, in their order, into what ``before`` reads; the decisions go to ``sink``."""

    def __init__(self, terms: Terms, before: Reader, sink: Sink, figures: Figures) -> None:
        self._terms = terms
        self._before = before
        self._sink = sink
        self._figures = figures
        self._last = ""
        self._other: tuple[str, str, str] = ("", "", "")
        self._key: _Key | None = None
        self._heads = _heads(before, terms) if terms.replace and not terms.empty else iter(())
        self._head: Entry | None = next(self._heads, None)
        self._simple = terms.empty and not terms.mapping and not terms.with_history

    def lines(self, piece: bytes) -> None:
        """Whole lines of records. Raises Corrupt, BadName."""
        if self._simple and (found := plain_heads(piece)) is not None:
            self._carry_plain(found)
            return
        for raw in piece.split(b"\n")[:-1]:
            line = parse(raw)
            if line.kind in (HISTORY, BLOB, HEAD):
                self._of_key(line)
            else:
                self._of_other(line)

    def set(self, name: str, text: str) -> str:
        """A value without a record, from outside: its canonical text. The key's name here."""
        key = self._start(check_key(name))
        key.set_value(text)
        return key.target or ""

    def delete_except(self, names: Set[str]) -> None:
        """Delete all keys but these."""
        for entry in _heads(self._before, self._terms):
            name = place(entry.key).name
            if name not in names:
                self._delete(name, decode_record(entry.value))

    def finish(self) -> None:
        """The end of the section."""
        if self._key is not None:
            raise damaged(f"the key {self._key.name!r} has no head")
        if self._terms.replace:
            self._delete_below(None)

    def _carry_plain(self, found: list[tuple[bytes, ...]]) -> None:
        """A block of plain heads where there is nothing yet: each as it is, and as its only revision."""
        heads = list(map(Plain._make, found))
        names = [head.name.decode() for head in heads]
        if self._key is not None or not (self._last < names[0] and all(map(lt, names, names[1:]))):
            raise damaged("its keys are out of order")
        self._last = names[-1]
        k, h = prefix_of(self._terms.namespace, HEAD), prefix_of(self._terms.namespace, HISTORY)
        records = [head.alone() for head in heads]
        numbers = [head.number.decode() for head in heads]
        revisions = [f"{h}{name}{SEP}{number:>012}" for name, number in zip(names, numbers, strict=True)]
        self._sink.put(list(zip(revisions, records, strict=True)))
        self._sink.put(list(zip([k + name for name in names], records, strict=True)))
        self._sink.done()
        self._figures.new += len(heads)

    def _of_key(self, line: Line) -> None:
        if (line.rest is None) != (line.kind == HEAD) or isinstance(line.rest, str):
            raise damaged(f"a record of {line.name!r} has the wrong name")
        key = self._key
        if key is None or key.name != line.name:
            if key is not None or line.name <= self._last or self._other[0]:
                raise damaged("its keys are out of order")
            self._last = line.name
            try:
                check_key(line.name)
            except SlothError as error:
                raise damaged(error.message) from error
            key = self._key = self._start(line.name)
        if line.kind == BLOB and isinstance(line.rest, int):
            key.blob(line.rest, line.value)
        elif line.kind == HISTORY and isinstance(line.rest, int):
            if not self._terms.with_history:
                raise damaged("it holds history and says that it holds none")
            key.revision(line.rest, line.value)
        else:
            key.head(line.value)
            self._key = None

    def _start(self, name: str) -> _Key:
        target = self._mapped(name)
        if target is None:
            self._figures.left_out += 1
            return _Key(self._terms, name, None, None, self._sink, Figures())
        entry = None
        if not self._terms.empty:
            if self._terms.replace:
                self._delete_below(target)
            entry = self._before.get(store_key(self._terms.namespace, HEAD, target))
        have = None if entry is None else decode_record(entry.value)
        return _Key(self._terms, name, target, have, self._sink, self._figures)

    def _mapped(self, name: str) -> str | None:
        if not self._terms.mapping:
            return name
        for old, new in self._terms.mapping:
            if name.startswith(old):
                return check_key(new + name[len(old) :])
        return None

    def _delete_below(self, name: str | None) -> None:
        """Delete the keys that are here, come before ``name`` (None: all that are left), and are not it."""
        while self._head is not None:
            here = place(self._head.key).name
            if name is not None and here >= name:
                if here > name:
                    return
                self._head = next(self._heads, None)
                return
            self._delete(here, decode_record(self._head.value))
            self._head = next(self._heads, None)

    def _delete(self, name: str, record: Record) -> None:
        if record.live(self._terms.now):
            _Key(self._terms, name, name, record, self._sink, self._figures).delete()
            self._figures.deleted += 1

    def _of_other(self, line: Line) -> None:
        """A record of another kind: a fence only ever upward; others as they are, unless another is there."""
        order = (line.kind, line.name, store_rest(line))
        if (
            not self._terms.with_history
            or line.kind in NEVER
            or self._key is not None
            or order <= self._other
        ):
            raise damaged("a record stands where none of its kind may be")
        self._other = order
        if self._terms.mapping:
            return
        key = store_key(self._terms.namespace, line.kind, line.name) + store_rest(line)
        entry = self._before.get(key)
        if line.kind == FENCE:
            token = fence_token(line.value)
            if entry is not None and fence_token(entry.value) >= token:
                return
        elif entry is not None:
            if entry.value == line.value:
                return
            self._figures.others_behind += self._terms.comparable
        self._figures.others += 1
        self._sink.put([(key, line.value)])
        self._sink.done()


class _Key:
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
        record = Record(
            number=have.number + 1 if have else 1,
            write_id=terms.new_id(),
            op=op,
            text=text,
            size=0 if text is None else size_of(decode(text), text),
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


def _heads(before: Reader, terms: Terms) -> Iterator[Entry]:
    return before.scan(prefix_of(terms.namespace, HEAD, terms.prefix))


def _value_of(record: Record) -> tuple[str | None, str]:
    return record.text, record.blob


def _value_id(text: str) -> tuple[str | None, str]:
    return (None, sha256(text.encode())) if needs_blob(text) else (text, "")
