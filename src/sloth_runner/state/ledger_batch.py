"""Why: what a ledger has to tell the store goes in as few commits as possible, in an order that survives a kill.

Handlers that are due come before the entry that calls for them, and the entry before the intent goes: where they
don't fit into one commit, what is cut off leaves something to be done twice, never something that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sloth_runner.errors import Conflict, TooLarge
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import CONTENT, LEDGER, place
from sloth_runner.state.ledger_queries import sweep
from sloth_runner.state.ledger_records import of_both
from sloth_runner.state.lost_fences import tell_lost
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.store import ABSENT, Change, Check, parts

if TYPE_CHECKING:
    from sloth_runner.state.store import Store


class Batch(NamedTuple):
    """What is to be written together: store keys with new data (None: deleted), the Revs that are known, and whether
    contents that nothing refers to go afterwards."""

    items: dict[str, bytes | None]
    revs: dict[str, int]
    fences: tuple[Check, ...]
    letting_go: bool


def write(store: Store, namespace: str, batch: Batch) -> dict[str, int | None]:
    """Commit a batch, in as few commits as the store takes, in its order; what became of the Revs. Raises LockLost
    when the stack's lock was lost."""
    revs: dict[str, int | None] = {}
    waiting = list(parts(batch.items.items(), store.traits, beside=8))
    known = dict(batch.revs)
    while waiting:
        part = waiting.pop(0)
        try:
            revs.update(_commit(store, namespace, part, known, batch.fences))
        except TooLarge:
            if len(part) == 1 and place(part[0][0]).kind == CONTENT:
                continue  # what this store can't hold is not kept
            if len(part) == 1:
                raise
            half = len(part) // 2
            waiting[:0] = [part[:half], part[half:]]
    if batch.letting_go:
        revs.update(dict.fromkeys(sweep(store, namespace)))
    return revs


def _commit(
    store: Store,
    namespace: str,
    items: Sequence[tuple[str, bytes | None]],
    known: dict[str, int],
    fences: Sequence[Check],
) -> dict[str, int | None]:
    tries: Tries | None = None
    while True:
        changes = list(_changes(store, items, known, asking=tries is not None))
        if not changes:
            return {}
        try:
            revs = settle(store, [*changes, *fences])
        except Conflict as conflict:
            tell_lost(store, conflict, fences, "what was done last may not be in the ledger")
            known.clear()  # another stack works on the same resources: what we did last is true of them
            tries = tries or Tries(store.traits.patience, CONTENTION)
            if tries.again(conflict):
                continue
            raise Conflict(
                f"the ledger of {namespace!r} was changed by others each time it was tried",
                keys=[key for key, _ in items],
            ) from conflict
        if revs is None:
            return {key: None for key, _ in items}
        # An entry that others claim, too, was written with their claim: its Rev is of more than we know.
        own, done = dict(items), zip(changes, revs, strict=False)
        return {
            one.key: rev if getattr(one, "value", own[one.key]) == own[one.key] else None for one, rev in done
        }


def _changes(
    store: Store, items: Sequence[tuple[str, bytes | None]], known: dict[str, int], *, asking: bool
) -> Iterator[Change | Check]:
    """What is put and is not known is taken to be new, as it nearly always is: to ask for each would cost a far store
    as much as the commit, which tells if it is not. Then (``asking``) the store is asked."""
    for key, data in items:
        rev = known.get(key)
        if rev is None and data is not None and not asking:
            rev = ABSENT
        elif rev is None:
            found = store.get(key)
            rev = known[key] = found.rev if found else ABSENT
            if asking and found is not None and data is not None and place(key).kind == LEDGER:
                data = of_both(data, found.value)
        if rev != ABSENT and place(key).kind == CONTENT:
            yield Check(key, rev)  # it is there already: by its name it is the same
        elif data is not None or rev != ABSENT:
            yield Change(key, data, rev)
