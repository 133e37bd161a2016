"""Why: keys are read here: lists, searches, one key, its past, two revisions compared."""

from __future__ import annotations

from sloth_runner.documents import Document, differences, keys, past, search
from sloth_runner.documents.differences import Side
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.history import Filter
from sloth_runner.state.layout import LOCAL
from sloth_runner.state.record import version_of
from sloth_runner.state.state import Row, Stats
from sloth_runner.web.api import Operation
from sloth_runner.web.given import COUNT, KEY, MOMENT, TEXT, Given, Param
from sloth_runner.web.replies import Answer

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.state import State
    from sloth_runner.web.house import House

NAMESPACE = Param("namespace", TEXT, "An agent, local, or _shared.", default=LOCAL)
NEEDED_KEY = Param("key", KEY, "The whole key.", required=True)
PREFIX = Param("prefix", TEXT, "Only keys that start so.", default="")
LIMIT = Param("limit", COUNT, "At most so many.", default=100)
REVISIONS = 10**9


def stats(app: App, house: House, given: Given) -> Answer:
    """``state stats --all-agents``."""
    each = []
    for view in keys.all_views(app):
        shelf = house.index.find(view.namespace)
        each.append(keys.figures(app, view, None if shelf is None else shelf.stats()))
    return Answer("state.stats", keys.stats(app, each, everywhere=True))


def known(app: App, house: House) -> Document:
    """What is known of ``stats`` without reading namespaces that have not been read yet: those have no figures."""
    shelves = {shelf.namespace: shelf for shelf in house.index.shelves()}
    names = sorted({*app.known_agents(), *app.namespaces()})
    views = {view.namespace: view for view in keys.all_views(app)}
    each = [
        keys.figures(
            app, views[name], shelves[name].stats() if name in shelves else Stats(0, 0, 0, None, None)
        )
        for name in names
    ]
    body = keys.stats(app, each, everywhere=True)
    body["namespaces"] = [
        {**row, "read": row["namespace"] not in shelves or shelves[row["namespace"]].loaded} for row in each
    ]
    return body


def listing(app: App, house: House, given: Given) -> Answer:
    """``state list``."""
    seen = [keys.view_of(app, given["namespace"])]
    part = keys.page(seen, given["prefix"], given["after"], given["limit"], everywhere=False)
    body = keys.listing(app, seen, given["prefix"], part, everywhere=False, reveal=False)
    return Answer("state.list", body)


def find(app: App, house: House, given: Given) -> Answer:
    """``state search``."""
    view, text = keys.view_of(app, given["namespace"]), given["text"]
    place, _, last = (given["after"] or "").partition("/")
    if given["after"] and (place not in (search.KEY, search.VALUE) or not last):
        raise UsageError('after takes the "next" of a page, such as key/NAME')
    limit = given["limit"]
    hits = house.index.search(view.namespace, text, given["prefix"], given["after"] or "", limit + 1)
    matches = [
        search.Match(row, hit.match) for hit in hits[:limit] if (row := _row(app, hit.namespace, hit.key))
    ]
    cursor = f"{hits[limit - 1].match}/{hits[limit - 1].key}" if len(hits) > limit else None
    return Answer("state.search", search.found(app, view.namespace, text, given["prefix"], matches, cursor))


def show(app: App, house: House, given: Given) -> Answer:
    """``state show``."""
    view, key = keys.view_of(app, given["namespace"]), given["key"]
    namespace, record = keys.wanted(view, key, given["rev"], None)
    body = keys.shown(app, view, namespace, key, record, reveal=False)
    return Answer("state.show", body, version_of(record) if given["rev"] is None else None)


def history(app: App, house: House, given: Given) -> Answer:
    """``state history KEY``."""
    view = keys.view_of(app, given["namespace"])
    part = past.of_key(view, given["key"], changes_of(given), given["limit"], given["before"], reveal=False)
    return Answer("state.history", past.key_history(app, part, reveal=False))


def changes_of(given: Given, by: frozenset[str] = frozenset()) -> Filter:
    """Which changes are asked for. Raises UsageError."""
    since, until = given["since"], given["until"]
    if since is not None and until is not None and until < since:
        raise UsageError("until lies before since")
    return Filter(since, until, by)


def difference(app: App, house: House, given: Given) -> Answer:
    """``state diff KEY@FROM KEY@TO``."""
    view = keys.view_of(app, given["namespace"])
    sides = [_side(view, given["key"], given[name]) for name in ("from", "to")]
    return Answer(
        "state.diff", differences.difference(app, view, differences.compare(view, *sides, reveal=False))
    )


def _side(view: State, key: str, rev: int | None) -> Side:
    if rev is None:
        return Side(key, keys.wanted(view, key, None, None)[1])
    return Side(key, view.revision(key, rev))


def _row(app: App, namespace: str, key: str) -> Row | None:
    return keys.own_view(keys.view_of(app, namespace)).row(key)


STATS = Operation(
    "GET", "/stats", "stats", "How much there is, in all namespaces and in each.", stats,
    ("state.stats",), "state stats --all-agents",
)  # fmt: skip
LIST = Operation(
    "GET", "/state", "listKeys", "Keys in order, own and shared ones.", listing,
    ("state.list",), "state list PREFIX --limit N --after KEY",
    (NAMESPACE, PREFIX, Param("after", TEXT, 'Go on after this key (the "next" of a page).', default=""), LIMIT),
)  # fmt: skip
SEARCH = Operation(
    "GET", "/state/search", "searchKeys", "Keys that hold a text in their name, then in their value.", find,
    ("state.search",), "state search TEXT",
    (
        NAMESPACE,
        Param("text", TEXT, "What to look for; ASCII's upper and lower case are one.", required=True),
        PREFIX,
        Param("after", TEXT, 'Go on after this match (the "next" of a page).'),
        LIMIT,
    ),
)  # fmt: skip
SHOW = Operation(
    "GET", "/state/key", "showKey", "One key: its value, type, and who changed it when.", show,
    ("state.show",), "state show KEY",
    (NAMESPACE, NEEDED_KEY, Param("rev", COUNT, "This revision, not the current one.", most=REVISIONS)),
    versioned=True,
)  # fmt: skip
HISTORY = Operation(
    "GET", "/state/history", "keyHistory", "What a key held, the newest first.", history,
    ("state.history",), "state history KEY --limit N",
    (
        NAMESPACE,
        NEEDED_KEY,
        Param("since", MOMENT, "Only changes from then on."),
        Param("until", MOMENT, "Only changes up to then."),
        Param("before", COUNT, 'Only revisions before this one (the "next" of a page).', most=REVISIONS),
        LIMIT,
    ),
)  # fmt: skip
DIFF = Operation(
    "GET", "/state/diff", "diffRevisions", "Two revisions of a key compared.", difference,
    ("state.diff",), "state diff KEY@FROM KEY@TO",
    (
        NAMESPACE,
        NEEDED_KEY,
        Param("from", COUNT, "The first revision.", required=True, most=REVISIONS),
        Param("to", COUNT, "The second one; what is there now, if not given.", most=REVISIONS),
    ),
)  # fmt: skip
OPERATIONS = (STATS, LIST, SEARCH, SHOW, HISTORY, DIFF)
