"""Why: a section of a bundle is merged in the order it is written in, key by key, in constant memory.

What happens to a key is ``bundle_key``'s to say; here lines become keys, their order is proved (so that no name comes
twice), keys that a replacing import deletes are found on the way, and all other kinds of records are taken over.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from operator import lt

from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.bundle import NEVER, Line, damaged, parse, store_rest
from sloth_runner.state.bundle_key import Figures, Key, Sink, Terms
from sloth_runner.state.bundle_records import Plain, alone, plain_heads
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
from sloth_runner.state.record import Record, decode_record

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry, Reader


class Merge:
    """Merges one section's records, in their order, into what ``before`` reads; the decisions go to ``sink``."""

    def __init__(self, terms: Terms, before: Reader, sink: Sink, figures: Figures) -> None:
        self._terms = terms
        self._before = before
        self._sink = sink
        self._figures = figures
        self._last = ""
        self._other: tuple[str, str, str] = ("", "", "")
        self._key: Key | None = None
        self._heads = _heads(before, terms) if terms.replace and not terms.empty else iter(())
        self._head: Entry | None = next(self._heads, None)
        self._simple = terms.empty and not terms.mapping and not terms.with_history

    def lines(self, piece: bytes) -> int:
        """Whole lines of records; how many they were. Raises Corrupt, BadName."""
        if self._simple and (found := plain_heads(piece)) is not None:
            self._carry_plain(found)
            return len(found)
        lines = piece.split(b"\n")[:-1]
        for raw in lines:
            line = parse(raw)
            if line.kind in (HISTORY, BLOB, HEAD):
                self._of_key(line)
            else:
                self._of_other(line)
        return len(lines)

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

    def _carry_plain(self, found: list[Plain]) -> None:
        """A block of plain heads where there is nothing yet: each as it is, and as its only revision."""
        names = [head[0].decode() for head in found]
        if self._key is not None or not (self._last < names[0] and all(map(lt, names, names[1:]))):
            raise damaged("its keys are out of order")
        self._last = names[-1]
        k, h = prefix_of(self._terms.namespace, HEAD), prefix_of(self._terms.namespace, HISTORY)
        records = [head[1] if head[2] == head[6] else alone(head) for head in found]
        rows = [
            (f"{h}{name}{SEP}{head[6].decode():>012}", record)
            for name, head, record in zip(names, found, records, strict=True)
        ]
        rows += [(k + name, record) for name, record in zip(names, records, strict=True)]
        self._sink.put(rows)  # at once: what is got ready next is got ready while all of it is written
        self._sink.done()
        self._figures.new += len(found)

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

    def _start(self, name: str) -> Key:
        target = self._mapped(name)
        if target is None:
            self._figures.left_out += 1
            return Key(self._terms, name, None, None, self._sink, Figures())
        entry = None
        if not self._terms.empty:
            if self._terms.replace:
                self._delete_below(target)
            entry = self._before.get(store_key(self._terms.namespace, HEAD, target))
        have = None if entry is None else decode_record(entry.value)
        return Key(self._terms, name, target, have, self._sink, self._figures)

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
            Key(self._terms, name, name, record, self._sink, self._figures).delete()
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
        entry, value = self._before.get(key), self._terms.fit(key, line.value)
        if line.kind == FENCE:
            token = fence_token(line.value)
            if entry is not None and fence_token(entry.value) >= token:
                return
        elif entry is not None:
            if entry.value == value:
                return
            self._figures.others_behind += self._terms.comparable
        self._figures.others += 1
        self._sink.put([(key, value)])
        self._sink.done()


def _heads(before: Reader, terms: Terms) -> Iterator[Entry]:
    return before.scan(prefix_of(terms.namespace, HEAD, terms.prefix))
