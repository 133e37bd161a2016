"""Why: "what differs on the machines from what we applied" needs the store and the ways to machines, and no file."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from sloth_runner.engine.drifting import MISSING, OK, UNKNOWN, Found, look_all, watched, without_ours
from sloth_runner.engine.since import by_file
from sloth_runner.errors import AgentUnknown, BadConfig, Lost
from sloth_runner.execution.reaching import why
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import entries

if TYPE_CHECKING:
    from sloth_runner.app import App

Document = dict[str, Any]


def drift(app: App, agents: Sequence[str], ignored: Sequence[str], prefix: str = "") -> Document:
    """Look at every recorded resource of the agents; the document of ``drift``. Changes nothing.

    ``ignored`` are patterns ``type:id.attribute``.
    """
    from sloth_runner.modules import kinds

    store, transports = app.store(), app.transports()
    rows: list[Document] = []
    problems: list[Document] = []
    known = kinds()
    try:
        for agent in agents:
            recorded = [entry for entry in entries(store, agent, prefix) if watched(entry)]
            if not recorded:
                continue
            ledger = Ledger(store, agent, tuple)
            try:
                way, loop = transports.to(agent), transports.loop
                found = look_all(known, way, recorded, ledger.content, loop)
                if any(one.attributes for one in found):
                    ours = by_file(entries(store, agent))
                    found = [without_ours(known, way, one, ours, loop) for one in found]
            except (Lost, AgentUnknown, BadConfig) as error:
                problems.append({"agent": agent, "problem": why(error), "next": error.next})
                continue
            rows += [_row(agent, one, ignored) for one in found]
    finally:
        transports.close()
    return {
        "checked": len(rows),
        "drifted": sum(row["status"] not in (OK, UNKNOWN) for row in rows),
        "unreachable": [problem["agent"] for problem in problems],
        "problems": problems,
        "resources": rows,
    }


def _row(agent: str, found: Found, ignored: Sequence[str]) -> Document:
    entry = found.entry
    attributes = [
        {"name": name, "recorded": recorded, "actual": actual}
        for name, recorded, actual in found.attributes
        if not any(fnmatchcase(f"{entry.address}.{name}", pattern) for pattern in ignored)
    ]
    status = found.status if attributes or found.status == UNKNOWN else OK
    shown = any(row["name"] == "content" for row in attributes)
    user, host, _, run, task = entry.by
    return {
        "address": entry.address,
        "agent": agent,
        "status": status if status != MISSING or attributes else OK,
        "attributes": attributes,
        "diff": found.diff if shown else None,
        "reason": found.reason,
        "last": {"run": run, "task": task, "time": iso(entry.time), "user": user, "host": host},
    }
