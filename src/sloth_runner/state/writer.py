"""Why: every change of a key, whoever asks, goes through one place that numbers it, signs it and commits it.

``Writer.apply`` takes many mutations, gives each the state left by those before it, and writes them in as few
commits as possible. A bad one fails alone. This is the group commit of the scheduler, and also where a lost
reply is resolved: the same write id is retried with the same expectation, never redone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from copy import copy

from sloth_runner.errors import Conflict, Corrupt, LockLost, SlothError, TooLarge
from sloth_runner.model import By
from sloth_runner.plain import NamedTuple
from sloth_runner.state import edits
from sloth_runner.state.commits import Unknowable, settle
from sloth_runner.state.heads import Head, Heads
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, namespace_of, place, store_key
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.record import (
    Record,
    decode_record,
    digest,
    digest_of,
    encode_record,
    needs_blob,
    sha256,
)
from sloth_runner.state.store import ABSENT, Change, Check, Reader, Rev, Store
from sloth_runner.state.value import decode, size_of


class Retention(NamedTuple):
    """Revisions of a key: the last ``keep`` always; others for ``days``, at most ``most`` altogether, and while
    the values of all have at most ``bytes``. What a tag pins stays in any case."""

    keep: int = 50
    days: float = 90.0
    most: int = 1000
    bytes: int = 64 << 20


KEEP_ALL = Retention(1 << 62, float("inf"), 1 << 62, 1 << 62)


class Fence(NamedTuple):
    """A lock that must still be held when a write is committed."""

    name: str
    token: int
    checks: tuple[Check, Check]


class Mutation(NamedTuple):
    """One edit of one key, by someone, under the locks they hold."""

    namespace: str
    key: str
    edit: edits.Edit
    by: By
    fences: tuple[Fence, ...] = ()


class Writer:
    """Applies mutations. ``clock``: seconds since the epoch; ``new_id``: 128 random bits in hex; ``heads`` are shared
    by the writers of one process."""

    __slots__ = ("clock", "heads", "new_id", "retention", "store")

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        retention: Retention,
        heads: Heads | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.new_id = new_id
        self.retention = retention
        self.heads = Heads() if heads is None else heads

    def apply(self, mutations: Sequence[Mutation]) -> list[object]:
        """Commit the mutations; the list holds each one's result, or the SlothError that it met: its own, or what
        concerns the store as a whole (StoreDown, Busy, Indeterminate, Corrupt, Foreign).

        Mutations of one namespace are committed together and in order.
        """
        if len(mutations) == 1:
            return self._group(mutations[0].namespace, list(mutations))
        results: list[object] = [None] * len(mutations)
        groups: dict[str, list[int]] = {}
        for index, mutation in enumerate(mutations):
            groups.setdefault(mutation.namespace, []).append(index)
        for namespace, indexes in groups.items():
            part = self._group(namespace, [mutations[i] for i in indexes])
            for i, result in zip(indexes, part, strict=True):
                results[i] = result
        return results

    def one(self, mutation: Mutation) -> object:
        """Commit one mutation and return its result, or raise its error."""
        result = self._group(mutation.namespace, [mutation])[0]
        if isinstance(result, SlothError):
            raise result
        return result

    def _group(self, namespace: str, group: list[Mutation]) -> list[object]:
        """Mutations of one namespace, as many together as a commit holds; results or errors."""
        most = max(1, self.store.traits.max_changes // 8)
        if len(group) > most:
            return self._group(namespace, group[:most]) + self._group(namespace, group[most:])
        try:
            return self._together(namespace, group)
        except SlothError as error:
            return [error if index == 0 else _like(error) for index in range(len(group))]

    def _together(self, namespace: str, group: list[Mutation]) -> list[object]:
        traits = self.store.traits
        with nullcontext() if traits.exclusive is None else traits.exclusive(_names(namespace, group)):
            try:
                return self._attempt(group, guess=True)
            except _Again:
                for mutation in group:
                    self.heads.forget(store_key(namespace, HEAD, mutation.key))
            tries: Tries | None = None
            while True:
                try:
                    return self._attempt(group, guess=False)
                except _Again as again:
                    if len(group) > 1:
                        return self._apart(namespace, group, again.keys)
                    if again.lost is not None:  # a lock that was lost stays so
                        return [again.lost]
                    tries = tries or Tries(traits.patience, CONTENTION)
                    if tries.again():
                        continue
                    key = group[0].key
                    why = f"{key!r} was changed by others each time it was tried"
                    return [Conflict(why, keys=[key], next=["try again when fewer write to it"])]

    def _apart(self, namespace: str, group: list[Mutation], keys: Collection[str]) -> list[object]:
        """Let what can't be applied just now, or at all, keep nothing else from being applied: the rest goes
        together, the others one by one. What concerns one key stays in order."""
        names = {place(key).name for key in keys}
        hot = [m.key in names or any(c.key in keys for f in m.fences for c in f.checks) for m in group]
        if all(hot) or not any(hot):
            return [result for one in group for result in self._group(namespace, [one])]
        rest = iter(self._group(namespace, [m for m, is_hot in zip(group, hot, strict=True) if not is_hot]))
        return [
            self._group(namespace, [mutation])[0] if is_hot else next(rest)
            for mutation, is_hot in zip(group, hot, strict=True)
        ]

    def _attempt(self, group: list[Mutation], *, guess: bool) -> list[object]:
        """One try; with ``guess`` on the heads that are remembered, without reading. Raises _Again."""
        batch = Batch(self, guess=guess)
        results: list[object] = []
        for mutation in group:
            try:
                results.append(batch.add(mutation))
            except SlothError as error:
                results.append(error)
        changes = batch.changes()
        if guess and batch.unproven:
            raise _Again(None)
        if changes:
            try:
                revs = settle(self.store, changes, lambda: written(self.store, changes))
            except Conflict as conflict:
                raise _Again(None if guess else _lost_lock(group, conflict), conflict.keys) from conflict
            except TooLarge as large:
                if len(group) == 1:
                    return [large]
                raise _Again(None) from large
            if revs is not None:
                batch.remember(revs)
        if edits.NEW_REVISION in results:
            last = batch.last_revision
            results = [
                last[m.key] if r is edits.NEW_REVISION else r for m, r in zip(group, results, strict=True)
            ]
        return results


class _Again(Exception):
    """Try again, after a Conflict on ``keys``; ``lost`` if it was a lock that is no longer held."""

    def __init__(self, lost: LockLost | None, keys: Collection[str] = ()) -> None:
        super().__init__()
        self.lost = lost
        self.keys = keys


class _Key:
    """One key inside a batch: its head as read (or guessed), and the records that the batch adds."""

    __slots__ = ("added", "data", "guess", "head_rev", "last", "marked", "place", "store_key", "touched")

    def __init__(self, store_key: str, head_rev: int, last: Record | None, guess: Head | None = None) -> None:
        self.store_key = store_key
        self.head_rev = head_rev
        self.last = last
        self.guess = guess
        self.added: list[Record] = []
        self.touched = False
        self.marked = False
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
        self._keys: dict[str, _Key] = {}
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
            slot.touched = True
            slot.marked = slot.marked or plan.sensitive is not live.sensitive
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
            if slot.marked and not slot.added:  # the value that was marked must stay masked in its history
                name = store_key(self._namespace, HISTORY, key, head.number)
                revision = self._store.get(name)
                if revision is not None:
                    out.append(Change(name, data, revision.rev))
            out.extend(pruned)
        if out:
            out.extend(self._fences.values())
        return out

    @property
    def unproven(self) -> bool:
        """Whether anything rests on a head that no commit would check; or on one that may have been stale from the
        start, where a flag alone is written: were the reply lost, that could not be told from our own write."""
        return [] in [slot.added for slot in self._keys.values()]

    def remember(self, revs: list[Rev]) -> None:
        """The commit was made, and these are its Revs."""
        for slot in self._keys.values():
            if slot.place >= 0 and slot.last is not None:
                self._heads.keep(slot.store_key, Head(revs[slot.place], slot.last, slot.data))

    def _read(self, key: str) -> _Key:
        name = store_key(self._namespace, HEAD, key)
        if self._guess:
            known = self._heads.get(name)
            if known is None:
                raise _Again(None)
            return _Key(name, known.rev, known.record, known)
        entry = self._store.get(name)
        if entry is None:
            return _Key(name, ABSENT, None)
        record = load_blob(self._store, self._namespace, key, decode_record(entry.value))
        return _Key(name, entry.rev, record)

    def _append(self, slot: _Key, mutation: Mutation, plan: edits.Plan) -> None:
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

    def _prune(self, key: str, slot: _Key) -> list[Change | Check]:
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
            size = 0
            for kind in (HISTORY, BLOB):
                entry = self._store.get(store_key(self._namespace, kind, key, head.first))
                if entry is not None:
                    if kind == HISTORY:
                        size = decode_record(entry.value).size
                    if pinned is tags.Pin.NO:
                        out.append(Change(entry.key, None, entry.rev))
            after = self._store.get(store_key(self._namespace, HISTORY, key, head.first + 1))
            time = decode_record(after.value).time if after else self._now
            slot.last = head._replace(first=head.first + 1, first_time=time, kept=head.kept - size)
            slot.added[-1] = slot.last
        return out

    def _is_beyond(self, head: Record) -> bool:
        """Whether the oldest revision is one too many, too old, or too much."""
        rule = self._writer.retention
        kept = head.number - head.first + 1
        old = head.first_time < self._now - rule.days * 86400
        return kept > rule.most or (kept > rule.keep and (old or head.kept > rule.bytes))


def _names(namespace: str, group: Sequence[Mutation]) -> list[str]:
    """The namespaces that a commit of these concerns, those of their locks included."""
    names = {namespace}
    for mutation in group:
        for fence in mutation.fences:
            names.update([namespace_of(check.key) for check in fence.checks])
    return sorted(names)


def _like(error: SlothError) -> SlothError:
    """Another one like it, for another who met it: where that was is written into each."""
    other = copy(error)
    other.__cause__ = error
    return other


def written(store: Store, changes: Sequence[Change | Check]) -> bool:
    """Whether the store shows that this commit of revisions was made: commits are atomic, so one of them tells.

    Raises Unknowable: what it wrote is compacted already, or was no more than a flag that has been set anew.
    """
    puts = [change for change in changes if isinstance(change, Change) and change.value is not None]
    for change in puts:
        where = place(change.key)
        if where.kind == HISTORY and change.expect == ABSENT:
            entry = store.get(change.key)
            if entry is not None:
                return decode_record(entry.value).write_id == decode_record(change.value or b"").write_id
            head = store.get(store_key(where.namespace, HEAD, where.name))
            if head is None or decode_record(head.value).number < (where.revision or 0):
                return False
            raise _untold(where.name, "its history is compacted")
    for change in puts:
        where = place(change.key)
        if where.kind == HEAD:
            entry = store.get(change.key)
            found = None if entry is None else decode_record(entry.value)
            if found is not None and found.touch == decode_record(change.value or b"").touch:
                return True
            if entry is None or entry.rev == change.expect:
                return False
            raise _untold(where.name, "others changed it since")
    return False


def _untold(key: str, why: str) -> Unknowable:
    return Unknowable(
        f"the reply to a write of {key!r} was lost, and whether it was done can't be found out: {why}",
        next=[f"look: sloth-runner state history {key}"],
    )


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


def _lost_lock(group: Iterable[Mutation], conflict: Conflict) -> LockLost | None:
    for mutation in group:
        for fence in mutation.fences:
            if any(check.key in conflict.keys for check in fence.checks):
                return LockLost(
                    f"the lock {fence.name!r} is no longer held (its lease ended): "
                    f"{mutation.key!r} was not written",
                    unchanged=[mutation.key],
                    next=["use state.with_lock, which renews the lease, or a longer ttl"],
                )
    return None
