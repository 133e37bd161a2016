"""Why: what runs did, and the stacks they belong to, have one form for all who tell it."""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.documents import Document
from sloth_runner.engine import records
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.store import Store

_HEAD = ("run", "stack", "file", "status", "exit_code", "started", "seconds", "summary", "by")
_INNER = ("process", "began", "stack_id", "made_of")
"""What only resuming needs."""


def heads(store: Store, *, stack: str | None, limit: int | None) -> list[Document]:
    """Runs without their tasks, the newest first."""
    rows = records.list_runs(store, stack=stack, limit=limit)
    return [{name: row.get(name) for name in _HEAD} for row in rows]


def listing(app: App, found: Sequence[Document], stack: str | None) -> Document:
    """``runs.list``."""
    return {"store": app.stores.name, "stack": stack, "count": len(found), "runs": list(found)}


def public(document: Document) -> Document:
    """A run's document without what only resuming needs."""
    out: Document = {name: item for name, item in document.items() if name not in _INNER}
    out["tasks"] = [
        {k: v for k, v in task.items() if k not in ("result", "run")} for task in document["tasks"]
    ]
    return out


def shown(app: App, document: Document) -> Document:
    """``run``, of what ``public`` gave."""
    return {"store": app.stores.name, **document}


def lines(document: Document, task: str | None) -> list[Document]:
    """What the tasks of a run said, one after the other; only ``task``, if one is named."""
    return [
        {"task": t["name"], "agent": t["agent"], **line}
        for t in document["tasks"]
        if task is None or t["name"] == task
        for line in t["log"]
    ]


def logs(app: App, document: Document, found: Sequence[Document]) -> Document:
    """``runs.logs``."""
    return {"store": app.stores.name, "run": document["run"], "lines": list(found)}


def stacks(store: Store) -> list[Document]:
    """Each stack with its file, its last run and how many there are."""
    runs: dict[str, list[Document]] = {}
    for head in records.list_runs(store):
        runs.setdefault(str(head["stack"]), []).append(head)
    return [
        {
            "stack": row["stack"],
            "file": row["file"],
            "last_run": runs[row["stack"]][0]["run"] if row["stack"] in runs else None,
            "last_status": runs[row["stack"]][0]["status"] if row["stack"] in runs else None,
            "runs": len(runs.get(row["stack"], ())),
        }
        for row in records.list_stacks(store)
    ]


def stack_listing(app: App, found: Sequence[Document]) -> Document:
    """``stack.list``."""
    return {"store": app.stores.name, "stacks": list(found)}
