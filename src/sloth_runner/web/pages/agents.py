"""Why: which machines there are, and whether they answer, is seen and asked for in one place."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.web.api import keys, machines
from sloth_runner.web.pages import Here, begin, go, twin

if TYPE_CHECKING:
    from starlette.responses import Response


async def listing(here: Here) -> Response:
    """``/agents``."""
    here.read()
    answer = await here.ask(machines.AGENTS)
    stats = await here.house.desk.do(keys.known, here.house)
    checks = here.house.reached
    found = {} if checks.last is None else {row["name"]: row for row in checks.last.body["agents"]}
    rows = [found.get(row["name"], row) for row in answer.body["agents"]]
    return here.page(
        "agents.html", "agents", twin=twin(machines.AGENTS), agents=rows, last=checks.last, since=checks.since,
        failed=checks.failed, figures={row["namespace"]: row for row in stats["namespaces"]},
    )  # fmt: skip


async def check(here: Here) -> Response:
    """Try to reach all of them now."""
    await here.form()
    await begin(here, machines.REACH, here.house.reached, "agents")
    return go("/agents")
