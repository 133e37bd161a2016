"""Why: what runs did, and the stacks they belong to, have one form for all who tell it.

A run that was killed could not write its end: where its process is known to be gone, its status is told as ``died``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner import processes
from sloth_runner.documents import Document
from sloth_runner.engine import records
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.app import App

_HEAD = ("run", "stack", "file", "status", "exit_code", "started", "seconds", "summary", "by")
_INNER = ("process", "began", "stack_id", "made_of")
"""What only resuming needs."""


def heads(app: App, *, stack: str | None, limit: int | None) -> list[Document]:
    """Runs without their tasks, the newest first."""
    rows = records.list_runs(app.store(), stack=stack, limit=limit)
    return [{name: row.get(name) for name in _HEAD} for row in (_settled(app, row) for row in rows)]


def find(app: App, run: str) -> Document:
    """A run's whole document as it is recorded, but for the status of one that died. Raises KeyMissing."""
    row = records.show_run(app.store(), run)
    if _settled(app, row) is row:
        return row
    # Should it have ended meanwhile, then with all of its tasks.
    row = records.show_run(app.store(), str(row["run"]))
    return _settled(app, row)


def _settled(app: App, row: Document) -> Document:
    """A run's row with the status that it has by now."""
    if row["status"] != "running" or not processes.is_gone(row["process"], app.settings.host):
        return row
    # It may have written its end after its row was read, and before its process was looked for.
    return {**row, **(records.find_end(app.store(), str(row["run"])) or {"status": "died"})}


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


def stacks(app: App) -> list[Document]:
    """Each stack with its file, its last run and how many there are."""
    runs: dict[str, list[Document]] = {}
    for head in records.list_runs(app.store()):
        runs.setdefault(str(head["stack_id"]), []).append(head)
    return [
        {
            "stack": row["stack"],
            "file": row["file"],
            "last_run": runs[row["id"]][0]["run"] if row["id"] in runs else None,
            "last_status": _settled(app, runs[row["id"]][0])["status"] if row["id"] in runs else None,
            "runs": len(runs.get(row["id"], ())),
        }
        for row in records.list_stacks(app.store())
    ]


def stack_listing(app: App, found: Sequence[Document]) -> Document:
    """``stack.list``."""
    return {"store": app.stores.name, "stacks": list(found)}
