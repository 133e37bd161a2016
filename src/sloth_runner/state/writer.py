"""Why: every change of a key, whoever asks, goes through one place that numbers it, signs it and commits it.

``Writer.apply`` takes many mutations, gives each the state left by those before it, and writes them in as few
commits as possible. A bad one fails alone. This is the group commit of the scheduler, and also where a lost
reply is resolved: the same write id is retried with the same expectation, never redone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext

from sloth_runner.errors import Conflict, LockLost, SlothError, TooLarge
from sloth_runner.state import edits
from sloth_runner.state.batch import Batch, Mutation, Retention, Unremembered
from sloth_runner.state.commits import Unknowable, settle
from sloth_runner.state.heads import Heads
from sloth_runner.state.layout import HEAD, HISTORY, namespace_of, place, store_key
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.record import decode_record
from sloth_runner.state.store import ABSENT, Change, Check, Store


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
            return [error if index == 0 else error.again() for index in range(len(group))]

    def _together(self, namespace: str, group: list[Mutation]) -> list[object]:
        traits = self.store.traits
        with nullcontext() if traits.exclusive is None else traits.exclusive(_names(namespace, group)):
            try:
                return self._attempt(group, guess=True)
            except (_Again, Unremembered):
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
            raise Unremembered
        if changes:
            try:
                revs = settle(self.store, changes, lambda: written(self.store, changes))
            except Conflict as conflict:
                raise _Again(
                    None if guess else _lost_lock(self.store, group, conflict), conflict.keys
                ) from conflict
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


def _names(namespace: str, group: Sequence[Mutation]) -> list[str]:
    """The namespaces that a commit of these concerns, those of their locks included."""
    names = {namespace}
    for mutation in group:
        for fence in mutation.fences:
            names.update([namespace_of(check.key) for check in fence.checks])
    return sorted(names)


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


def _lost_lock(store: Store, group: Iterable[Mutation], conflict: Conflict) -> LockLost | None:
    for mutation in group:
        for fence in mutation.fences:
            if any(check.key in conflict.keys for check in fence.checks):
                from sloth_runner.state.locks import why_lost

                why = why_lost(store, place(fence.checks[0].key).namespace, fence.name, fence.token)
                lost = LockLost(
                    f"the lock {fence.name!r} is no longer held ({why.words}): {mutation.key!r} was not written",
                    unchanged=[mutation.key],
                    next=[why.advice(renewed=fence.renewed)],
                )
                lost.final = fence.renewed
                return lost
    return None
