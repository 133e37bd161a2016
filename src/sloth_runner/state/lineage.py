"""Why: two namespaces with the same keys need not be the same state; each has an identity that travels with it.

The lineage of a namespace is 128 random bits (``m ␟ lineage``), made when it is first exported. An empty namespace
takes over the lineage of what is imported into it. Beside it stands who imported what (``m ␟ import ␟ time``).
"""

from __future__ import annotations

import json
from collections.abc import Callable

from sloth_runner.errors import Conflict, Corrupt
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import (
    CONTENT,
    HEAD,
    HISTORY,
    INTENT,
    LEDGER,
    META,
    PENDING,
    SEP,
    TAG,
    prefix_of,
    revisions_of,
    store_key,
)
from sloth_runner.state.store import ABSENT, Change

if TYPE_CHECKING:
    from sloth_runner.model import By
    from sloth_runner.state.store import Reader, Store

NAME = "lineage"
IMPORT = "import"
_STATE = (HEAD, HISTORY, LEDGER, CONTENT, INTENT, PENDING, TAG)
"""Kinds whose records make a namespace more than empty; runs, fences and reveals alone don't."""


class Imported(NamedTuple):
    """What was imported: the bundle's lineage, when it was made (ISO 8601), when and by whom it came here."""

    lineage: str | None
    created: str
    time: float
    user: str
    host: str


def lineage_key(namespace: str) -> str:
    """Where a namespace's lineage stands."""
    return store_key(namespace, META, NAME)


def lineage_of(store: Reader, namespace: str) -> str | None:
    """The lineage; None while there is none."""
    entry = store.get(lineage_key(namespace))
    return None if entry is None else _text(entry.value)


def ensure_lineage(store: Store, namespace: str, new_id: Callable[[], str]) -> str:
    """The lineage, made now if there is none. ``new_id``: 128 random bits in hex."""
    while True:
        found = lineage_of(store, namespace)
        if found is not None:
            return found
        try:
            settle(store, [Change(lineage_key(namespace), encode(new_id()), ABSENT)])
        except Conflict:
            continue  # another process made it


def is_empty(store: Reader, namespace: str) -> bool:
    """Whether a namespace holds no keys, no history, and nothing that modules remember."""
    return not any(next(iter(store.scan(prefix_of(namespace, k), limit=1)), None) for k in _STATE)


def encode(lineage: str) -> bytes:
    """A lineage as it is stored."""
    return json.dumps({"lineage": lineage}).encode()


def latest_import(store: Reader, namespace: str, lineage: str) -> Imported | None:
    """Of the bundles of this lineage that were imported, the one that was made last."""
    latest: Imported | None = None
    for entry in store.scan(revisions_of(namespace, META, IMPORT)):
        try:
            row = json.loads(entry.value)
            found = Imported(row["lineage"], row["created"], row["time"], row["user"], row["host"])
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"the record of an import can't be read: {error!r}") from error
        if found.lineage == lineage and (latest is None or found.created > latest.created):
            latest = found
    return latest


def import_note(
    namespace: str, lineage: str | None, created: str, digest: str, by: By, now: float, nonce: str
) -> tuple[str, bytes]:
    """The record of an import: its store key and value."""
    row = {"lineage": lineage, "created": created, "digest": digest, "time": now}
    row |= {"user": by.user, "host": by.host, "pid": by.pid}
    key = f"{store_key(namespace, META, IMPORT)}{SEP}{int(now * 1000):015d}-{nonce}"
    return key, json.dumps(row).encode()


def _text(data: bytes) -> str:
    try:
        return str(json.loads(data)["lineage"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"the lineage of a namespace can't be read: {error!r}") from error
