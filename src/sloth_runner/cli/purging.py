"""Why: ``state clear --purge`` is the one way to erase history: a key, all its revisions and long values at once.

Each key goes in one commit that expects what was read, so that a write in between is seen and never half erased.
Locks' fences, runs, what modules remember and the record of reveals are other kinds, and stay.
"""

from __future__ import annotations

from sloth_runner.documents.keys import flags
from sloth_runner.errors import Conflict, TooLarge, UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state import tags
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import BLOB, HEAD, HISTORY, place, prefix_of, revisions_of
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.record import decode_record
from sloth_runner.state.store import Change

if TYPE_CHECKING:
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store

AT_ONCE = 1000
"""Changes that a commit may hold here; a key with more goes alone."""


def count(view: State) -> int:
    """Revisions that a purge of this namespace would erase, those of deleted keys included."""
    total = 0
    for entry in view.writer.store.scan(prefix_of(view.namespace, HEAD)):
        record = decode_record(entry.value)
        total += record.number - record.first + 1
    return total


def refuse_tagged(view: State) -> None:
    """Raise UsageError if a tag keeps revisions of this namespace: it must be deleted first, by name."""
    names = list(tags.names(view.writer.store, view.namespace))
    if names:
        raise UsageError(
            f"tags keep revisions of {view.namespace}: {', '.join(names)}",
            unchanged=["nothing was changed"],
            next=[
                f"delete them first: sloth-runner state tag {names[0]} --delete{flags(view.namespace)}",
                "without --purge, clearing leaves the history and the tags",
            ],
        )


def purge(view: State) -> list[str]:
    """Erase all keys of this namespace and their history; the keys that held a value."""
    store, now = view.writer.store, view.writer.clock()
    heads = list(store.scan(prefix_of(view.namespace, HEAD)))
    live = [place(entry.key).name for entry in heads if decode_record(entry.value).live(now)]
    batch: list[Change] = []
    names: list[str] = []
    for entry in heads:
        name = place(entry.key).name
        changes = _erasure(store, view.namespace, name)
        if batch and len(batch) + len(changes) > AT_ONCE:
            _commit(store, view.namespace, batch, names)
            batch, names = [], []
        batch += changes
        names.append(name)
    if batch:
        _commit(store, view.namespace, batch, names)
    return live


def _erasure(store: Store, namespace: str, name: str) -> list[Change]:
    """What erases one key: its head last read, revisions and long values."""
    changes = [
        Change(entry.key, None, entry.rev)
        for kind in (HISTORY, BLOB)
        for entry in store.scan(revisions_of(namespace, kind, name))
    ]
    head = next(
        (e for e in store.scan(prefix_of(namespace, HEAD, name), limit=1) if place(e.key).name == name), None
    )
    return changes if head is None else [*changes, Change(head.key, None, head.rev)]


def _commit(store: Store, namespace: str, batch: list[Change], names: list[str]) -> None:
    try:
        settle(store, batch)
        return
    except (Conflict, TooLarge):
        pass  # others wrote meanwhile, or it is too much at once: key by key
    for name in names:
        tries: Tries | None = None
        while True:
            try:
                _commit_key(store, _erasure(store, namespace, name))
                break
            except Conflict as conflict:
                tries = tries or Tries(store.traits.patience, CONTENTION)
                if not tries.again(conflict):
                    raise


def _commit_key(store: Store, changes: list[Change]) -> None:
    """One key: in one commit if the store takes so many changes, else its oldest revisions first."""
    most = store.traits.max_changes
    for start in range(0, len(changes), most):
        settle(store, changes[start : start + most])
