"""Why: what a run did, and does just now, is followed: its tasks over time, what they said, changed and why
they failed."""

from __future__ import annotations

import shlex

from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.layout import LOCAL
from sloth_runner.web import drawing, graphs
from sloth_runner.web.api import runs
from sloth_runner.web.given import COUNT, TEXT, Param
from sloth_runner.web.pages import Here, twin

if TYPE_CHECKING:
    from starlette.responses import Response

    from sloth_runner.documents import Document

LINES = 5000
"""Lines of a log that the page shows; the last ones."""


async def listing(here: Here) -> Response:
    """``/runs``."""
    given = here.read(runs.LIST.params[0], Param("limit", COUNT, "At most so many.", default=50))
    answer = await here.ask(runs.LIST, **given)
    stacks = await here.ask(runs.STACKS)
    return here.page(
        "runs.html", "runs", twin=twin(runs.LIST, **given), runs=answer.body["runs"],
        stacks=stacks.body["stacks"], given=given,
    )  # fmt: skip


async def show(here: Here) -> Response:
    """``/runs/RUN``."""
    here.read()
    run = here.request.path_params["run"]
    answer = await here.ask(runs.SHOW, run=run)
    document: Any = answer.body
    lines = sorted(
        ({"agent": t["agent"], "task": t["name"], **line} for t in document["tasks"] for line in t["log"]),
        key=lambda line: line["time"],
    )
    return here.page(
        "run.html", "runs", twin=twin(runs.SHOW, run=document["run"]), run=document,
        waterfall=drawing.waterfall(document, here.house.clock()),
        lines=lines[-LINES:], cut=max(0, len(lines) - LINES),
        failed=[task for task in document["tasks"] if task["error"]]
        + [{"name": "on_complete", "agent": LOCAL, "error": error} for error in document.get("hook_errors", ())],
        resume=_resume(document),
        agents=len({task["agent"] for task in document["tasks"]}),
    )  # fmt: skip


async def graph(here: Here) -> Response:
    """``/graph``."""
    given = here.read(Param("stack", TEXT, "The stack."))
    stacks = (await here.ask(runs.STACKS)).body["stacks"]
    if given["stack"] is None and stacks:
        newest = max(stacks, key=lambda stack: stack["last_run"] or "")
        given["stack"] = newest["stack"]
    if given["stack"] is None:
        return here.page("graph.html", "graph", given=given, stacks=[], body=None, drawn=None)
    answer = await here.ask(runs.GRAPH, **given)
    drawn = graphs.layout(answer.body["nodes"], answer.body["edges"])
    return here.page(
        "graph.html",
        "graph",
        twin=twin(runs.GRAPH, **given),
        given=given,
        stacks=stacks,
        body=answer.body,
        drawn=drawn,
    )


def _resume(run: Document) -> str | None:
    """The command that goes on with a run; None: there is nothing to go on with."""
    if run["status"] in ("ok", "running"):
        return None
    return shlex.join(["sloth-runner", "run", "-f", run["file"], run["stack"], "--resume", run["run"]])
