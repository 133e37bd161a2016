"""Why: who holds what is seen here, and a lock is broken only while its holder is the one that was shown."""

from __future__ import annotations

from sloth_runner.documents import keys
from sloth_runner.documents import locks as told
from sloth_runner.errors import Outdated
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.web.api import Operation
from sloth_runner.web.api.keys import NAMESPACE
from sloth_runner.web.given import KEY, TEXT, Given, Param
from sloth_runner.web.replies import Answer

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House

NAME = Param("name", KEY, "The lock's name.", required=True)


def listing(app: App, house: House, given: Given) -> Answer:
    """``lock list --all-agents``."""
    return Answer("lock.list", told.listing(app, told.held(app, told.namespaces(app, None))))


def show(app: App, house: House, given: Given) -> Answer:
    """``lock show``."""
    info = told.one(app, keys.view_of(app, given["namespace"]), given["name"])
    return Answer("lock.show", told.shown(app, info), str(info.token))


def take_away(app: App, house: House, given: Given) -> Answer:
    """``lock break``."""
    view = keys.view_of(app, given["namespace"])
    info = told.one(app, view, given["name"])
    if str(info.token) != given.match:
        raise Outdated(
            f"the lock {info.name!r} is held by another holder now: {info.owner.holder}",
            next=["look at who holds it now, then decide again"],
        )
    stale = told.is_stale(app, info)
    told.take_away(app, view, info, given["reason"])
    house.hub.tell(frozenset({"locks"}))
    return Answer("lock.break", told.broken(app, info, stale, given["reason"]))


LIST = Operation(
    "GET", "/locks", "listLocks", "The locks that are held, in all namespaces.", listing,
    ("lock.list",), "lock list --all-agents",
)  # fmt: skip
SHOW = Operation(
    "GET", "/lock", "showLock", "Who holds a lock, since when and until when.", show,
    ("lock.show",), "lock show NAME", (NAMESPACE, NAME), versioned=True,
)  # fmt: skip
BREAK = Operation(
    "POST", "/lock/break", "breakLock", "Take a lock away from the holder that was seen.", take_away,
    ("lock.break",), "lock break NAME --reason TEXT --yes", (NAMESPACE, NAME),
    (Param("reason", TEXT, "Why; recorded with the lock.", default=""),), guarded=True,
)  # fmt: skip
OPERATIONS = (LIST, SHOW, BREAK)
