"""Why: what a change of a key came to is told alike, whoever made it."""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.documents import Document
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.state import State


def was_set(app: App, view: State, key: str, changed: bool, rev: int | None) -> Document:
    """``state.set``."""
    return {
        "store": app.stores.name,
        "namespace": view.home(key),
        "key": key,
        "changed": changed,
        "rev": rev,
    }


def was_added(app: App, view: State, key: str, total: float | None, secret: bool) -> Document:
    """``state.increment``; ``total`` is None where it is not to be seen."""
    return {
        "store": app.stores.name,
        "namespace": view.home(key),
        "key": key,
        "value": total,
        "sensitive": secret,
    }


def were_deleted(app: App, view: State, keys: Sequence[str]) -> Document:
    """``state.delete``."""
    return {"store": app.stores.name, "namespace": view.namespace, "keys": list(keys), "deleted": len(keys)}


def was_restored(app: App, view: State, key: str, to: int, rev: int) -> Document:
    """``state.rollback``."""
    return {"store": app.stores.name, "namespace": view.home(key), "key": key, "to": to, "rev": rev}
