"""Why: what differs on machines from what was applied is seen by agent, and looked for again when somebody asks."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.web.api import machines
from sloth_runner.web.given import TEXT, Param
from sloth_runner.web.pages import Here, begin, go, twin

if TYPE_CHECKING:
    from starlette.responses import Response


async def drift(here: Here) -> Response:
    """``/drift``."""
    given = here.read(Param("show", TEXT, "Which resources.", default="drifted", words=("drifted", "all")))
    recorded = await here.ask(machines.RESOURCES)
    checks = here.house.checks
    body = checks.last.body if checks.last else None
    rows = (
        []
        if body is None
        else [r for r in body["resources"] if given["show"] == "all" or r["status"] != "ok"]
    )
    return here.page(
        "drift.html", "drift", twin=twin(machines.LAST_CHECK) if body else twin(machines.RESOURCES),
        given=given, last=checks.last, since=checks.since, failed=checks.failed, rows=rows, body=body,
        recorded=recorded.body["count"],
    )  # fmt: skip


async def check(here: Here) -> Response:
    """Look now; the page that comes shows that it is under way, and then what was found."""
    await here.form()

    await begin(here, machines.CHECK, here.house.checks, "drift")
    return go("/drift")


async def resource(here: Here) -> Response:
    """``/resource``."""
    given = here.read(*machines.RESOURCE.params)
    answer = await here.ask(machines.RESOURCE, **given)
    return here.page(
        "resource.html",
        "drift",
        twin=twin(machines.RESOURCE, **given),
        row=answer.body["resource"],
        given=given,
    )
