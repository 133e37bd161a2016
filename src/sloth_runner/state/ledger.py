"""Why: what was converged on a machine is recorded, so that drift is seen, leftovers are found and undone.

One entry for each resource (``r``), in the namespace of its machine. Before the first operation that changes a
resource an *intent* (``j``) with the state before is committed; after success one commit replaces it by the entry
and records the handlers that the change calls for (``p``). A run that finds an intent knows that its predecessor
was killed in between, and keeps the intent's picture of what was before. Contents stand beside, by digest (``o``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sloth_runner.errors import Conflict, Corrupt, LockLost
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import CONTENT, INTENT, LEDGER, PENDING, place, prefix_of, store_key
from sloth_runner.state.ledger_records import (
    CALL_PREFIX,
    CALL_SIZE,
    Entry,
    Intent,
    Pending,
    Unseen,
    decode,
    decode_intent,
    encode,
    escaped,
)
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.store import ABSENT, Change, Check, Store

if TYPE_CHECKING:
    from sloth_runner.state.writer import Fence

AHEAD_FROM, AHEAD_MOST = 16, 20_000
"""After so many questions the ledger is read ahead, up to so many entries."""


class Ledger:
    """The ledger of one machine. Entries are written with the next intent, or by ``flush``: until then the intent
    stands for them. ``fences`` are those of the stack's lock."""

    def __init__(self, store: Store, namespace: str, fences: Callable[[], Sequence[Fence]]) -> None:
        self.namespace = namespace
        self._store = store
        self._fences = fences
        self._due: dict[str, bytes | None] = {}
        self._revs: dict[str, int] = {}
        self._fresh: dict[str, Entry] = {}
        self._begun: set[str] | None = None
        self._asked = 0
        self._ahead: dict[str, bytes] | None = None
        self._calls: dict[bytes, tuple[str, str]] = {}
        self._letting_go = False
        self.unseen: list[Unseen] = []

    def entry(self, address: str) -> Entry | None:
        """What is known of a resource."""
        fresh = self._fresh.get(address)
        if fresh is not None:
            return fresh
        name = escaped(address)
        self._count()
        data = None if self._ahead is None else self._ahead.get(name)
        if data is None:
            data = self._read(LEDGER, name)
        return None if data is None else decode(data)

    def settled(self, call: str) -> tuple[str, str] | None:
        """The id of the resource that this very call found as wanted last time, and the stamps that it saw."""
        self._count()
        found = self._calls.get(call.encode())
        if found is None or self._begun:
            return None
        return found

    def of_task(self, stack: str, task: str) -> list[Entry]:
        """What a task of a stack named last time, in the order of creation."""
        if self._ahead is None:
            self._asked = max(self._asked, AHEAD_FROM)
            self._read_ahead()
        assert self._ahead is not None
        found = (claimed(decode(data), stack) for data in self._ahead.values())
        return sorted(
            (one for one in found if one is not None and one.by[4] == task), key=lambda one: one.order
        )

    def _count(self) -> None:
        self._asked += 1
        if self._asked == AHEAD_FROM:
            self._read_ahead()

    def _read_ahead(self) -> None:
        """Many are asked for: the rest is fetched in one scan, which costs a third of asking for each."""
        self._ahead = {}
        self._begun = set(intents(self._store, self.namespace))
        prefix = prefix_of(self.namespace, LEDGER)
        start, end = len(CALL_PREFIX), len(CALL_PREFIX) + CALL_SIZE
        for found in self._store.scan(prefix, limit=AHEAD_MOST):
            name, value = found.key[len(prefix) :], found.value
            self._ahead[name] = value
            self._revs[found.key] = found.rev
            if value.startswith(CALL_PREFIX) and "%" not in name:
                begin = end + len(b'","seen":"')
                seen = value[begin : value.index(b'"', begin)]
                self._calls[value[start:end]] = (name.partition(":")[2], seen.decode())

    def intent(self, address: str) -> Intent | None:
        """The intent of a run that did not come to its end."""
        if self._begun is None:  # nearly always there are none: one look instead of one for each resource
            self._begun = set(intents(self._store, self.namespace))
        name = escaped(address)
        if name not in self._begun:
            return None
        data = self._read(INTENT, name)
        return None if data is None else decode_intent(data)

    def begin(self, intents: Mapping[str, Intent], contents: Mapping[str, bytes]) -> None:
        """Make intents durable, with everything that is due. Raises LockLost when the stack's lock was lost."""
        for digest, content in contents.items():
            self._keep(digest, content)
        for address, intent in intents.items():
            self._put(INTENT, escaped(address), encode(intent))
            if self._begun is not None:
                self._begun.add(escaped(address))
        self.flush()

    def record(
        self, entry: Entry, contents: Mapping[str, bytes], pending: Iterable[Pending], *, begun: bool
    ) -> None:
        """An entry is true from now on; it becomes durable with the next intent or flush."""
        self.call_for(pending)  # before the intent goes, in case that they don't fit into one commit
        for digest, content in contents.items():
            self._keep(digest, content)
        self._put(LEDGER, escaped(entry.address), encode(entry))
        self._fresh[entry.address] = entry
        if begun:
            self.withdraw(entry.address)

    def call_for(self, pending: Iterable[Pending]) -> None:
        """Handlers are due; durable with the next intent or flush."""
        for one in pending:
            self._put(PENDING, _pending_name(one), encode(one))

    def is_due(self, one: Pending) -> bool:
        """Whether that resource has called for that handler already."""
        return self._read(PENDING, _pending_name(one)) is not None

    def withdraw(self, address: str) -> None:
        """What was intended is not under way any more."""
        self._put(INTENT, escaped(address), None)

    def let_go(self) -> None:
        """Kept contents that nothing refers to after the next flush are deleted then."""
        self._letting_go = True

    def drop(self, address: str) -> None:
        """Forget a resource, and an intent for it."""
        self._fresh.pop(address, None)
        self._put(LEDGER, escaped(address), None)
        self.withdraw(address)

    def done(self, one: Pending) -> None:
        """A handler has succeeded: it is no longer due, unless it was called for once more meanwhile."""
        name = _pending_name(one)
        if self._read(PENDING, name) == encode(one):
            self._put(PENDING, name, None)

    def content(self, digest: str) -> bytes | None:
        """A kept content. Raises Corrupt if it is damaged."""
        data = self._read(CONTENT, digest)
        if data is not None:
            from hashlib import sha256

            if sha256(data).hexdigest() != digest:
                raise Corrupt(f"the kept content {digest} is damaged")
        return data

    def flush(self) -> None:
        """Make durable what is due."""
        due, self._due = self._due, {}
        self._fresh.clear()
        items = list(due.items())
        most = max(1, self._store.traits.max_changes - 8)
        for start in range(0, len(items), most):
            self._commit(items[start : start + most])
        if self._letting_go:
            self._letting_go = False
            for key in sweep(self._store, self.namespace):
                self._revs.pop(key, None)

    def _commit(self, items: list[tuple[str, bytes | None]]) -> None:
        fences = [check for fence in self._fences() for check in fence.checks]
        tries: Tries | None = None
        while True:
            changes: list[Change | Check] = []
            for key, data in items:
                rev = self._rev(key)
                if data is not None or rev != ABSENT:
                    changes.append(Change(key, data, rev))
            if not changes:
                return
            try:
                revs = settle(self._store, [*changes, *fences])
            except Conflict as conflict:
                if conflict.keys & {check.key for check in fences}:
                    raise LockLost(
                        "the stack's lock is no longer held: what was just done is not in the ledger",
                        next=["see who has it: sloth-runner lock list --shared", "run again"],
                    ) from conflict
                self._revs.clear()  # another stack works on the same resources: what we did last is true
                tries = tries or Tries(self._store.traits.patience, CONTENTION)
                if tries.again(conflict):
                    continue
                raise Conflict(
                    f"the ledger of {self.namespace!r} was changed by others each time it was tried",
                    keys=[key for key, _ in items],
                ) from conflict
            for change, rev in zip(changes, revs or (), strict=False):
                self._revs[change.key] = rev
            if revs is None:
                self._revs.clear()
            return

    def _keep(self, digest: str, content: bytes) -> None:
        key = store_key(self.namespace, CONTENT, digest)
        if self._rev(key) == ABSENT:
            self._due[key] = content

    def _put(self, kind: str, name: str, data: bytes | None) -> None:
        if kind == LEDGER and self._ahead is not None:
            old = self._ahead.pop(name, None)
            if old is not None and old.startswith(CALL_PREFIX):
                self._calls.pop(old[len(CALL_PREFIX) : len(CALL_PREFIX) + CALL_SIZE], None)
        self._due[store_key(self.namespace, kind, name)] = data

    def _rev(self, key: str) -> int:
        rev = self._revs.get(key)
        if rev is None:
            found = self._store.get(key)
            rev = self._revs[key] = found.rev if found else ABSENT
        return rev

    def _read(self, kind: str, name: str) -> bytes | None:
        key = store_key(self.namespace, kind, name)
        if key in self._due:
            return self._due[key]
        found = self._store.get(key)
        self._revs[key] = found.rev if found else ABSENT
        return found.value if found else None


def _pending_name(one: Pending) -> str:
    return escaped(f"{one.stack}/{one.handler}/{one.address}")


def claimed(entry: Entry, stack: str) -> Entry | None:
    """An entry as a stack sees it, that names the resource; None if it doesn't."""
    if entry.stack == stack:
        return entry
    claim = entry.others.get(stack)
    if claim is None:
        return None
    task, agent, site = claim
    return entry._replace(by=(*entry.by[:4], task), agent=agent, site=tuple(site))


def released(entry: Entry, stack: str, stacks: Container[str]) -> Entry | None:
    """An entry without the claim of a stack; None if no other one of ``stacks`` (those that exist) names it."""
    others = {other: claim for other, claim in entry.others.items() if other != stack and other in stacks}
    if entry.stack != stack and entry.stack in stacks:
        return entry._replace(others=others)
    for heir in others:
        left = {other: claim for other, claim in others.items() if other != heir}
        view = claimed(entry, heir)
        return None if view is None else view._replace(stack=heir, others=left)
    return None


def entries(store: Store, namespace: str, prefix: str = "") -> Iterator[Entry]:
    """All entries of a machine whose address starts with ``prefix``, in order of addresses."""
    for found in store.scan(prefix_of(namespace, LEDGER, escaped(prefix))):
        yield decode(found.value)


def pending(store: Store, namespace: str, stack: str) -> list[Pending]:
    """The handlers of a stack that are due on a machine, in order of their names."""
    found = store.scan(prefix_of(namespace, PENDING, escaped(f"{stack}/")))
    return [Pending(**json.loads(one.value)) for one in found]


def intents(store: Store, namespace: str) -> Iterator[str]:
    """The (escaped) addresses of resources whose change was begun and not recorded."""
    for found in store.scan(prefix_of(namespace, INTENT)):
        yield place(found.key).name


def sweep(store: Store, namespace: str) -> list[str]:
    """Delete kept contents that nothing refers to; the store keys of those. What others use or delete at this moment
    stays until the next time."""
    stale = unused_contents(store, namespace)
    try:
        if stale:
            settle(store, stale)
    except Conflict:
        pass
    return [change.key for change in stale]


def unused_contents(store: Store, namespace: str, most: int = 500) -> list[Change]:
    """Deletions of kept contents that no entry and no intent refers to."""
    used: set[str | None] = set()
    for entry in entries(store, namespace):
        used |= {entry.content, entry.before_content}
    for found in store.scan(prefix_of(namespace, INTENT)):
        used.add(decode_intent(found.value).before_content)
    stale = (e for e in store.scan(prefix_of(namespace, CONTENT)) if place(e.key).name not in used)
    return [Change(e.key, None, e.rev) for _, e in zip(range(most), stale, strict=False)]
