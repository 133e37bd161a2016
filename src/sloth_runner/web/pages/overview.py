"""Why: one look tells how things are: how much there is, who holds what, what ran last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sloth_runner.web.api import state
from sloth_runner.web.pages import Here, twin

if TYPE_CHECKING:
    from starlette.responses import Response

STATS = state.OPERATIONS[0]


async def overview(here: Here) -> Response:
    """``/``."""
    here.read()
    answer = await here.ask(STATS)
    return here.page("overview.html", "overview", twin=twin(STATS), stats=answer.body)
