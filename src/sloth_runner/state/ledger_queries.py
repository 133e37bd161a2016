"""Why: who looks at what the ledger holds, without a run of its own, asks here.

Entries name their stack, and others that name the same resource: what of a stack is still wanted, and who inherits
it, follows from the records alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from sloth_runner.errors import Conflict
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import CONTENT, INTENT, LEDGER, PENDING, place, prefix_of
from sloth_runner.state.ledger_records import (
    Entry,
    Pending,
    contents_of,
    decode,
    decode_intent,
    decode_pending,
    escaped,
)
from sloth_runner.state.store import Change, parts

if TYPE_CHECKING:
    from sloth_runner.state.store import Store


def claimed(entry: Entry, stack: str) -> Entry | None:
    """An entry as a stack sees it, that names the resource; None if it doesn't."""
    if entry.stack == stack:
        return entry
    claim = entry.others.get(stack)
    if claim is None:
        return None
    task, agent, site = claim
    return entry._replace(by=(*entry.by[:4], task), agent=agent, site=tuple(site), notify=())


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
    return [decode_pending(one.value) for one in found]


def intents(store: Store, namespace: str) -> Iterator[str]:
    """The (escaped) addresses of resources whose change was begun and not recorded."""
    for found in store.scan(prefix_of(namespace, INTENT)):
        yield place(found.key).name


def sweep(store: Store, namespace: str) -> list[str]:
    """Delete kept contents that nothing refers to; the store keys of those. What others use or delete at this moment
    stays until the next time."""
    stale = unused_contents(store, namespace)
    for part in parts(stale, store.traits):
        try:
            settle(store, part)
        except Conflict:
            pass
    return [change.key for change in stale]


def unused_contents(store: Store, namespace: str, most: int = 500) -> list[Change]:
    """Deletions of kept contents that no entry and no intent refers to."""
    used: set[str] = set()
    for entry in entries(store, namespace):
        used |= contents_of(entry)
    for found in store.scan(prefix_of(namespace, INTENT)):
        used |= contents_of(decode_intent(found.value))
    stale = (e for e in store.scan(prefix_of(namespace, CONTENT)) if place(e.key).name not in used)
    return [Change(e.key, None, e.rev) for _, e in zip(range(most), stale, strict=False)]
