"""Why: what a watcher is told has one form, whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner import documents
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.watching import Change, Gap, Purged

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.documents import Document
    from sloth_runner.state.watching import Item


def change(item: Change, *, reveal: bool) -> Document:
    """A change; an expiry that nobody has written has neither a revision nor a "by"."""
    row = {
        "key": item.key,
        "namespace": item.namespace,
        **documents.revision(item.revision, reveal=reveal),
    }
    return row if item.written else {**row, "rev": None, "by": None}


def other(item: Gap | Purged) -> Document:
    """What was not seen, or is no more."""
    return item._asdict()


def place(app: App, namespace: str | None, prefix: str) -> Document:
    """What is watched; ``namespace`` None: all of them."""
    return {"store": app.stores.name, "namespace": namespace, "prefix": prefix}


def watched(where: Document, items: Sequence[Item], reason: str, *, reveal: bool) -> Document:
    """``state.watch``: all that was told, and why it ended."""
    changes = [change(item, reveal=reveal) for item in items if isinstance(item, Change)]
    return {
        **where,
        "reason": reason,
        "count": len(changes),
        "changes": changes,
        "gaps": [other(item) for item in items if isinstance(item, Gap)],
        "purged": [other(item) for item in items if isinstance(item, Purged)],
    }
