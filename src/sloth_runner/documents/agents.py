"""Why: which machines there are, and whether they can be reached, is told alike by the command line and the web."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.documents import Document
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.backends import public_url
from sloth_runner.state.layout import LOCAL

if TYPE_CHECKING:
    from sloth_runner.app import App

_UNKNOWN: Document = {
    "reachable": None, "seconds": None, "user": None, "version": None, "problem": None, "next": [],
}  # fmt: skip


def rows(app: App, reached: Mapping[str, Document] | None = None) -> list[Document]:
    """All agents: configured ones, and those that have state; ``reached`` is what a check has found."""
    having = set(app.namespaces())
    certificates = _certificates(app)
    out: list[Document] = []
    listed = app.inventory.agents
    for name in app.known_agents():
        configured = listed.get(name)
        url = "local://" if name == LOCAL else None if configured is None else public_url(configured.url)
        row: Document = {
            "name": name,
            "url": url,
            "groups": [] if configured is None else list(configured.groups),
            "tags": [] if configured is None else list(configured.tags),
            "configured": configured is not None or name == LOCAL,
            "has_state": name in having,
            "certificate": certificates.get(name),
        }
        out.append({**row, **((reached or {}).get(name) or _UNKNOWN)})
    return out


def _certificates(app: App) -> dict[str, Document]:
    """By the names that our authority enrolled: when the certificate ends, since when it is void, and whether it is
    good now. A name that was revoked and enrolled again is what it is now."""
    authority = app.authority()
    if not authority.exists:
        return {}
    now = app.clock()
    return {
        row.name: {
            "until": iso(row.until),
            "revoked": None if row.revoked is None else iso(row.revoked),
            "good": row.revoked is None and row.until > now,
        }
        for row in authority.enrolled()
        if row.role == "agent"
    }


def one(app: App, name: str) -> Document:
    """What is known of one agent: how it is reached, and the values that tasks on it see."""
    (row,) = [row for row in rows(app) if row["name"] == name]
    entry = app.inventory.agents.get(name)
    keys = ("name", "url", "groups", "tags", "configured", "has_state")
    table = {
        "python": None if entry is None else entry.python,
        "values": app.values_for(name),
        "origin": None if entry is None else entry.origin.label,
    }
    return {**{key: row[key] for key in keys}, **table}


def listing(app: App, found: list[Document], *, checked: bool) -> Document:
    """``agent.list``."""
    return {"store": app.stores.name, "checked": checked, "count": len(found), "agents": found}


def reachable(app: App) -> list[str]:
    """The agents that are configured, and so can be asked whether they answer."""
    listed = app.inventory.agents
    return [name for name in app.known_agents() if name == LOCAL or name in listed]
