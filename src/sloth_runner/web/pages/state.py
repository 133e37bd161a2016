"""Why: keys are found, opened and followed through their past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sloth_runner.web.api import state
from sloth_runner.web.given import COUNT
from sloth_runner.web.pages import Here, twin

if TYPE_CHECKING:
    from starlette.responses import Response

_, LIST, SHOW, HISTORY = state.OPERATIONS
REVISIONS = 20


async def listing(here: Here) -> Response:
    """``/state``."""
    given = here.read(*LIST.params)
    answer = await here.ask(LIST, **given)
    return here.page("state.html", "state", twin=twin(LIST, **given), list=answer.body, given=given)


async def key(here: Here) -> Response:
    """``/state/key``."""
    given = here.read(*SHOW.params)
    answer = await here.ask(SHOW, **given)
    past = await here.ask(
        HISTORY, namespace=given["namespace"], key=given["key"], before=None, limit=REVISIONS
    )
    return here.page(
        "key.html", "state", twin=twin(SHOW, **given), entry=answer.body["entry"], past=past.body, given=given
    )


__all__ = ("COUNT", "key", "listing")
