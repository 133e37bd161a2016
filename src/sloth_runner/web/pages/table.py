"""Why: which page is where stands in one list."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.plain import Final
from sloth_runner.web.pages import Paging, agents, edit, key, locks, machines, overview, runs, state, times

PAGES: Final[Mapping[str, Paging]] = {
    "/": overview.overview,
    "/state": state.listing,
    "/state/key": key.key,
    "/state/diff": key.difference,
    "/state/edit": edit.ask,
    "/state/delete": edit.ask_delete,
    "/state/restore": key.ask_restore,
    "/timeline": times.timeline,
    "/compare": times.compare,
    "/locks": locks.listing,
    "/locks/break": locks.ask_break,
    "/runs": runs.listing,
    "/runs/{run}": runs.show,
    "/graph": runs.graph,
    "/drift": machines.drift,
    "/resource": machines.resource,
    "/agents": agents.listing,
}
FORMS: Final[Mapping[str, Paging]] = {
    "/state/edit": edit.change,
    "/state/delete": edit.delete,
    "/state/restore": key.restore,
    "/state/reveal": key.reveal,
    "/locks/break": locks.take_away,
    "/drift": machines.check,
    "/agents": agents.check,
}
