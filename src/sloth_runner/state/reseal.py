"""Why: turning encryption on or off, or its keys over, must work while the state is in use and survive any kill.

Each of the three first changes the keyring, then tells every namespace (its mark moves on, so that nobody can write
the old way any more), then rewrites what is left of the old way, record by record, each expecting what was read. So
what is left only gets less; a second call finds out by looking what remains, and goes on. Leases are not rewritten:
that would change how long they last. Their holders renew them the new way, or they end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from sloth_runner.errors import Conflict, Corrupt, KeyWrong, LockHeld, UsageError
from sloth_runner.plain import Final, NamedTuple
from sloth_runner.state import keyring
from sloth_runner.state.commits import settle
from sloth_runner.state.keyring import OPEN, OPENING, SEALED, SEALING, KeySource, Ring
from sloth_runner.state.layout import (
    FENCE,
    KEYRING,
    LEASE,
    SEAL,
    SEP,
    STORE,
    place,
    prefix_of,
    store_key,
    what,
)
from sloth_runner.state.marks import mark_value, spaces
from sloth_runner.state.moved import STAYS, raise_if_moved
from sloth_runner.state.sealed import PAGE, Sealed
from sloth_runner.state.sealing import MARK, cleartext
from sloth_runner.state.store import ABSENT, Change, Check, Entry, Store

TRIES: Final = 100
BATCH: Final = 256
BYTES: Final = 4 << 20
"""Records, and bytes of values, that are rewritten in one commit."""


class Status(NamedTuple):
    """How a state is sealed. ``counts``: data key id in hex -> records under it, locks' leases among them; ``plain``:
    records in plaintext. ``waiting``: names of locks whose leases are not yet under ``current``."""

    mode: str
    store_id: str
    source: str
    current: str
    counts: dict[str, int]
    plain: int
    waiting: tuple[str, ...]

    @property
    def left(self) -> int:
        """Records that are not yet as the mode wants them."""
        if self.mode in (OPENING, OPEN):
            return sum(self.counts.values())
        return self.plain + sum(self.counts.values()) - self.counts.get(self.current, 0)

    @property
    def busy(self) -> bool:
        """Whether a migration is under way that has not been finished."""
        return self.mode in (SEALING, OPENING) or (self.mode == SEALED and len(self.counts) > 1)


class Done(NamedTuple):
    """What a call came to: records rewritten, and the locks whose leases it has to wait for."""

    changed: int
    waiting: tuple[str, ...]


Progress = Callable[[int], None]
"""Told the number of records rewritten so far."""


def status(store: Store) -> Status:
    """Count the records of an inner store by data key. Needs no key; reads everything."""
    entry = store.get(KEYRING)
    row = keyring.read(entry.value) if entry else None
    current = row["current"] if row else ""
    mode = row["mode"] if row else OPEN
    counts: Counter[str] = Counter(dict.fromkeys(row["keys"], 0) if row else {})
    plain = 0
    waiting: list[str] = []
    for namespace in spaces(store):
        for one in _entries(store, namespace):
            clear = cleartext(one.value)
            if clear is None:
                plain += 1
            else:
                counts[clear.key_id.hex()] += 1
            done = (
                clear is None
                if mode in (OPENING, OPEN)
                else clear is not None and clear.key_id.hex() == current
            )
            where = place(one.key)
            if where.kind == LEASE and not done:
                waiting.append(where.name)
    store_id, source = (row["store"], str(row["source"]["kind"])) if row else ("", "")
    return Status(mode, store_id, source, current, dict(counts), plain, tuple(waiting))


def encrypt(store: Sealed, random: Callable[[int], bytes], progress: Progress) -> Done:
    """Seal everything. Programs that have the key go on working; those without are refused from the first step.

    Raises LockHeld while locks are held in plaintext: their holders could not renew them.
    """
    entry = store.inner.get(KEYRING)
    row = keyring.read(entry.value) if entry else None
    if entry is None or row is None or row["mode"] == OPEN:
        _refuse_held(store.inner)
        store_id, epoch = (bytes.fromhex(row["store"]), row["epoch"]) if row else (None, 0)
        begun = keyring.make(store.source, random, store_id, epoch)._replace(mode=SEALING)
        _put(store, begun, entry.rev if entry else ABSENT, random)
    else:
        ring = _ring(store)
        if ring.mode == SEALED and not _plain(store.inner):
            return Done(0, ())
        if ring.mode != SEALING:
            _turn(store, ring._replace(mode=SEALING, epoch=ring.epoch + 1), random)
    done = _rewrite(store, _sealing, progress)
    if not done.waiting:
        _scrub(store.inner)
        ring = _ring(store)
        _turn(store, ring._replace(mode=SEALED, epoch=ring.epoch + 1), random)
        _tell(store)
    return done


def decrypt(store: Sealed, random: Callable[[int], bytes], progress: Progress) -> Done:
    """Put everything back into plaintext. Programs that have the key go on working, to the end and beyond it."""
    ring = _ring(store)
    if ring.mode not in (OPENING, OPEN):
        _turn(store, ring._replace(mode=OPENING, epoch=ring.epoch + 1), random)
    done = Done(0, ()) if ring.mode == OPEN else _rewrite(store, _opening, progress)
    if not done.waiting:
        ring = _ring(store)
        if ring.mode != OPEN:
            _turn(store, ring._replace(mode=OPEN, epoch=ring.epoch + 1, keys={}, current=b""), random)
        for namespace in spaces(store.inner):
            mark = store.mark(namespace)
            if mark.rev != ABSENT:
                settle(store.inner, [Change(namespace + SEAL, None, mark.rev)])
    return done


def rekey(store: Sealed, random: Callable[[int], bytes], progress: Progress) -> Done:
    """Seal everything under a new data key; or finish what an earlier call began."""
    ring = _ring(store)
    if ring.mode != SEALED:
        raise UsageError(
            "this state is not sealed throughout: a migration was begun and not finished",
            unchanged=["nothing was changed"],
            next=["finish it: sloth-runner state encrypt (or state decrypt), then state rekey"],
        )
    if len(ring.keys) == 1:
        _turn(store, keyring.with_new_key(ring, random), random)
    done = _rewrite(store, _sealing, progress)
    if not done.waiting:
        _scrub(store.inner)
        ring = _ring(store)
        kept = {ring.current: ring.keys[ring.current]}
        _turn(store, ring._replace(keys=kept), random)
        _scrub_ring(store.inner)
    return done


def rewrap(store: Sealed, source: KeySource, random: Callable[[int], bytes]) -> None:
    """Wrap the data keys by another source's key. Nothing else changes; running programs go on."""
    for _ in range(TRIES):
        ring = _ring(store)
        if ring.mode == OPEN:
            raise UsageError("this state is in plaintext: there is no key to wrap")
        if _put_if(store, keyring.rewrapped(ring, source), store.ring_rev, random):
            _scrub_ring(store.inner)
            return
    raise _restless()


def _ring(store: Sealed) -> Ring:
    ring = store.ring()
    if ring is None:
        raise KeyWrong(
            "this state is not sealed: it has no keyring",
            unchanged=["nothing was changed"],
            next=["seal it: sloth-runner state encrypt"],
        )
    return ring


def _turn(store: Sealed, ring: Ring, random: Callable[[int], bytes]) -> None:
    """Put a changed keyring in the place of the one it was made from."""
    _put(store, ring, store.ring_rev, random)


def _put(store: Sealed, ring: Ring, expect: int, random: Callable[[int], bytes]) -> None:
    """Put a keyring. Raises Conflict if another call was faster."""
    if not _put_if(store, ring, expect, random):
        raise Conflict(
            "another call changed the keyring of this state at the same time",
            next=["run the same command again: it goes on where that one is"],
        )
    store.ring()


def _put_if(store: Sealed, ring: Ring, expect: int, random: Callable[[int], bytes]) -> bool:
    try:
        settle(store.inner, [Change(KEYRING, keyring.encode(ring, random), expect), STAYS])
    except Conflict as conflict:
        raise_if_moved(store.inner, conflict)
        return False
    return True


def _rewrite(store: Sealed, convert: Convert, progress: Progress) -> Done:
    """Tell every namespace, and rewrite until a look at everything finds nothing left but leases that run."""
    changed = 0
    for _ in range(TRIES):
        _tell(store)
        waiting: list[str] = []
        found = 0
        for namespace in spaces(store.inner):
            for part in _pass(store, namespace, convert):
                found += part.found
                changed += part.changed
                waiting += part.waiting
                progress(changed)
        if found == 0:
            return Done(changed, tuple(dict.fromkeys(waiting)))
    raise _restless()


def _tell(store: Sealed) -> None:
    """Move the marks of all namespaces on to the keyring as it is: from here on nobody writes the old way."""
    for namespace in spaces(store.inner):
        for _ in range(TRIES):
            ring, mark = _ring(store), store.mark(namespace)
            if mark.rev != ABSENT and (mark.epoch, mark.mode) == (ring.epoch, ring.mode):
                break
            guard = store.inner.traits.guard
            if guard is not None:
                guard(namespace, b"" if ring.mode == OPENING else MARK)
            try:
                settle(
                    store.inner,
                    [Change(namespace + SEAL, mark_value(ring), mark.rev), Check(KEYRING, store.ring_rev)],
                )
            except Conflict:
                continue
        else:
            raise _restless()


class _Part(NamedTuple):
    """Some records of a pass: how many were to be rewritten, how many were, and which locks must be waited for."""

    found: int
    changed: int
    waiting: list[str]


def _pass(store: Sealed, namespace: str, convert: Convert) -> Iterator[_Part]:
    """Rewrite what a namespace holds, some records at a time."""
    traits = store.inner.traits
    most, room = min(BATCH, traits.max_changes - 1), min(BYTES, traits.max_bytes or BYTES)
    batch: list[Change | Check] = []
    waiting: list[str] = []
    size = 0
    for entry in _entries(store.inner, namespace):
        found = convert(store, entry)
        if not found:
            continue
        if place(entry.key).kind == LEASE:
            waiting.append(place(entry.key).name)
            continue
        own = sum(len(c.value or b"") + len(c.key) for c in found if isinstance(c, Change))
        if batch and (len(batch) + len(found) > most or size + own > room):
            yield _commit(store.inner, batch, waiting)
            batch, waiting, size = [], [], 0
        batch += found
        size += own
    yield _commit(store.inner, batch, waiting)


def _commit(store: Store, batch: list[Change | Check], waiting: list[str]) -> _Part:
    """Commit together, or one by one what others let us."""
    total = sum(isinstance(change, Change) for change in batch)
    try:
        if batch:
            settle(store, batch)
        return _Part(total, total, waiting)
    except Conflict:
        pass  # others wrote meanwhile: those records are looked at again in the next round
    done, locked = 0, 0
    for index, change in enumerate(batch):
        if isinstance(change, Check):
            continue
        checks = [one for one in batch[index + 1 : index + 2] if isinstance(one, Check)]
        try:
            settle(store, [change, *checks])
            done += 1
        except Conflict:
            if checks and store.get(checks[0].key) is not None:
                waiting.append(place(checks[0].key).name)
                locked += 1
    return _Part(total - locked, done, waiting)


Convert = Callable[[Sealed, Entry], "list[Change | Check]"]
"""What makes a record as it should be; nothing if it is."""


def _sealing(store: Sealed, entry: Entry) -> list[Change | Check]:
    ring = _ring_known(store)
    clear = cleartext(entry.value)
    if clear is None and ring.mode == SEALED:
        raise Corrupt(
            f"{what(entry.key)} is in plaintext, and this state is sealed",
            changed=["what was sealed anew so far stays so"],
            next=["if it is yours, take it in first: sloth-runner state encrypt"],
        )
    if clear is not None and clear.key_id == ring.current:
        return []
    text = entry.value if clear is None else store.opened(entry)
    since = entry.rev if clear is None or not clear.since else clear.since
    return [Change(entry.key, store.seal(entry.key, text, since), entry.rev)]


def _opening(store: Sealed, entry: Entry) -> list[Change | Check]:
    """A record in plaintext can't say since when it is the same: a fence waits until its lock is free."""
    if cleartext(entry.value) is None:
        return []
    change = Change(entry.key, store.opened(entry), entry.rev)
    where = place(entry.key)
    if where.kind != FENCE:
        return [change]
    return [change, Check(store_key(where.namespace, LEASE, where.name), ABSENT)]


def _ring_known(store: Sealed) -> Ring:
    ring = store.known
    assert ring is not None
    return ring


def _entries(store: Store, namespace: str) -> Iterator[Entry]:
    """All records of a namespace but its mark, a page at a time: never all of them in memory."""
    after = prefix = namespace + SEP
    while True:
        page = list(store.scan(prefix, after=after, limit=PAGE))
        for entry in page:
            if not entry.key.endswith(SEAL):
                yield entry
        if len(page) < PAGE:
            return
        after = page[-1].key


def _plain(store: Store) -> bool:
    return any(cleartext(e.value) is None for namespace in spaces(store) for e in _entries(store, namespace))


def _refuse_held(store: Store) -> None:
    held = [place(e.key).name for n in spaces(store) for e in store.scan(prefix_of(n, LEASE))]
    if held:
        raise LockHeld(
            f"locks are held by programs that have no key: {', '.join(held[:10])}{' …' if len(held) > 10 else ''}",
            unchanged=["nothing was changed"],
            next=["wait until what holds them has ended: sloth-runner lock list --all-agents"],
        )


def _scrub(store: Store) -> None:
    if store.traits.scrub is not None:
        for namespace in spaces(store):
            store.traits.scrub(namespace)


def _scrub_ring(store: Store) -> None:
    """Leave no trace of the keyring as it was: what has been wrapped by a key that is known to others."""
    if store.traits.scrub is not None:
        store.traits.scrub(STORE)


def _restless() -> Conflict:
    return Conflict(
        "the state was changed by others at every try",
        next=["run the same command again: it goes on where it was"],
    )
