"""Why: keys are read here: lists, one key, its past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sloth_runner.documents import keys, past
from sloth_runner.state.history import Filter
from sloth_runner.state.layout import LOCAL
from sloth_runner.state.record import version_of
from sloth_runner.web.api import Operation
from sloth_runner.web.given import COUNT, KEY, MOMENT, TEXT, Given, Param
from sloth_runner.web.replies import Answer

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House

NAMESPACE = Param("namespace", TEXT, "An agent, local, or _shared.", default=LOCAL)
NEEDED_KEY = Param("key", KEY, "The whole key.", required=True)
LIMIT = Param("limit", COUNT, "At most so many.", default=100)


def listing(app: App, house: House, given: Given) -> Answer:
    """``state list``."""
    seen = [keys.view_of(app, given["namespace"])]
    part = keys.page(seen, given["prefix"], given["after"], given["limit"], everywhere=False)
    return Answer(
        "state.list", keys.listing(app, seen, given["prefix"], part, everywhere=False, reveal=False)
    )


def stats(app: App, house: House, given: Given) -> Answer:
    """``state stats --all-agents``."""
    each = [keys.figures(app, view) for view in keys.all_views(app)]
    return Answer("state.stats", keys.stats(app, each, everywhere=True))


def show(app: App, house: House, given: Given) -> Answer:
    """``state show``."""
    view, key = keys.view_of(app, given["namespace"]), given["key"]
    namespace, record = keys.wanted(view, key, given["rev"], None)
    body = keys.shown(app, view, namespace, key, record, reveal=False)
    return Answer("state.show", body, version_of(record))


def history(app: App, house: House, given: Given) -> Answer:
    """``state history KEY``."""
    view = keys.view_of(app, given["namespace"])
    wanted = Filter(given["since"], given["until"], frozenset())
    part = past.of_key(view, given["key"], wanted, given["limit"], given["before"], reveal=False)
    return Answer("state.history", past.key_history(app, part, reveal=False))


OPERATIONS = (
    Operation(
        "GET", "/stats", "stats", "How much there is, in all namespaces and in each.", stats,
        ("state.stats",), "state stats --all-agents",
    ),
    Operation(
        "GET", "/state", "listKeys", "Keys in order, own and shared ones.", listing,
        ("state.list",), "state list PREFIX --limit N",
        (
            NAMESPACE,
            Param("prefix", TEXT, "Only keys that start so.", default=""),
            Param("after", TEXT, 'Go on after this key (the "next" of a page).', default=""),
            LIMIT,
        ),
    ),
    Operation(
        "GET", "/state/key", "showKey", "One key: its value, type, and who changed it when.", show,
        ("state.show",), "state show KEY",
        (NAMESPACE, NEEDED_KEY, Param("rev", COUNT, "This revision instead of the current one.", most=10**9)),
        versioned=True,
    ),
    Operation(
        "GET", "/state/history", "keyHistory", "What a key held, the newest first.", history,
        ("state.history",), "state history KEY --limit N",
        (
            NAMESPACE,
            NEEDED_KEY,
            Param("since", MOMENT, "Only changes from then on."),
            Param("until", MOMENT, "Only changes up to then."),
            Param("before", COUNT, 'Only revisions before this one (the "next" of a page).', most=10**9),
            LIMIT,
        ),
    ),
)  # fmt: skip
