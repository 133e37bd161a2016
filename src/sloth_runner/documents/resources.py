"""Why: what the ledger knows of a machine has one form for all who tell it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sloth_runner.documents import Document
from sloth_runner.errors import KeyMissing
from sloth_runner.moments import iso
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.ledger_records import Entry
    from sloth_runner.state.store import Store


def one(store: Store, agent: str, address: str) -> Entry:
    """What is known of a resource. Raises KeyMissing."""
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.state.ledger_queries import entries

    entry = Ledger(store, agent, tuple).entry(address)
    if entry is not None:
        return entry
    known = [found.address for found in entries(store, agent)]
    raise KeyMissing(
        f"nothing is recorded of {address!r} on {agent!r}",
        next=[*did_you_mean(address, known), f"see what is: sloth-runner resource list --agent {agent}"],
    )


def rows(store: Store, found: Iterable[tuple[str, Entry]]) -> list[Document]:
    """Entries, each of an agent, as RESOURCE."""
    from sloth_runner.engine.records import list_stacks

    names = {stack["id"]: stack["stack"] for stack in list_stacks(store)}
    return [_row(names.get(entry.stack), agent, entry) for agent, entry in found]


def listing(app: App, found: Sequence[Document]) -> Document:
    """``resource.list``."""
    return {"store": app.stores.name, "count": len(found), "resources": list(found)}


def shown(app: App, row: Document) -> Document:
    """``resource.show``."""
    return {"store": app.stores.name, "resource": row}


def _row(stack: str | None, agent: str, entry: Entry) -> Document:
    from sloth_runner.state.ledger_records import checksum

    user, host, pid, run, task = entry.by
    secret = bool(entry.salt)
    return {
        "address": entry.address,
        "agent": agent,
        "status": _status(entry),
        "stack": stack,
        "task": task,
        "module": entry.module,
        "line": entry.line,
        "site": list(entry.site),
        "wanted": None if secret else entry.wanted,
        "before": None if secret else entry.before,
        "sensitive": secret,
        "checksums": {
            "wanted": checksum(entry.wanted),
            "applied": checksum(entry.applied),
            "observed": checksum(entry.applied),
        },
        "applied": iso(entry.time),
        "by": {"user": user, "host": host, "pid": pid, "run": run, "task": task},
        "kept": entry.keep,
    }


def _status(entry: Entry) -> str:
    if entry.memory is not None:
        return "remembered"
    if entry.applied is None:
        return "absent"
    if entry.adopted:
        return "adopted"
    return "created" if entry.before is None else "changed"
