"""Why: what was converged on a machine is recorded, so that drift is seen, leftovers are found and undone.

One entry for each resource (``r``), in the namespace of its machine. Before the first operation that changes a
resource an *intent* (``j``) with the state before is committed; after success one commit replaces it by the entry
and records the handlers that the change calls for (``p``). A run that finds an intent knows that its predecessor
was killed in between, and keeps the intent's picture of what was before. Contents stand beside, by digest (``o``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sloth_runner.errors import Corrupt, SlothError
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.asking import Ask
from sloth_runner.state.layout import CONTENT, INTENT, LEDGER, PENDING, place, prefix_of, store_key
from sloth_runner.state.ledger_ahead import Ahead
from sloth_runner.state.ledger_batch import Batch, write
from sloth_runner.state.ledger_records import (
    Entry,
    Intent,
    Pending,
    Unseen,
    decode,
    decode_intent,
    encode,
    escaped,
)
from sloth_runner.state.store import ABSENT

if TYPE_CHECKING:
    from sloth_runner.state.batch import Fence
    from sloth_runner.state.store import Entry as StoreEntry
    from sloth_runner.state.store import Store

Known = tuple["Entry | None", "Intent | None"]
_ASK = object()


class Ledger:
    """The ledger of one machine. Entries are written with the next intent, or by ``flush``: until then the intent
    stands for them. ``fences`` are those of the stack's lock.

    Its picture belongs to one thread. What the store has to be asked is given as an ``Ask``, and what it has to be
    told as a ``Batch``, so that who can't wait need not; ``entry``, ``flush`` and their like do it at once.
    """

    def __init__(self, store: Store, namespace: str, fences: Callable[[], Sequence[Fence]]) -> None:
        self.namespace = namespace
        self._store = store
        self._fences = fences
        self._far = not store.traits.embedded
        self._due: dict[str, bytes | None] = {}
        self._flying: dict[str, bytes | None] = {}
        self._mine: dict[str, bytes | None] = {}
        self._fresh: dict[str, Entry] = {}
        self._reads = 0
        self._revs: dict[str, int] = {}
        self._begun: set[str] | None = None
        self._ahead = Ahead(prefix_of(namespace, LEDGER), far=self._far)
        self._letting_go = False
        self.unseen: dict[str, Unseen] = {}
        self.named: dict[str, frozenset[str] | None] = {}
        """The attributes of resources that calls of this run have named; None: all that are recorded."""
        self.alike: dict[frozenset[str], frozenset[str]] = {}
        """These sets, each once: thousands of files have the same."""
        self.said: dict[str, Any] = {}
        """What kinds have noted of what calls of this run want."""
        self.surplus: set[str] = set()
        """The addresses of those of which more is recorded."""

    # What is known.

    def entry(self, address: str) -> Entry | None:
        """What is known of a resource."""
        return self.all_of([address])[0][0]

    def intent(self, address: str) -> Intent | None:
        """The intent of a run that did not come to its end."""
        return self.all_of([address])[0][1]

    def all_of(self, addresses: Sequence[str]) -> list[Known]:
        """Entries and intents of resources, at once."""
        known = self.recall(addresses)
        return self.asking(addresses).answered(self._store) if known is None else known

    def recall(self, addresses: Sequence[str]) -> list[Known] | None:
        """Entries and intents, if the store need not be asked."""
        self._ahead.asked += len(addresses)
        if self.wants_ahead or self._begun is None:
            return None
        out: list[Known] = []
        for address in addresses:
            entry: Entry | None = self._fresh.get(address)
            name = escaped(address)
            if entry is None:
                data = self._data_of(name)
                if data is _ASK:
                    return None
                entry = None if data is None else decode(data)
            intent = None
            if name in self._begun:
                key = store_key(self.namespace, INTENT, name)
                if key not in self._mine:
                    return None
                data = self._mine[key]
                intent = None if data is None else decode_intent(data)
            out.append((entry, intent))
        return out

    def _data_of(self, name: str) -> Any:
        """An entry's data; _ASK if only the store can tell."""
        key = store_key(self.namespace, LEDGER, name)
        if key in self._mine:
            return self._mine[key]
        data = self._ahead.get(name)
        return data if data is not None or (self._far and self._ahead.lacks(name)) else _ASK

    def asking(self, addresses: Sequence[str]) -> Ask:
        """The question for entries and intents (``all_of``)."""
        names = [escaped(address) for address in addresses]
        begun, more = self._begun is None, self._ahead.begin()
        keys = [store_key(self.namespace, LEDGER, name) for name in names]
        keys += [store_key(self.namespace, INTENT, name) for name in names if name in (self._begun or ())]
        self._reads += 1

        def look(store: Store) -> tuple[Any, ...]:
            intended = {} if not begun else {e.key: e for e in store.scan(prefix_of(self.namespace, INTENT))}
            entries = None if more is None else more(store)
            return intended, entries, {key: store.get(key) for key in keys}

        def learn(found: tuple[Any, ...]) -> list[Known]:
            intended, entries, read = found
            self._reads -= 1
            if begun:
                self._note_begun(intended)
            if entries is not None:
                self._revs.update(self._ahead.learn(entries, self._mine))
            self._note({**intended, **read})
            answer = [
                self._known(address, name, intended, read)
                for address, name in zip(addresses, names, strict=True)
            ]
            self._forget()
            return answer

        return Ask(look, learn)

    def _known(
        self,
        address: str,
        name: str,
        intended: Mapping[str, StoreEntry],
        read: Mapping[str, StoreEntry | None],
    ) -> Known:
        """What is known of a resource after the store was asked: first what this run has made of it meanwhile."""
        entry = self._fresh.get(address)
        if entry is None:
            key = store_key(self.namespace, LEDGER, name)
            found = read.get(key)
            data = self._data_of(name)
            if data is _ASK:
                data = None if found is None else found.value
            entry = None if data is None else decode(data)
        key = store_key(self.namespace, INTENT, name)
        if key in self._mine:
            intent = self._mine[key]
        else:
            there = read.get(key) or intended.get(key)
            intent = None if there is None else there.value
        return entry, None if intent is None else decode_intent(intent)

    @property
    def wants_ahead(self) -> bool:
        """Whether the next question is to fetch the rest, too."""
        return self._ahead.wanted

    def settled(self, call: str) -> tuple[str, str] | None:
        """The id of the resource that this very call found as wanted last time, and the stamps that it saw, if that
        has been read ahead."""
        self._ahead.asked += 1
        return None if self._begun else self._ahead.settled(call)

    @property
    def is_ahead(self) -> bool:
        """Whether it has been read ahead as far as it will be."""
        return self._ahead.done

    def reading_ahead(self) -> Ask:
        """The question for all of it."""
        self._ahead.want()
        return self.asking(())

    def of_task(self, stack: str, task: str) -> list[Entry]:
        """What a task of a stack named last time, in the order of creation, as far as it has been read ahead."""
        return sorted((one for one in self._ahead.of(stack) if one.by[4] == task), key=lambda one: one.order)

    def _note_begun(self, intended: Mapping[str, StoreEntry]) -> None:
        if self._begun is None:
            mine = {place(key).name for key, data in self._mine.items() if data and place(key).kind == INTENT}
            self._begun = {place(key).name for key in intended} | mine

    def _note(self, read: Mapping[str, StoreEntry | None]) -> None:
        """Keep the Revs of what was read, but for what is being written."""
        for key, found in read.items():
            if key not in self._mine:
                self._revs[key] = found.rev if found else ABSENT

    def _forget(self) -> None:
        """What has been written is the store's to tell again, once nobody is about to hear an older answer."""
        if self._reads == 0 and len(self._mine) > len(self._due) + len(self._flying):
            self._mine = {**self._flying, **self._due}
            kept = {place(key).name for key in self._mine if place(key).kind == LEDGER}
            self._fresh = {
                address: entry for address, entry in self._fresh.items() if escaped(address) in kept
            }

    def under(self, starts: Sequence[str]) -> Ask:
        """The question for entries whose addresses begin with one of ``starts``, in order of keys."""
        prefixes = tuple(prefix_of(self.namespace, LEDGER, escaped(start)) for start in starts)
        self._reads += 1

        def look(store: Store) -> dict[str, StoreEntry | None]:
            return {found.key: found for prefix in prefixes for found in store.scan(prefix)}

        def learn(found: dict[str, StoreEntry | None]) -> list[Entry]:
            self._reads -= 1
            self._note(found)
            there = {key: entry.value for key, entry in found.items() if entry is not None}
            mine = {key: data for key, data in self._mine.items() if key.startswith(prefixes)}
            self._forget()
            return [decode(data) for _, data in sorted({**there, **mine}.items()) if data is not None]

        return Ask(look, learn)

    def raw(self, kind: str, names: Sequence[str]) -> Ask:
        """The question for records of a kind, by (escaped) names; their data or None."""
        keys = [store_key(self.namespace, kind, name) for name in names]
        self._reads += 1

        def learn(found: dict[str, StoreEntry | None]) -> list[bytes | None]:
            self._reads -= 1
            self._note(found)
            out = []
            for key in keys:
                entry = found[key]
                out.append(self._mine.get(key, None if entry is None else entry.value))
            self._forget()
            return out

        return Ask(lambda store: {key: store.get(key) for key in keys}, learn)

    def due_already(self, pending: Sequence[Pending]) -> Ask:
        """The question which of these resources have called for those handlers already: a list of them."""
        ask = self.raw(PENDING, [_pending_name(one) for one in pending])

        def there(found: Any) -> list[Pending]:
            assert ask.then is not None
            return [one for one, data in zip(pending, ask.then(found), strict=True) if data is not None]

        return Ask(ask.work, there)

    def content(self, digest: str) -> bytes | None:
        """A kept content, at once. Raises Corrupt if it is damaged."""
        (data,) = self.raw(CONTENT, [digest]).answered(self._store)
        if data is not None:
            from hashlib import sha256

            if sha256(data).hexdigest() != digest:
                raise Corrupt(f"the kept content {digest} is damaged")
        found: bytes | None = data
        return found

    # What is to be written.

    def intend(self, intents: Mapping[str, Intent], contents: Mapping[str, bytes]) -> None:
        """Intents are to be durable with the next flush, and must be so before anything is done."""
        for digest, content in contents.items():
            self._keep(digest, content)
        for address, intent in intents.items():
            self._put(INTENT, escaped(address), encode(intent))
            if self._begun is not None:
                self._begun.add(escaped(address))

    def begin(self, intents: Mapping[str, Intent], contents: Mapping[str, bytes]) -> None:
        """Make intents durable at once, with everything that is due. Raises LockLost when the stack's lock was
        lost."""
        self.intend(intents, contents)
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

    def done(self, done: Sequence[Pending]) -> Ask:
        """Handlers have succeeded: they are no longer due, unless they were called for once more meanwhile."""
        ask = self.raw(PENDING, [_pending_name(one) for one in done])

        def settle_them(found: Any) -> None:
            assert ask.then is not None
            for one, data in zip(done, ask.then(found), strict=True):
                if data == encode(one):
                    self._put(PENDING, _pending_name(one), None)

        return Ask(ask.work, settle_them)

    def unrecorded(self) -> list[str]:
        """Resources that were changed (their intents are durable) and whose entries are not yet."""
        waiting = {**self._flying, **self._due}
        out: list[str] = []
        for address, entry in self._fresh.items():
            name = escaped(address)
            begun = store_key(self.namespace, INTENT, name) in waiting or entry.memory is not None
            if begun and store_key(self.namespace, LEDGER, name) in waiting:
                out.append(address)
        return out

    # Writing.

    def flush(self) -> None:
        """Make durable what is due, at once."""
        batch = self.take()
        if batch is not None:
            try:
                revs = write(self._store, self.namespace, batch)
            except SlothError:
                self.failed(batch)
                raise
            self.wrote(revs)

    def take(self) -> Batch | None:
        """What is due, to be written by whoever takes it, who then says how that went; None: nothing."""
        if not self._due and not self._letting_go:
            return None
        assert not self._flying, "two write one ledger"
        self._flying, self._due = self._due, {}
        letting_go, self._letting_go = self._letting_go, False
        revs = {key: rev for key in self._flying if (rev := self._revs.get(key)) is not None}
        fences = tuple(check for fence in self._fences() for check in fence.checks)
        return Batch(self._flying, revs, fences, letting_go)

    def wrote(self, revs: Mapping[str, int | None]) -> None:
        """A batch is durable; these are the Revs now (None: not known)."""
        self._flying = {}
        for key, rev in revs.items():
            if rev is None:
                self._revs.pop(key, None)
            else:
                self._revs[key] = rev
        self._forget()

    def failed(self, batch: Batch) -> None:
        """A batch is not durable, or only in part: it is due again, all of it."""
        self._flying = {}
        self._due = {k: v for k, v in batch.items.items() if k not in self._due} | self._due
        self._letting_go = self._letting_go or batch.letting_go
        for key in batch.items:
            self._revs.pop(key, None)

    def _keep(self, digest: str, content: bytes) -> None:
        """Keep a content, if it is not known to be there. What the store can't hold is not kept."""
        key = store_key(self.namespace, CONTENT, digest)
        unknown = key not in self._mine and self._revs.get(key, ABSENT) == ABSENT
        if unknown and len(content) <= self._store.traits.max_value:
            self._due[key] = self._mine[key] = content

    def _put(self, kind: str, name: str, data: bytes | None) -> None:
        if kind == LEDGER:
            self._ahead.forget(name)
        key = store_key(self.namespace, kind, name)
        self._due.pop(key, None)  # what comes later is written later
        self._due[key] = self._mine[key] = data


def _pending_name(one: Pending) -> str:
    return escaped(f"{one.stack}/{one.handler}/{one.address}")
