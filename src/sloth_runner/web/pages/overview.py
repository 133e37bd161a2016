"""Why: one look tells how things are: how much there is, who holds what, what ran last, what drifted."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.web import drawing
from sloth_runner.web.api import keys, locks, runs
from sloth_runner.web.pages import Here, twin

if TYPE_CHECKING:
    from starlette.responses import Response

RUNS = 6


async def overview(here: Here) -> Response:
    """``/``."""
    here.read()
    stats = await here.house.desk.do(keys.known, here.house)
    held = await here.ask(locks.LIST)
    latest = await here.ask(runs.LIST, limit=RUNS)
    house = here.house
    return here.page(
        "overview.html",
        "overview",
        twin=twin(keys.STATS),
        stats=stats,
        locks=held.body["locks"],
        runs=latest.body["runs"],
        chart=drawing.chart(house.pulse.minutes(), house.pulse.since),
        last=house.checks.last,
        loading=sum(shelf.read for shelf in house.index.shelves() if not shelf.loaded),
        ready=house.index.listed and all(shelf.loaded for shelf in house.index.shelves()),
    )
