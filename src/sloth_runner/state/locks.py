"""Why: two runs must never do the same thing at once; a lease with a fencing token excludes, on any store.

A lock is two records. The fence (``f``) holds the token: never deleted, it grows with every acquisition, and
only acquire, release and break write it. The lease (``l``) says who holds it and vanishes by the store's own
clock; renewal writes it and leaves the fence alone, so that it never fails a fenced write. A write under the
lock checks both in its own commit: the fence is the one we took, and our lease has not ended.
(The idea of putting the ownership comparison into the data's own transaction: etcd's concurrency package.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from sloth_runner.errors import BadValue, Conflict, Corrupt, Indeterminate, LockLost, Lost, StoreDown
from sloth_runner.model import By
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.batch import Fence
from sloth_runner.state.commits import Unknowable, settle
from sloth_runner.state.layout import FENCE, LEASE, check_name, place, prefix_of, store_key
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.store import ABSENT, PRESENT, Change, Check

if TYPE_CHECKING:
    from sloth_runner.state.store import Entry, Store


class Owner(NamedTuple):
    """Who holds or wants a lock. Two owners are the same only if ``identity`` is.

    ``identity`` joins holder, run, process (random at start), task instance and parallel branch; ``boot`` and
    ``started`` (the process's start time in clock ticks) let another process on this host tell a dead one.
    """

    holder: str
    identity: str
    by: By
    boot: str = ""
    started: int = 0


class Info(NamedTuple):
    """What the lease record of a lock says; times are seconds since the epoch, by the holder's clock."""

    namespace: str
    name: str
    token: int
    owner: Owner
    ttl: float
    acquired: float
    expires: float


class Before(NamedTuple):
    """What was done to a lock before it was taken, and when, by the clock of whoever did it; ``words`` of a break."""

    op: str = ""
    at: float = 0.0
    words: str = ""


class Held(NamedTuple):
    """A lock that was taken here: its token, and the store revision of its fence as we wrote it.

    What was done ``before`` stays in the fence until the next one takes the lock: whoever let it go may still be
    finding out whether that was done.
    """

    namespace: str
    name: str
    token: int
    owner: Owner
    ttl: float
    acquired: float
    fence_rev: int
    before: Before = Before()

    @property
    def fence(self) -> Fence:
        """What a write under this lock checks."""
        fence = Check(store_key(self.namespace, FENCE, self.name), self.fence_rev)
        lease = Check(store_key(self.namespace, LEASE, self.name), PRESENT)
        return Fence(self.name, self.token, (fence, lease))


class Broken(NamedTuple):
    """That a lock was taken away: its token by then, by whom, when (by their clock), why, and who held it."""

    token: int
    by: By
    at: float
    reason: str
    holder: str

    @property
    def words(self) -> str:
        """``broken by ann@host at 2026-…: why``."""
        why = self.reason or "no reason was given"
        return f"broken by {self.by.user}@{self.by.host} at {iso(self.at)}: {why}"


def check_lock_name(name: object) -> str:
    """Return ``name`` if it may name a lock (the rules of keys). Raises BadName."""
    return check_name(name, "a lock's name")


def info(store: Store, namespace: str, name: str) -> Info | None:
    """Who holds the lock now; None when nobody does (or the lease has ended)."""
    entry = store.get(store_key(namespace, LEASE, name))
    return None if entry is None else _decode(namespace, name, entry.value)


def held(store: Store, namespace: str) -> Iterator[Info]:
    """All locks of a namespace that are held now."""
    for entry in store.scan(prefix_of(namespace, LEASE)):
        where = place(entry.key)
        yield _decode(where.namespace, where.name, entry.value)


def broken(store: Store, namespace: str, name: str) -> Broken | None:
    """How the lock was taken away; None if that is not the last that was done to it."""
    fence = store.get(store_key(namespace, FENCE, name))
    return None if fence is None else _note(fence)


class Loss(NamedTuple):
    """Why a lock is held no more; ``broken``: whether it was taken away, None if that is not known any more."""

    words: str
    broken: bool | None

    def advice(self, *, renewed: bool) -> str:
        """What to do about it, for whoever held the lock."""
        if self.broken:
            return "run again, when whoever broke it agrees: others may work under it"
        if self.broken is None:
            return "see who has it now: sloth-runner lock list"
        if renewed:
            return "run again: this process was stopped, or the store out of reach, for longer than the lease lasts"
        return "use state.with_lock, which renews the lease, or a longer ttl"


def why_lost(store: Store, namespace: str, name: str, token: int | None = None) -> Loss:
    """Why a lock that was held (with this token, if that is known) is held no more: it was broken, by whom, when and
    why, or its lease ended. The next two who have it keep what tells; after that nobody knows."""
    either = "its lease ended, or it was broken"
    try:
        fence = store.get(store_key(namespace, FENCE, name))
    except Lost:
        return Loss(either, None)
    if fence is None:
        return Loss("its lease ended", False)
    note, before = _note(fence), _before(fence)
    later = _token(fence.value) - token if token is not None else 1
    if later == 1 and note is not None:
        return Loss(f"it was {note.words}", True)
    if later == 2 and before.op == "break":
        return Loss(f"it was {before.words or 'broken'}", True)
    if later > 2 or token is None:
        return Loss(f"{either}; others may have had it since", None)
    return Loss("its lease ended", False)


def acquire(store: Store, namespace: str, name: str, owner: Owner, ttl: float, now: float) -> Held | Info:
    """Take the lock for ``ttl`` seconds: Held, or Info about whoever has it. One try, no waiting for its holder.

    The ttl of what is held is longer than was asked for where the store has no leases as short.
    """
    if not ttl > 0:
        raise BadValue(f"the ttl of lock {name!r} must be more than 0 seconds, not {ttl!r}")
    ttl = max(ttl, store.traits.shortest_lease)
    fence_key, lease_key = store_key(namespace, FENCE, name), store_key(namespace, LEASE, name)
    tries: Tries | None = None
    while True:
        fence = store.get(fence_key)
        other = info(store, namespace, name)
        if other is not None:
            return other
        token = _token(fence.value) + 1 if fence else 1
        before = _last(fence)
        note = _fence(token, "acquire", owner.by, now, before, owner=owner.identity)
        lease = _encode(Info(namespace, name, token, owner, ttl, now, now + ttl))
        changes = [
            Change(fence_key, note, fence.rev if fence else ABSENT),
            Change(lease_key, lease, ABSENT, ttl),
        ]
        try:
            rev = _settled(store, changes)
        except Conflict as conflict:
            tries = tries or Tries(store.traits.patience, CONTENTION)
            if tries.again(conflict):
                continue
            raise Conflict(
                f"the lock {name!r} was taken by others each time it was tried", keys=[lease_key]
            ) from conflict
        if rev is not None:
            return Held(namespace, name, token, owner, ttl, now, rev, before)
        # It was ours, and is not any more: the reply was lost for longer than the lease lasts.


def renew(store: Store, lock: Held, now: float, ttl: float | None = None) -> Held:
    """Begin the lease anew. Raises LockLost when it has ended or the lock was broken."""
    length = max(lock.ttl if ttl is None else ttl, store.traits.shortest_lease)
    lease = Info(lock.namespace, lock.name, lock.token, lock.owner, length, lock.acquired, now + length)
    fence, present = lock.fence.checks
    try:
        # Whoever holds it may do this any number of times: a Conflict says that nobody of us holds it.
        settle(store, [fence, Change(present.key, _encode(lease), PRESENT, length)], lambda: False)
    except Conflict as conflict:
        raise _lost(store, lock) from conflict
    return lock._replace(ttl=length)


def release(store: Store, lock: Held, now: float) -> bool:
    """Let go; False when the lease had ended or the lock was broken (then nothing is written)."""
    fence, present = lock.fence.checks
    note = _fence(lock.token, "release", lock.owner.by, now, lock.before, owner=lock.owner.identity)
    try:
        settle(
            store,
            [Change(fence.key, note, fence.expect), Change(present.key, None, PRESENT)],
            lambda: _was_released(store, lock, now),
        )
    except Conflict:
        return False
    return True


def _was_released(store: Store, lock: Held, now: float) -> bool:
    """Whether the lock was let go by its holder at ``now``, and not lost: its next holder has noted which."""
    fence = store.get(store_key(lock.namespace, FENCE, lock.name))
    if fence is None:
        return False
    found = _token(fence.value)
    if found == lock.token:
        return _last(fence) == Before("release", now)
    if found == lock.token + 1:
        return _before(fence) == Before("release", now)
    raise Unknowable(
        f"whether the lock {lock.name!r} was still ours when it was let go can't be found out: others had it since"
    )


def adopt(store: Store, lock: Info) -> Held | None:
    """A lock found in the store as one held here (its earlier holder, a task of the same run, has ended)."""
    fence = store.get(store_key(lock.namespace, FENCE, lock.name))
    if fence is None or _token(fence.value) != lock.token:
        return None
    return Held(
        lock.namespace, lock.name, lock.token, lock.owner, lock.ttl, lock.acquired, fence.rev, _before(fence)
    )


def break_lock(store: Store, lock: Info, by: By, reason: str, now: float) -> bool:
    """Take the lock away from ``lock``'s holder, recorded in the fence; False if it is no longer theirs."""
    fence_key, lease_key = (store_key(lock.namespace, kind, lock.name) for kind in (FENCE, LEASE))
    fence = store.get(fence_key)
    if fence is None or _token(fence.value) != lock.token:
        return False
    note = _fence(lock.token + 1, "break", by, now, _last(fence), reason=reason, holder=lock.owner.holder)
    changes = [Change(fence_key, note, fence.rev), Change(lease_key, None, PRESENT)]
    try:
        settle(store, changes, lambda: _was_broken(store, lock, note))
    except Conflict:
        return False
    return True


def lengthened(lock: Held, asked: float) -> str | None:
    """What to tell whoever asked for ``asked`` seconds and holds the lock for more; None when that is not so."""
    if lock.ttl <= asked:
        return None
    return (
        f"the lease of the lock {lock.name!r} lasts {lock.ttl:g} s, the least that this store gives; "
        f"{asked:g} s were asked for"
    )


def _was_broken(store: Store, lock: Info, note: bytes) -> bool:
    """Whether it was us who took the lock away."""
    fence = store.get(store_key(lock.namespace, FENCE, lock.name))
    if fence is not None and _token(fence.value) > lock.token + 1:
        raise Unknowable(
            f"whether the lock {lock.name!r} was taken away by us can't be found out: others had it since",
            next=["see who has it now: sloth-runner lock list"],
        )
    return fence is not None and fence.value == note


def is_stale(lock: Info, host: str, boot: str, started: int | None) -> bool:
    """Whether the holder is known to be dead: same host, and another boot, or no such process.

    ``started`` is the start time of the process that has the holder's pid now, None if there is none. Stale
    locks are reported and never taken early: what the dead process started may still run.
    """
    if lock.owner.by.host != host or not boot:
        return False
    return lock.owner.boot != boot or started != lock.owner.started


def fence_token(data: bytes) -> int:
    """The token that a fence's record holds. Raises Corrupt."""
    return _token(data)


def _settled(store: Store, changes: list[Change]) -> int | None:
    """The Rev of the fence that was put with a lease; None if both were put and the lease has ended again."""
    (fence, lease) = changes
    revs = settle(store, changes, lambda: _is(store, fence.key, fence.value))
    if revs is not None:
        return revs[0]
    try:
        entry = store.get(fence.key)
        ours = entry is not None and entry.value == fence.value and _is(store, lease.key, lease.value)
    except StoreDown as down:
        raise Indeterminate(
            f"whether the lock {place(fence.key).name!r} was taken is not known: the store stopped answering",
            system=down.message,
            next=[
                "see who has it: sloth-runner lock list",
                "if it was taken, it ends by itself with its lease",
            ],
        ) from down
    return entry.rev if ours and entry is not None else None


def _is(store: Store, key: str, value: bytes | None) -> bool:
    entry = store.get(key)
    return entry is not None and entry.value == value


def _last(fence: Entry | None) -> Before:
    """What was done last to a lock."""
    if fence is None:
        return Before()
    row, note = json.loads(fence.value), _note(fence)
    return Before(row.get("op", ""), row.get("at", 0.0), "" if note is None else note.words)


def _note(fence: Entry) -> Broken | None:
    """How a lock was taken away, if that was done last to it."""
    row = json.loads(fence.value)
    if row.get("op") != "break":
        return None
    by = By(row["user"], row["host"], row["pid"], None, None)
    return Broken(row["token"], by, row["at"], row["reason"], row["holder"])


def _before(fence: Entry) -> Before:
    """What was done to a lock before it was taken or broken."""
    row = json.loads(fence.value)
    return Before(row.get("before", ""), row.get("before_at", 0.0), row.get("before_words", ""))


def _lost(store: Store, lock: Held) -> LockLost:
    why = why_lost(store, lock.namespace, lock.name, lock.token)
    return LockLost(
        f"{lock.owner.holder!r} no longer holds the lock {lock.name!r} (for {lock.ttl:g} s at a time): {why.words}",
        next=["see who has it now: sloth-runner lock list"],
    )


def _token(data: bytes) -> int:
    try:
        return int(json.loads(data)["token"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"a lock's fence can't be read: {error!r}") from error


def _fence(token: int, op: str, by: By, now: float, before: Before, **more: str) -> bytes:
    row = {"token": token, "op": op, "at": now, "user": by.user, "host": by.host, "pid": by.pid, **more}
    row |= {"before": before.op, "before_at": before.at, "before_words": before.words}
    return json.dumps(row).encode()


def _encode(lease: Info) -> bytes:
    owner = lease.owner
    row = {
        "token": lease.token,
        "holder": owner.holder,
        "identity": owner.identity,
        "by": owner.by,
        "boot": owner.boot,
        "started": owner.started,
        "ttl": lease.ttl,
        "acquired": lease.acquired,
        "expires": lease.expires,
    }
    return json.dumps(row).encode()


def _decode(namespace: str, name: str, data: bytes) -> Info:
    try:
        row = json.loads(data)
        owner = Owner(row["holder"], row["identity"], By(*row["by"]), row["boot"], row["started"])
        return Info(namespace, name, row["token"], owner, row["ttl"], row["acquired"], row["expires"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"the lease of lock {name!r} can't be read: {error!r}") from error
