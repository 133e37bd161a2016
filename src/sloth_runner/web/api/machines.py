"""Why: what was applied to machines, and what differs there now."""

from __future__ import annotations

from sloth_runner.documents import Document
from sloth_runner.documents import agents as named
from sloth_runner.documents import resources as told
from sloth_runner.errors import KeyMissing
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import LOCAL, SHARED
from sloth_runner.web.api import Operation
from sloth_runner.web.given import TEXT, Given, Param
from sloth_runner.web.replies import Answer

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House

PREFIX = Param("prefix", TEXT, "Only resources whose type:id starts so.", default="")


def resources(app: App, house: House, given: Given) -> Answer:
    """``resource list --all-agents``."""
    from sloth_runner.state.ledger_queries import entries

    store = app.store()
    agents = [name for name in app.namespaces() if name != SHARED]
    found = [(agent, entry) for agent in agents for entry in entries(store, agent, given["prefix"])]
    return Answer("resource.list", told.listing(app, told.rows(store, found)))


def resource(app: App, house: House, given: Given) -> Answer:
    """``resource show``."""
    agent = app.require_agent(given["agent"])
    entry = told.one(app.store(), agent, given["address"])
    (row,) = told.rows(app.store(), [(agent, entry)])
    return Answer("resource.show", told.shown(app, row))


def last_check(app: App, house: House, given: Given) -> Answer:
    """What ``drift`` found when it was asked last."""
    if house.checks.last is None:
        raise KeyMissing(
            "drift was not checked since the server started", next=["check now: POST /api/v1/drift"]
        )
    return Answer("drift", house.checks.last.body)


def check_now(app: App, house: House, given: Given) -> Answer:
    """``drift``."""
    from sloth_runner.execution.drifting import drift

    agents = [n for n in app.namespaces() if n != SHARED]
    if given["agent"] is not None:
        agents = [app.require_agent(given["agent"])]

    def look() -> Document:
        return {"store": app.stores.name, **drift(app, agents, (), given["prefix"])}

    house.hub.tell(frozenset({"drift"}))
    whole = given["agent"] is None and not given["prefix"]
    try:
        return Answer("drift", house.checks.run(look, app.clock, keep=whole))
    finally:
        house.hub.tell(frozenset({"drift"}))


def agents(app: App, house: House, given: Given) -> Answer:
    """``agent list``."""
    return Answer("agent.list", named.listing(app, named.rows(app), checked=False))


def reach_now(app: App, house: House, given: Given) -> Answer:
    """``agent list --check``."""
    from sloth_runner.execution.reaching import reach

    def look() -> Document:
        rows = named.rows(app, reach(app, named.reachable(app)))
        return named.listing(app, rows, checked=True)

    house.hub.tell(frozenset({"agents"}))
    try:
        return Answer("agent.list", house.reached.run(look, app.clock, keep=True))
    finally:
        house.hub.tell(frozenset({"agents"}))


RESOURCES = Operation(
    "GET", "/resources", "listResources", "What was converged on machines.", resources,
    ("resource.list",), "resource list PREFIX --all-agents", (PREFIX,),
)  # fmt: skip
RESOURCE = Operation(
    "GET", "/resource", "showResource", "What is known of one resource.", resource,
    ("resource.show",), "resource show ADDRESS",
    (
        Param("agent", TEXT, "The machine.", default=LOCAL),
        Param("address", TEXT, "Its type:id.", required=True),
    ),
)  # fmt: skip
LAST_CHECK = Operation(
    "GET", "/drift", "lastDrift", "What the last check found.", last_check, ("drift",), "drift"
)
CHECK = Operation(
    "POST", "/drift", "checkDrift", "Look at every recorded resource now, and say what differs.", check_now,
    ("drift",), "drift PREFIX --agent NAME", (),
    (Param("agent", TEXT, "Only this machine."), PREFIX),
)  # fmt: skip
AGENTS = Operation(
    "GET", "/agents", "listAgents", "The agents that are configured or have state.", agents,
    ("agent.list",), "agent list",
)  # fmt: skip
REACH = Operation(
    "POST", "/agents/check", "checkAgents", "Try to reach each agent that is configured.", reach_now,
    ("agent.list",), "agent list --check", (), (),
)  # fmt: skip
OPERATIONS = (RESOURCES, RESOURCE, LAST_CHECK, CHECK, AGENTS, REACH)
