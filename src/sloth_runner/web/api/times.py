"""Why: what changed, between two moments or at all, and in what two agents differ."""

from __future__ import annotations

from sloth_runner.documents import differences, keys, past
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.history import latest
from sloth_runner.state.layout import LOCAL
from sloth_runner.web.api import Operation
from sloth_runner.web.api.keys import LIMIT, NAMESPACE, PREFIX, changes_of
from sloth_runner.web.given import MOMENT, TEXT, Given, Param
from sloth_runner.web.replies import Answer

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House


def timeline(app: App, house: House, given: Given) -> Answer:
    """``state history``, of a namespace or (none named) of all."""
    everywhere = given["namespace"] is None
    views = keys.all_views(app) if everywhere else [keys.view_of(app, given["namespace"])]
    names = frozenset() if given["by"] is None else past.who_is_meant(app.store(), given["by"])
    wanted = changes_of(given, names)
    ready = all(house.index.ready(view.home(given["prefix"])) for view in views)
    part = past.recent(
        views, given["prefix"], wanted, given["limit"], given["after"],
        everywhere=everywhere, reveal=False, find=house.newest if ready else latest,
    )  # fmt: skip
    return Answer("state.history.list", past.recent_history(app, part, wanted, reveal=False))


def compare_moments(app: App, house: House, given: Given) -> Answer:
    """``state diff --from-time --to-time``."""
    prefix = given["prefix"]
    view = keys.view_of(app, given["namespace"]).below(prefix)
    begin, end = given["from"], given["to"] if given["to"] is not None else app.clock()
    if end < begin:
        raise UsageError("to lies before from")
    found = differences.between(view.writer.store, view.namespace, begin, end, prefix, given["after"])
    part, cursor = differences.page(found, given["limit"])
    body = differences.differences(app, view, (begin, end), prefix, part, cursor, reveal=False)
    return Answer("state.diff.list", body)


def compare_agents(app: App, house: House, given: Given) -> Answer:
    """``state diff --to-agent``."""
    one, other = (keys.own_view(keys.view_of(app, given[name])) for name in ("namespace", "to"))
    found = differences.across(one, other, given["prefix"], given["after"])
    part, cursor = differences.page(found, given["limit"])
    return Answer("state.diff.agents", differences.of_agents(app, one, other, given["prefix"], part, cursor))


AFTER_KEY = Param("after", TEXT, 'Go on after this key (the "next" of a page).', default="")
TIMELINE = Operation(
    "GET", "/timeline", "timeline", "All changes, the newest first.", timeline,
    ("state.history.list",), "state history --all-agents --limit N",
    (
        Param("namespace", TEXT, "Only of this one: an agent, local, or _shared."),
        PREFIX,
        Param("since", MOMENT, "Only changes from then on."),
        Param("until", MOMENT, "Only changes up to then."),
        Param("by", TEXT, "Only changes by this user, user@host, or run (its id, or last)."),
        Param("after", TEXT, 'Go on after this change (the "next" of a page).'),
        LIMIT,
    ),
)  # fmt: skip
MOMENTS = Operation(
    "GET", "/compare", "compareMoments", "The keys of a namespace that differ between two moments.", compare_moments,
    ("state.diff.list",), "state diff --from-time TIME --to-time TIME --limit N",
    (
        NAMESPACE,
        Param("from", MOMENT, "The first moment.", required=True),
        Param("to", MOMENT, "The second one; now, if not given."),
        PREFIX,
        AFTER_KEY,
        LIMIT,
    ),
)  # fmt: skip
AGENTS = Operation(
    "GET", "/compare/agents", "compareAgents", "The keys that two agents hold differently.", compare_agents,
    ("state.diff.agents",), "state diff --to-agent NAME --limit N",
    (
        Param("namespace", TEXT, "The first agent.", default=LOCAL),
        Param("to", TEXT, "The second agent.", required=True),
        PREFIX,
        AFTER_KEY,
        LIMIT,
    ),
)  # fmt: skip
OPERATIONS = (TIMELINE, MOMENTS, AGENTS)
