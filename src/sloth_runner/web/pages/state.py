"""Why: keys are found: folded into a tree, searched while one types, page by page."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.web import tree as folding
from sloth_runner.web.api import keys
from sloth_runner.web.given import TEXT, Param
from sloth_runner.web.pages import Here, twin
from sloth_runner.web.view import OPEN, OPEN_TEXT

if TYPE_CHECKING:
    from starlette.responses import Response

FIND = 50
OPENED = Param("open", TEXT, "Branches of the tree that are open, one a line.", default="", longest=OPEN_TEXT)
PARAMS = (
    keys.NAMESPACE,
    keys.PREFIX,
    Param("after", TEXT, "Go on after this.", default=""),
    Param("q", TEXT, "What to look for.", default=""),
    Param("focus", TEXT, "Where to begin.", words=("search",)),
    OPENED,
)


async def listing(here: Here) -> Response:
    """``/state``."""
    given = here.read(*PARAMS)
    context: dict[str, Any] = {"given": given, "namespaces": await here.namespaces()}
    if given["q"]:
        query = {"namespace": given["namespace"], "text": given["q"], "prefix": given["prefix"]}
        answer = await here.ask(keys.SEARCH, **query, after=given["after"] or None, limit=FIND)
        address = twin(keys.SEARCH, **query, limit=FIND)
        return here.page(
            "state.html", "state", twin=address, found=answer.body, tree=None, list=None, **context
        )
    address = twin(keys.LIST, **given)
    if not here.house.index.ready(given["namespace"]):
        answer = await here.ask(keys.LIST, **given)
        return here.page(
            "state.html", "state", twin=address, found=None, tree=None, list=answer.body, **context
        )
    opened = frozenset(given["open"].split("\n")[:OPEN]) if given["open"] else frozenset()
    made = await here.house.desk.do(
        folding.tree, here.house, given["namespace"], given["prefix"], given["after"], opened
    )
    return here.page(
        "state.html", "state", twin=address, found=None, tree=made, list=None, opened=opened, **context
    )
