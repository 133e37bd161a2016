"""Why: many mutations of one namespace become one commit here: each gets the state left by those before it, and all
that follows from it (new head, revision, blob, what is pruned) is gathered.

``Writer`` commits what is gathered, and begins anew with another batch when others were faster.
"""

from __future__ import annotations

from sloth_runner.model import By
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state import edits
from sloth_runner.state.heads import Head
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, store_key
from sloth_runner.state.record import (
    Record,
    decode_record,
    digest,
    digest_of,
    encode_record,
    load_blob,
    needs_blob,
    sha256,
)
from sloth_runner.state.store import ABSENT, Change, Check, Rev
from sloth_runner.state.value import decode, size_of

if TYPE_CHECKING:
    from sloth_runner.state.writer import Writer


class Retention(NamedTuple):
    """Revisions of a key: the last ``keep`` always; others for ``days``, at most ``most`` altogether, and while
    the values of all have at most ``bytes``. What a tag pins stays in any case."""

    keep: int = 50
    days: float = 90.0
    most: int = 1000
    bytes: int = 64 << 20


KEEP_ALL = Retention(1 << 62, float("inf"), 1 << 62, 1 << 62)


class Fence(NamedTuple):
    """A lock that must still be held when a write is committed. One that is ``renewed`` while its holder works may
    not be lost: that ends the task."""

    name: str
    token: int
    checks: tuple[Check, Check]
    renewed: bool = False


class Mutation(NamedTuple):
    """One edit of one key, by someone, under the locks they hold."""

    namespace: str
    key: str
    edit: edits.Edit
    by: By
    fences: tuple[Fence, ...] = ()


class Unremembered(Exception):
    """A guess needs a head that is not remembered: the store has to be read."""


class Slot:
    """One key inside a batch: its head as read (or guessed), and the records that the batch adds."""

    __slots__ = ("added", "data", "guess", "head_rev", "last", "marked", "place", "store_key", "touched")

    def __init__(self, store_key: str, head_rev: int, last: Record | None, guess: Head | None = None) -> None:
        self.store_key = store_key
        self.head_rev = head_rev
        self.last = last
        self.guess = guess
        self.added: list[Record] = []
        self.touched = False
        self.marked: Record | None = None
        """What was there before, if its flag is another now."""
        self.place = -1
        """Where in the commit its new head stands; -1: nowhere."""
        self.data = b""
        """And its bytes."""

    def last_digest(self) -> str:
        """What the next record's ``previous`` is."""
        if self.guess is not None and self.last is self.guess.record:
            return digest_of(self.guess.data)
        return digest(self.last) if self.last is not None else ""


class Batch:
    """The changes of several mutations of one namespace, gathered into one commit."""

    def __init__(self, writer: Writer, *, guess: bool) -> None:
        self._writer = writer
        self._guess = guess
        self._store = writer.store
        self._heads = writer.heads
        self._now = writer.clock()
        self._keys: dict[str, Slot] = {}
        self._fences: dict[str, Check] = {}
        self._namespace = ""

    @property
    def last_revision(self) -> dict[str, int]:
        """The last revision number of each key concerned (0: never set)."""
        return {key: slot.last.number if slot.last else 0 for key, slot in self._keys.items()}

    def add(self, mutation: Mutation) -> object:
        """Plan one mutation on top of those before it; returns its result."""
        self._namespace, key, edit, _, fences = mutation
        slot = self._keys.get(key)
        if slot is None:
            slot = self._keys[key] = self._read(key)
        last = slot.last
        live = last if last is not None and last.live(self._now) else None
        plan = edit(edits.Seen(key, last, live, self._now))
        if plan.op is not None:
            if live is None and last is not None and last.expires is not None and last.op != "delete":
                ended = edits.Plan(None, "expire", None, last.expires, last.sensitive)
                self._append(slot, mutation, ended)
            self._append(slot, mutation, plan)
        elif live is not None and (plan.expires, plan.sensitive) != (live.expires, live.sensitive):
            touch = self._writer.new_id()
            slot.last = live._replace(expires=plan.expires, sensitive=plan.sensitive, touch=touch)
            if slot.added:
                slot.added[-1] = slot.last
            elif slot.marked or plan.sensitive is not live.sensitive:
                slot.marked = slot.last
            slot.touched = True
        else:
            return plan.result
        for fence in fences:
            for check in fence.checks:
                self._fences[check.key] = check
        return plan.result

    def changes(self) -> list[Change | Check]:
        """The commit: for each key its new head, new revisions, blobs and prunings; and the fences."""
        out: list[Change | Check] = []
        for key, slot in self._keys.items():
            if not slot.added and not slot.touched:
                continue
            pruned = self._prune(key, slot) if slot.added else ()
            head = slot.last
            assert head is not None
            data = slot.data = encode_record(head)
            slot.place = len(out)
            out.append(Change(slot.store_key, data, slot.head_rev))
            for record in slot.added:
                name = store_key(self._namespace, HISTORY, key, record.number)
                out.append(Change(name, data if record is head else encode_record(record), ABSENT))
                if record.blob and record.text is not None:
                    blob = store_key(self._namespace, BLOB, key, record.number)
                    out.append(Change(blob, record.text.encode(), ABSENT))
            if slot.marked is not None:  # the value that was marked must stay masked in its history
                name = store_key(self._namespace, HISTORY, key, slot.marked.number)
                revision = self._store.get(name)
                if revision is not None and all(change.key != name for change in pruned):
                    out.append(Change(name, encode_record(slot.marked), revision.rev))
            out.extend(pruned)
        if out:
            out.extend(self._fences.values())
        return out

    @property
    def unproven(self) -> bool:
        """Whether anything rests on a head that no commit would check; or on one that may have been stale from the
        start, where a flag alone is written: were the reply lost, that could not be told from our own write."""
        return not all(slot.added for slot in self._keys.values())

    def remember(self, revs: list[Rev]) -> None:
        """The commit was made, and these are its Revs."""
        for slot in self._keys.values():
            if slot.place >= 0 and slot.last is not None:
                self._heads.keep(slot.store_key, Head(revs[slot.place], slot.last, slot.data))

    def _read(self, key: str) -> Slot:
        name = store_key(self._namespace, HEAD, key)
        if self._guess:
            known = self._heads.get(name)
            if known is None:
                raise Unremembered
            return Slot(name, known.rev, known.record, known)
        entry = self._store.get(name)
        if entry is None:
            return Slot(name, ABSENT, None)
        record = load_blob(self._store, self._namespace, key, decode_record(entry.value))
        return Slot(name, entry.rev, record)

    def _append(self, slot: Slot, mutation: Mutation, plan: edits.Plan) -> None:
        last, now = slot.last, self._now
        _, op, text, expires, sensitive, size = plan
        if size is None:
            size = 0 if text is None else size_of(decode(text), text)
        number, created, first, first_time, kept = 1, now, 1, now, size
        if last is not None:
            number, first, first_time, kept = last.number + 1, last.first, last.first_time, last.kept + size
            if last.text is not None and text is not None:
                created = last.created
        token = max([fence.token for fence in mutation.fences]) if mutation.fences else None
        blob = sha256(text.encode()) if text is not None and needs_blob(text) else ""
        slot.last = Record(
            number, self._writer.new_id(), op or "set", text, size, now, created, mutation.by, expires, sensitive,
            token, slot.last_digest(), first, first_time, "", blob, "", kept,
        )  # fmt: skip
        slot.added.append(slot.last)

    def _prune(self, key: str, slot: Slot) -> list[Change | Check]:
        """Up to two of the oldest revisions beyond what is kept; the head learns the new horizon.

        What a tag pins stays where it is, below the horizon.
        """
        out: list[Change | Check] = []
        for _ in range(2):
            head = slot.last
            assert head is not None
            if not self._is_beyond(head) or head.number - head.first <= len(slot.added):
                break
            from sloth_runner.state import tags

            pinned = tags.pins(self._store, self._namespace, key, head.first)
            if pinned is tags.Pin.WAIT:
                break
            entry = self._store.get(store_key(self._namespace, HISTORY, key, head.first))
            gone = None if entry is None else decode_record(entry.value)
            if pinned is tags.Pin.NO:
                blob = store_key(self._namespace, BLOB, key, head.first)
                both = (entry, self._store.get(blob) if gone is not None and gone.blob else None)
                out.extend([Change(one.key, None, one.rev) for one in both if one is not None])
            after = self._store.get(store_key(self._namespace, HISTORY, key, head.first + 1))
            time = decode_record(after.value).time if after else self._now
            size = 0 if gone is None else gone.size
            slot.last = head._replace(first=head.first + 1, first_time=time, kept=head.kept - size)
            slot.added[-1] = slot.last
        return out

    def _is_beyond(self, head: Record) -> bool:
        """Whether the oldest revision is one too many, too old, or too much."""
        rule = self._writer.retention
        kept = head.number - head.first + 1
        old = head.first_time < self._now - rule.days * 86400
        return kept > rule.most or (kept > rule.keep and (old or head.kept > rule.bytes))
