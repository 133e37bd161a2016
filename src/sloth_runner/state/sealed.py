"""Why: encryption is a store over a store, so that it is the same on every backend and nothing above knows of it.

Values are sealed (``sealing``) on their way in and opened on their way out; keys, order, leases and expectations are
the inner store's. Two records stay in clear and are hidden from above: the keyring, and in each namespace a mark that
says as of which change of the keyring it is written. Every commit checks that mark in its own transaction: after it
was moved on, nobody can write under an older key, however long they were asleep.

Sealing a record anew (``reseal``) moves its Rev and not its content. Whoever still expects the Rev from before is
understood: a record says since when it has been the same. So no lock is lost and no write fails because of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from sloth_runner.errors import Conflict, Corrupt, Foreign, KeyWrong
from sloth_runner.plain import Final
from sloth_runner.state import faults, keyring
from sloth_runner.state.commits import settle
from sloth_runner.state.keyring import OPEN, OPENING, SEALED, SEALING, KeySource, Ring
from sloth_runner.state.layout import KEYRING, SEAL, STORE, what
from sloth_runner.state.marks import Mark, in_plaintext, is_own, mark_in, mark_value, without_own
from sloth_runner.state.moved import STAYS, raise_if_moved
from sloth_runner.state.sealing import (
    FIXED,
    MARGIN,
    MARK,
    NONCE,
    InvalidTag,
    Xaes,
    cleartext,
    open_all,
    seal,
    seal_all,
)
from sloth_runner.state.store import (
    ABSENT,
    Bulk,
    Change,
    Check,
    Entry,
    Over,
    Reader,
    Rev,
    Store,
    as_entry,
    check_commit,
)

TRIES: Final = 100
PAGE: Final = 64
HEADER: Final = 1 << 10
"""Bytes that sealing adds to a record at most, whose key is one of ours."""


class Sealed(Over):
    """The store ``inner``, sealed under the key that ``source`` gives. ``random(n)``: n unpredictable bytes."""

    def __init__(self, inner: Store, source: KeySource, random: Callable[[int], bytes] = os.urandom) -> None:
        self.inner = inner
        self.source = source
        self._random = random
        self._ring: Ring | None = None
        self._ring_rev: Rev = 0
        self._store_id = b""
        self._ciphers: dict[bytes, Xaes] = {}
        self._marks: dict[str, Mark] = {}
        inside = inner.traits
        self.traits = inside._replace(
            max_changes=inside.max_changes - 2,
            max_value=inside.max_value - MARGIN,
            max_bytes=inside.max_bytes and max(1, inside.max_bytes - inside.max_changes * HEADER),
            exclusive=self._exclusive if inside.exclusive else None,
            snapshot=self._snapshot if inside.snapshot else None,
            bulk=self._bulk if inside.bulk else None,
            guard=None,
            scrub=None,
        )

    def ready(self) -> None:
        """Prove that this key opens this state, and that all of it is to be sealed.

        Raises KeyWrong, Foreign, Corrupt, and what the key's source raises. Nothing is written.
        """
        self._load()
        found = None
        if self._ring is None:
            found = next(without_own(self.inner, "", "", 1, False), None)
        if found is not None:
            self._load()  # another process may have made the keyring, and written, since then
        if self._ring is None:
            if found is not None:
                raise faults.no_ring(found)
        elif self._ring.mode == OPEN:
            raise Foreign(
                "[state.encryption] is configured, and this state is in plaintext: it was decrypted",
                unchanged=["nothing was read or written"],
                next=["seal it: sloth-runner state encrypt", "or take [state.encryption] out"],
            )

    def get(self, key: str) -> Entry | None:
        """See Store."""
        entry = self.inner.get(key)
        if entry is None or is_own(key):
            return None
        return Entry(key, self._opened(key, entry.value), entry.rev)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store."""
        return self.opening(without_own(self.inner, prefix, after, limit, reverse))

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        namespace, _ = check_commit(changes, self.traits)
        wanted = list(changes)
        for _ in range(TRIES):
            extra, plain = self._conditions(namespace) if namespace else ([], True)
            sent = wanted if plain else [self._sealed(change) for change in wanted]
            try:
                revs = self.inner.commit([*sent, *extra])
            except Conflict as conflict:
                wanted = self._after(conflict, wanted, {change.key for change in extra}, namespace)
                continue
            if extra and isinstance(extra[0], Change) and self._ring is not None:
                self._marks[namespace] = Mark(revs[len(wanted)], self._ring.epoch, self._ring.mode)
            return revs[: len(wanted)]
        raise Conflict("the keyring of this state was changed at each of many tries")

    def close(self) -> None:
        """See Store."""
        self.inner.close()

    def seal(self, key: str, text: bytes, since: Rev = 0) -> bytes:
        """A value as it is stored under ``key``."""
        ring = self._ring
        assert ring is not None
        cipher = self._ciphers[ring.current]
        return seal(cipher, ring.current, ring.store_id, self._random(NONCE), key, text, since)

    def seal_all(self, rows: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Store keys and values as they are stored."""
        ring = self._ring
        assert ring is not None
        nonces = self._random(NONCE * len(rows))
        return seal_all(self._ciphers[ring.current], ring.current, ring.store_id, nonces, rows)

    def opening(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Entries of the inner store, opened one by one as they are asked for. Raises as ``opened``."""
        lenient: bool | None = None
        for entry in entries:
            if lenient is None and entry.value[: len(MARK)] != MARK:
                # A snapshot that began while plaintext was there may go on showing it.
                self._load()
                lenient = self._ring is not None and self._ring.takes_plaintext
            yield Entry(entry.key, self._opened(entry.key, entry.value, lenient=bool(lenient)), entry.rev)

    def open_all(self, entries: list[Entry]) -> list[Entry] | None:
        """The same, of many at once; None unless all are under the current key and as they should be."""
        ring = self._ring
        if ring is None or not entries or ring.current not in self._ciphers:
            return None
        keys, values, revs = zip(*entries, strict=True)
        texts = open_all(self._ciphers[ring.current], ring.current, ring.store_id, keys, values)
        return None if texts is None else list(map(as_entry, zip(keys, texts, revs, strict=True)))

    def ring(self) -> Ring | None:
        """The keyring as of now; None when the state has none yet."""
        self._load()
        return self._ring

    @property
    def encryption(self) -> str:
        """How this state is sealed, in words."""
        ring, unfinished = self.ring(), self.unfinished
        if ring is None:
            return f"sealed from the first write on, by {self.source.name}"
        if ring.mode == OPEN:
            return "in plaintext: it was decrypted"
        found = f"sealed with XAES-256-GCM under the data key {ring.current.hex()}, unlocked by {self.source.name}"
        return found if unfinished is None else f"{found}; {unfinished} was begun and is to be finished"

    @property
    def unfinished(self) -> str | None:
        """The command that was begun on this state and has to be finished."""
        ring = self.ring()
        if ring is None:
            return None
        begun = {SEALING: "state encrypt", OPENING: "state decrypt"}.get(ring.mode)
        return "state rekey" if begun is None and len(ring.keys) > 1 else begun

    @property
    def whole(self) -> bool:
        """Whether no record is, or may be, in plaintext."""
        ring = self.ring()
        return ring is None or ring.mode == SEALED

    @property
    def known(self) -> Ring | None:
        """The keyring as it was last read."""
        return self._ring

    def opened(self, entry: Entry) -> bytes:
        """The plaintext of an entry of the inner store. Raises Corrupt, Foreign, KeyWrong."""
        return self._opened(entry.key, entry.value)

    @property
    def ring_rev(self) -> Rev:
        """The Rev of the keyring that ``ring`` gave."""
        return self._ring_rev

    def mark(self, namespace: str) -> Mark:
        """A namespace's mark as of now."""
        found = self._marks[namespace] = mark_in(self.inner, namespace)
        return found

    def _snapshot(self, namespace: str) -> AbstractContextManager[Reader]:
        from sloth_runner.state.sealed_bulk import snapshot

        return snapshot(self, namespace)

    def _bulk(self, namespace: str) -> AbstractContextManager[Bulk]:
        from sloth_runner.state.sealed_bulk import bulk

        return bulk(self, namespace)

    def _exclusive(self, namespaces: Sequence[str]) -> AbstractContextManager[None]:
        """The inner store's turn; with it the keyring's, for a namespace whose first commit will check that."""
        assert self.inner.traits.exclusive is not None
        fresh = any((self._marks.get(name) or self.mark(name)).rev == ABSENT for name in namespaces)
        names = sorted({*namespaces, STORE}) if fresh else namespaces
        return self.inner.traits.exclusive(names)

    def _conditions(self, namespace: str) -> tuple[list[Change | Check], bool]:
        """What a commit into this namespace must find unchanged, beside what it was asked to; and whether it writes
        in plaintext, because the namespace was told to."""
        ring = self._ring or self.begin()
        mark = self._marks.get(namespace) or self.mark(namespace)
        if mark.epoch > ring.epoch:
            self._load()
            ring = self._ring or ring
            mark = self.mark(namespace)
        if mark.rev != ABSENT:
            return [Check(namespace + SEAL, mark.rev)], in_plaintext(ring, mark)
        mine = Check(KEYRING, self._ring_rev)
        if ring.mode == OPEN:
            return [Check(namespace + SEAL, ABSENT), mine], True
        guard = self.inner.traits.guard
        if guard is not None and ring.mode != OPENING:
            guard(namespace, MARK)
        return [Change(namespace + SEAL, mark_value(ring), ABSENT), mine], ring.mode == OPENING

    def mark_first(self, namespace: str) -> None:
        """Mark a namespace by a commit of nothing else, so that whoever turns keys over sees it from now on."""
        self.ready()
        extra, _ = self._conditions(namespace)
        try:
            self.inner.commit(extra)
        except Conflict:
            self._load()  # somebody else marked it, or the keyring was changed
        self.mark(namespace)

    def begin(self) -> Ring:
        """The keyring as it is now, made if the state is empty."""
        self._load()
        if self._ring is None:
            self.ready()
            ring = keyring.make(self.source, self._random, None, 0)
            for _ in range(TRIES):
                try:
                    settle(self.inner, [Change(KEYRING, keyring.encode(ring, self._random), ABSENT), STAYS])
                except Conflict as conflict:
                    raise_if_moved(self.inner, conflict)  # else another was first, or a migration just ended
                self._load()
                if self._ring is not None:
                    break
        if self._ring is None:
            raise faults.lost()
        return self._ring

    def _load(self) -> None:
        """Learn the keyring as it is now. Data keys that are gone from it stay known: a scan may still need them."""
        entry = self.inner.get(KEYRING)
        if entry is None:
            if self._ring is not None:
                raise faults.lost()
            return
        if entry.rev == self._ring_rev:
            return
        ring = keyring.unlock(entry.value, self.source, self._ring)
        if self._ring is not None and ring.store_id != self._ring.store_id:
            raise Foreign(
                "the keyring of another state lies where this state's was",
                unchanged=["nothing was written"],
                next=["restore the keyring that belongs to this state"],
            )
        if self._ring is not None and ring.epoch < self._ring.epoch:
            raise Corrupt(
                "an earlier keyring was put back while this program used the state",
                unchanged=["nothing was written"],
                next=["restore the keyring that belongs to this state"],
            )
        for key_id, key in ring.keys.items():
            if key_id not in self._ciphers:
                self._ciphers[key_id] = Xaes(key.reveal())
        self._ring, self._ring_rev, self._store_id = ring, entry.rev, ring.store_id
        self._marks.clear()

    def _sealed(self, change: Change | Check) -> Change | Check:
        if isinstance(change, Check) or change.value is None:
            return change
        return change._replace(value=self.seal(change.key, change.value))

    def _opened(self, key: str, value: bytes, *, lenient: bool = False) -> bytes:
        """The plaintext of a record; the quick way for one that is as it should be."""
        name = key.encode()
        end = FIXED + len(name)
        cipher = self._ciphers.get(value[4:12])
        header = value[:end]
        if (
            cipher is not None
            and header[:4] == MARK
            and header[12:28] == self._store_id
            and header[60:] == len(name).to_bytes(2, "big") + name
        ):
            try:
                return cipher.open(header[36:60], value[end:], header)
            except (InvalidTag, ValueError) as error:
                raise faults.altered(key) from error
        return self._odd(key, value, lenient=lenient)

    def _odd(self, key: str, value: bytes, *, lenient: bool) -> bytes:
        """A record that is not as it should be, or newer than the keyring we know: open it, or say what is wrong."""
        try:
            clear = cleartext(value)
        except Corrupt as error:
            raise faults.altered(key) from error
        if clear is None and lenient:
            return value
        self._load()
        ring = self._ring
        if clear is None:
            if ring is not None and ring.takes_plaintext:
                return value
            raise faults.plaintext(key) if ring else faults.no_ring(Entry(key, value, 0))
        if ring is None:
            raise faults.lost()
        cipher = self._ciphers.get(clear.key_id)
        if clear.store_id != ring.store_id:
            raise faults.elsewhere(key, clear)
        if cipher is None:
            raise KeyWrong(
                f"{what(key)} is sealed with the data key {clear.key_id.hex()}, which the keyring does not hold",
                unchanged=["nothing was changed"],
                next=["is the keyring an older one? Restore the one that belongs to this state"],
            )
        try:
            text = cipher.open(clear.nonce, value[clear.end :], value[: clear.end])
        except (InvalidTag, ValueError) as error:
            raise faults.altered(key) from error
        if clear.key != key:
            raise faults.moved(key, clear)
        return text

    def _after(
        self, conflict: Conflict, wanted: list[Change | Check], own: set[str], namespace: str
    ) -> list[Change | Check]:
        """What to try next: the same under the keyring as it is now, or with the Revs of records that were only
        sealed anew. Raises the conflict when it is one."""
        if not conflict.keys or conflict.keys & own:
            self._load()
            if namespace:
                self.mark(namespace)
        failed = conflict.keys - own
        if conflict.keys and not failed:
            return wanted
        out = [self._renewed(change) if not failed or change.key in failed else change for change in wanted]
        moved = {new.key for new, old in zip(out, wanted, strict=True) if new is not old}
        if failed - moved or (not failed and not moved):
            raise Conflict(conflict.message, keys=failed) from conflict
        return out

    def _renewed(self, change: Change | Check) -> Change | Check:
        """The change with the Rev that its record has now, if it is the one that was expected, sealed anew."""
        if change.expect <= ABSENT:
            return change
        entry = self.inner.get(change.key)
        if entry is None or entry.rev <= change.expect:
            return change
        clear = cleartext(entry.value)
        if clear is None or not 0 < clear.since <= change.expect:
            return change
        self._opened(change.key, entry.value)
        return change._replace(expect=entry.rev)
