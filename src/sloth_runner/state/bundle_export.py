"""Why: an export is one moment of a namespace, written in constant memory.

What a section holds is gathered first (see ``bundle_gather``), since its header counts and digests it, and then
written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from sloth_runner.errors import Forbidden, Moved
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.bundle import Closing, Header, closing_line, header_line
from sloth_runner.state.bundle_draft import Draft
from sloth_runner.state.bundle_gather import Census, Gathering, Order
from sloth_runner.state.layout import SEP
from sloth_runner.state.lineage import ensure_lineage, lineage_of

if TYPE_CHECKING:
    from pathlib import Path

    from sloth_runner.state.store import Reader, Store


class Exported(NamedTuple):
    """One section as it was written."""

    header: Header
    closing: Closing


def export(
    store: Store,
    order: Order,
    write: Callable[[bytes], object],
    *,
    folder: Path,
    new_id: Callable[[], str],
    progress: Callable[[int], None],
    consent: Callable[[str, Census], None],
) -> list[Exported]:
    """Write a bundle of whole namespaces, each as of one moment.

    ``consent`` is asked before a section is written, and may raise; ``progress`` hears how many records more have
    been read. What waits for its header may lie in ``folder``. A namespace that has records and no lineage gets one,
    if the store may be written.
    Raises Corrupt, naming the key, for a record that no import would take, TooLarge for one that is too long.
    """
    import hashlib

    digest = hashlib.sha256()
    done: list[Exported] = []

    def put(data: bytes) -> None:
        digest.update(data)
        write(data)

    for number, namespace in enumerate(order.namespaces, 1):
        if next(iter(store.scan(namespace + SEP, limit=1)), None) is not None:
            _identify(store, namespace, new_id)
        with Draft(folder) as draft:
            with snapshot_of(store, namespace) as reader:
                gathering = Gathering(reader, namespace, order, draft, progress)
                found, counts = gathering.gather()
                lineage = lineage_of(reader, namespace)
            consent(namespace, found)
            header = _header(order, number, namespace, lineage, found)
            put(header_line(header))
            for block in draft.blocks():
                put(block)
        closing = Closing(number, counts, f"sha256:{digest.hexdigest()}")
        put(closing_line(closing))
        done.append(Exported(header, closing))
    return done


def _identify(store: Store, namespace: str, new_id: Callable[[], str]) -> None:
    """Give a namespace its lineage. Who may only read, or no more than read, takes it out without one."""
    try:
        ensure_lineage(store, namespace, new_id)
    except (Forbidden, Moved):
        pass


def snapshot_of(store: Store, namespace: str) -> AbstractContextManager[Reader]:
    """The namespace as of one moment where the store can give that, else the store itself."""
    make = store.traits.snapshot
    return nullcontext(store) if make is None else make(namespace)


def _header(order: Order, number: int, namespace: str, lineage: str | None, found: Census) -> Header:
    counts = {"keys": found.keys, "sensitive": found.sensitive}
    if order.with_history:
        counts |= {"deleted": found.deleted, "revisions": found.revisions}
    return Header(
        number, len(order.namespaces), namespace, lineage, found.head, order.created, order.user, order.host,
        order.program, order.with_history, order.prefix, counts,
    )  # fmt: skip
