"""Why: what was converged on a machine is recorded, so that drift is seen, leftovers are found and undone.

One entry for each resource (``r``), in the namespace of its machine. Before the first operation that changes a
resource an *intent* (``j``) with the state before is committed; after success one commit replaces it by the entry
and records the handlers that the change calls for (``p``). A run that finds an intent knows that its predecessor
was killed in between, and keeps the intent's picture of what was before. Contents stand beside, by digest (``o``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sloth_runner.errors import Conflict, Corrupt, LockLost
from sloth_runner.plain import NamedTuple
from sloth_runner.state.layout import CONTENT, INTENT, LEDGER, PENDING, place, prefix_of, store_key
from sloth_runner.state.store import ABSENT, Change, Check, Store

if TYPE_CHECKING:
    from sloth_runner.state.writer import Fence

TRIES = 10
AHEAD_FROM, AHEAD_MOST = 16, 20_000
"""After so many questions the ledger is read ahead, up to so many entries."""
KEPT_CONTENT = 1 << 20
"""Bytes of a content that are kept for showing differences and for bringing it back."""

Attributes = Mapping[str, Any]
Stamp = tuple[int, int, int, int, int]


class Entry(NamedTuple):
    """What the ledger knows of one resource. ``wanted`` and ``applied`` None: it was to be absent.

    ``applied`` are the attributes that were wanted, as seen after they were applied. ``before`` is what was there
    before we first touched it (None: nothing), ``touched`` whether we ever changed it. ``content`` and
    ``before_content`` are digests of contents that are kept. ``order`` grows with each creation; ``site`` are the
    lines of the task file that named it. With ``salt`` the resource is sensitive: attributes are salted digests.
    ``memory`` is what the call remembers beside. ``agent`` is where the task ran, if the call went elsewhere from
    there; ``others`` are further stacks that name it, each with task, agent and site. ``before`` is {} if something
    was there of which nothing was kept.

    ``seen`` are the stamps of the file and of its ``source`` on the controller (``TARGET;SOURCE``) at a moment when
    the wanted content was theirs, and ``call`` identifies the call that met them so: while call and stamps are the
    same, the look is done.
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


def _dump(data: object) -> bytes:
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()


def encode(record: Entry | Intent | Pending) -> bytes:
    """A record as bytes; fields that have their default value are left out. ``call`` and ``seen`` come first, so that
    they can be found without reading the rest."""
    defaults = record._field_defaults
    fields = zip(record._fields, record, strict=True)
    row = {name: value for name, value in fields if name not in defaults or value != defaults[name]}
    if not isinstance(record, Entry) or not record.call:
        return _dump(row)
    del row["call"], row["seen"]
    return b'%s%s","seen":"%s",%s' % (_CALL, record.call.encode(), record.seen.encode(), _dump(row)[1:])


_CALL = b'{"call":"'
CALL_SIZE = 32
"""Hex digits that identify a call."""


def stamps(target: Sequence[int] | None, source: Sequence[int] | None = None) -> str:
    """Stamps as an entry keeps them."""
    return ";".join("" if stamp is None else ",".join(map(str, stamp)) for stamp in (target, source))


def target_stamp(entry: Entry) -> Stamp | None:
    """The stamp of the file when it was as applied."""
    return _stamp(entry.seen.partition(";")[0])


def source_stamp(entry: Entry) -> Stamp | None:
    """The stamp of the source when its content was the one wanted."""
    return _stamp(entry.seen.partition(";")[2])


def _stamp(text: str) -> Stamp | None:
    if not text:
        return None
    device, inode, size, modified, changed = map(int, text.split(","))
    return device, inode, size, modified, changed


def decode(data: bytes) -> Entry:
    """An entry from its bytes. Raises Corrupt."""
    try:
        row = json.loads(data)
        row["by"] = tuple(row["by"])
        row["site"] = tuple(row["site"])
        return Entry(**row)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"an entry of the ledger can't be read: {error!r}") from error


def _decode_intent(data: bytes) -> Intent:
    try:
        row = json.loads(data)
        row["notify"] = tuple(row["notify"])
        return Intent(**row)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"an intent of the ledger can't be read: {error!r}") from error


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


def covered_line(line: str) -> str:
    """A line of a task file as the entry of a sensitive resource keeps it: it may hold the secret."""
    from hashlib import sha256

    return f"sha256:{sha256(line.encode('utf-8', 'surrogateescape')).hexdigest()}"


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

    def _count(self) -> None:
        self._asked += 1
        if self._asked == AHEAD_FROM:
            self._read_ahead()

    def _read_ahead(self) -> None:
        """Many are asked for: the rest is fetched in one scan, which costs a third of asking for each."""
        self._ahead = {}
        self._begun = set(intents(self._store, self.namespace))
        prefix = prefix_of(self.namespace, LEDGER)
        start, end = len(_CALL), len(_CALL) + CALL_SIZE
        for found in self._store.scan(prefix, limit=AHEAD_MOST):
            name, value = found.key[len(prefix) :], found.value
            self._ahead[name] = value
            self._revs[found.key] = found.rev
            if value.startswith(_CALL) and "%" not in name:
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
        return None if data is None else _decode_intent(data)

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
            stale = unused_contents(self._store, self.namespace)
            for change in stale:
                self._revs.pop(change.key, None)
            if stale:
                self._store.commit(stale)

    def _commit(self, items: list[tuple[str, bytes | None]]) -> None:
        fences = [check for fence in self._fences() for check in fence.checks]
        for _ in range(TRIES):
            changes: list[Change | Check] = []
            for key, data in items:
                rev = self._rev(key)
                if data is not None or rev != ABSENT:
                    changes.append(Change(key, data, rev))
            if not changes:
                return
            try:
                revs = self._store.commit([*changes, *fences])
            except Conflict as conflict:
                if conflict.keys & {check.key for check in fences}:
                    raise LockLost(
                        "the stack's lock is no longer held: what was just done is not in the ledger",
                        next=["see who has it: sloth-runner lock list --shared", "run again"],
                    ) from conflict
                self._revs.clear()  # another stack works on the same resources: what we did last is true
                continue
            for change, rev in zip(changes, revs, strict=False):
                self._revs[change.key] = rev
            return
        raise Conflict(
            f"the ledger of {self.namespace!r} was changed by others at each of {TRIES} tries",
            keys=[key for key, _ in items],
        )

    def _keep(self, digest: str, content: bytes) -> None:
        key = store_key(self.namespace, CONTENT, digest)
        if self._rev(key) == ABSENT:
            self._due[key] = content

    def _put(self, kind: str, name: str, data: bytes | None) -> None:
        if kind == LEDGER and self._ahead is not None:
            old = self._ahead.pop(name, None)
            if old is not None and old.startswith(_CALL):
                self._calls.pop(old[len(_CALL) : len(_CALL) + CALL_SIZE], None)
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


def unused_contents(store: Store, namespace: str, most: int = 500) -> list[Change]:
    """Deletions of kept contents that no entry and no intent refers to."""
    used: set[str | None] = set()
    for entry in entries(store, namespace):
        used |= {entry.content, entry.before_content}
    for found in store.scan(prefix_of(namespace, INTENT)):
        used.add(_decode_intent(found.value).before_content)
    stale = (e for e in store.scan(prefix_of(namespace, CONTENT)) if place(e.key).name not in used)
    return [Change(e.key, None, e.rev) for _, e in zip(range(most), stale, strict=False)]
