"""Why: a record that was changed, lost, swapped or put back from an older copy must be found, and named.

All chains of a namespace and all of its checkpoints are read once, side by side in key order and in constant memory.
A key that looks wrong is read again by itself, since others may be writing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby

from sloth_runner.errors import Corrupt
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state import tags
from sloth_runner.state.chain import Chain, Finding, Pinned, chain
from sloth_runner.state.layout import HEAD, HISTORY, place, prefix_of, revisions_of, store_key
from sloth_runner.state.store import walk

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry, Store

MOST = 1000
"""Findings that a report lists; more are counted."""
TRIES = 5


class Checked(NamedTuple):
    """A checkpoint, held against the chains: keys whose chain was followed from it to the head, and those where
    revisions between are compacted, so that the links could not be verified."""

    tag: tags.Tag
    verified: int
    compacted: int


class Report(NamedTuple):
    """What verification came to. ``head`` is the namespace's head; ``more`` counts findings that are not listed;
    ``compacted`` the keys that have revisions below their horizon."""

    namespace: str
    head: str
    keys: int
    revisions: int
    compacted: int
    tags: tuple[Checked, ...]
    findings: tuple[Finding, ...]
    more: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def as_digest(text: str) -> str | None:
    """The digest that is written so, or None: it is none."""
    digest = text.strip().lower()
    return digest if len(digest) == 64 and set(digest) <= set("0123456789abcdef") else None


def verify(
    store: Store, namespace: str, pinned: str | None = None, told: Callable[[int], None] | None = None
) -> Report:
    """Verify every chain of a namespace and hold it against its checkpoints; ``pinned``: the digest of a
    checkpoint (or of the whole head) that must be there. ``told`` hears the number of keys done, key by key."""
    return _Run(store, namespace, pinned, told).report()


class _Run:
    """One verification of a namespace."""

    def __init__(
        self, store: Store, namespace: str, pinned: str | None, told: Callable[[int], None] | None
    ) -> None:
        self._store, self._namespace, self._pinned, self._told = store, namespace, pinned, told
        self._head = tags.HeadDigest()
        self._findings: list[Finding] = []
        self._more = 0
        self._keys = self._revisions = self._compacted = 0
        self._tags: list[_TagRun] = []

    def report(self) -> Report:
        try:
            self._open_tags()
            self._walk()
        except Corrupt as error:  # the store itself can't go on
            system = f" ({error.system})" if error.system else ""
            message = f"{error.message}{system}; what comes after it was not verified"
            self._add(Finding(None, None, "damaged", message))
        else:
            self._close()
        checked = tuple(tag.checked() for tag in self._tags)
        listed = tuple(self._findings)
        return Report(
            self._namespace,
            self._head.hex(),
            self._keys,
            self._revisions,
            self._compacted,
            checked,
            listed,
            self._more,
        )

    def _open_tags(self) -> None:
        for name in tags.names(self._store, self._namespace):
            try:
                tag = tags.find(self._store, self._namespace, name)
            except Corrupt as error:
                self._add(Finding(None, None, "tag", error.message))
                continue
            if tag is not None and tag.status == tags.DONE:
                self._tags.append(_TagRun(self._store, self._namespace, tag))

    def _walk(self) -> None:
        heads = _Keyed(walk(self._store, prefix_of(self._namespace, HEAD)))
        histories = _Keyed(walk(self._store, prefix_of(self._namespace, HISTORY)))
        while True:
            keys = [heads.key, histories.key, *(tag.key for tag in self._tags)]
            here = [key for key in keys if key is not None]
            if not here:
                return
            key = min(here)
            pins = {tag: pin for tag in self._tags if (pin := tag.take(key)) is not None}
            head = next(iter(list(heads.take(key))), None)
            self._one(key, head, histories.take(key), pins)

    def _one(
        self, key: str, head: Entry | None, entries: Iterator[Entry], pins: dict[_TagRun, Pinned]
    ) -> None:
        found = chain(self._store, self._namespace, key, head, entries, list(pins.values()))
        if found.findings:
            found = self._again(key, pins)
        for finding in found.findings:
            self._add(finding)
        self._revisions += found.revisions
        self._compacted += found.after_gap > 0
        if found.row is not None:
            self._keys += 1
            self._head.add(found.row)
            if self._told is not None:
                self._told(self._keys)
        for tag, pin in pins.items():
            tag.count(compacted=pin.number < found.after_gap, wrong=bool(found.findings))

    def _again(self, key: str, pins: dict[_TagRun, Pinned]) -> Chain:
        """A key that looked wrong, read once more while nobody wrote it."""
        found = Chain(None, 0, 0, [])
        for _ in range(TRIES):
            head = self._store.get(store_key(self._namespace, HEAD, key))
            entries = list(walk(self._store, revisions_of(self._namespace, HISTORY, key)))
            still = [pin for tag, pin in pins.items() if tag.stands()]
            found = chain(self._store, self._namespace, key, head, entries, still)
            after = self._store.get(store_key(self._namespace, HEAD, key))
            if (head.rev if head else 0) == (after.rev if after else 0):
                break
        return found

    def _close(self) -> None:
        for tag in self._tags:
            fault = tag.fault()
            if fault is not None and tag.stands():
                self._add(Finding(None, None, "tag", fault))
        known = {tag.tag.digest for tag in self._tags} | {self._head.hex()}
        if self._pinned is not None and self._pinned not in known:
            self._add(
                Finding(
                    None,
                    None,
                    "checkpoint",
                    f"no checkpoint of {self._namespace} has the digest {self._pinned}: the tag was deleted, or the "
                    "whole was replaced by an older copy or another one",
                )
            )

    def _add(self, finding: Finding) -> None:
        if len(self._findings) < MOST:
            self._findings.append(finding)
        else:
            self._more += 1


class _TagRun:
    """One checkpoint's rows, taken in key order beside the chains."""

    def __init__(self, store: Store, namespace: str, tag: tags.Tag) -> None:
        self._store, self._namespace = store, namespace
        self.tag = tag
        self._digest = tags.HeadDigest()
        self._rows = tags.rows(store, namespace, tag.name)
        self._unreadable: str | None = None
        self._verified = self._compacted = 0
        self._next = self._row()

    @property
    def key(self) -> str | None:
        return None if self._next is None else self._next.key

    def take(self, key: str) -> Pinned | None:
        row = self._next
        if row is None or row.key != key:
            return None
        self._digest.add(row)
        self._next = self._row()
        return Pinned(self.tag.name, row.number, row.hash)

    def count(self, *, compacted: bool, wrong: bool) -> None:
        if not wrong:
            self._compacted += compacted
            self._verified += not compacted

    def stands(self) -> bool:
        """Whether the tag is still there (it may have been deleted while we were reading)."""
        now = tags.find(self._store, self._namespace, self.tag.name)
        return now is not None and now.rev == self.tag.rev

    def fault(self) -> str | None:
        if self._unreadable is not None:
            return self._unreadable
        if self._digest.hex() == self.tag.digest and self._digest.count == self.tag.keys:
            return None
        return f"the rows of the tag {self.tag.name!r} are not those that its digest was made of"

    def checked(self) -> Checked:
        return Checked(self.tag, self._verified, self._compacted)

    def _row(self) -> tags.Row | None:
        try:
            return next(self._rows, None)
        except Corrupt as error:
            self._unreadable = error.message
            return None


class _Keyed:
    """Entries in key order, taken key by key."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._groups = groupby(entries, key=lambda entry: place(entry.key).name)
        self.key: str | None = None
        self._entries: Iterator[Entry] = iter(())
        self._advance()

    def take(self, key: str) -> Iterator[Entry]:
        """The entries of ``key``, if it is the next one; they must be used up before the next is taken."""
        if self.key != key:
            return iter(())
        return self._used_up()

    def _used_up(self) -> Iterator[Entry]:
        yield from self._entries
        self._advance()

    def _advance(self) -> None:
        self.key, self._entries = next(self._groups, (None, iter(())))
