"""Why: what runs did, and do just now, and what their stacks are made of."""

from __future__ import annotations

from sloth_runner.documents import graph as drawn
from sloth_runner.documents import runs as told
from sloth_runner.engine import records
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.web.api import Operation
from sloth_runner.web.given import COUNT, TEXT, Given, Param
from sloth_runner.web.replies import Answer

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House

RUN = Param("run", TEXT, "A run's id, the start of one, or last.", default="last")


def listing(app: App, house: House, given: Given) -> Answer:
    """``runs list``."""
    found = told.heads(app, stack=given["stack"], limit=given["limit"])
    return Answer("runs.list", told.listing(app, found, given["stack"]))


def show(app: App, house: House, given: Given) -> Answer:
    """``runs show``."""
    return Answer("run", told.shown(app, told.public(told.find(app, given["run"]))))


def logs(app: App, house: House, given: Given) -> Answer:
    """``runs logs``."""
    document = records.show_run(app.store(), given["run"])
    return Answer("runs.logs", told.logs(app, document, told.lines(document, given["task"])))


def stacks(app: App, house: House, given: Given) -> Answer:
    """``stack list``."""
    return Answer("stack.list", told.stack_listing(app, told.stacks(app)))


def graph(app: App, house: House, given: Given) -> Answer:
    """``stack graph``."""
    return Answer("stack.graph", drawn.graph(app, given["stack"]))


LIST = Operation(
    "GET", "/runs", "listRuns", "Runs, the newest first.", listing, ("runs.list",), "runs list --limit N",
    (Param("stack", TEXT, "Only runs of this stack."), Param("limit", COUNT, "At most so many.", default=20)),
)  # fmt: skip
SHOW = Operation(
    "GET", "/run", "showRun", "What a run did, task by task.", show, ("run",), "runs show RUN", (RUN,)
)
LOGS = Operation(
    "GET", "/run/logs", "runLogs", "What the tasks of a run said.", logs, ("runs.logs",), "runs logs RUN",
    (RUN, Param("task", TEXT, "Only this task's lines.")),
)  # fmt: skip
STACKS = Operation(
    "GET",
    "/stacks",
    "listStacks",
    "Stacks, and how their last runs ended.",
    stacks,
    ("stack.list",),
    "stack list",
)
GRAPH = Operation(
    "GET", "/graph", "stackGraph", "Tasks of a stack, and the resources and keys that they made.", graph,
    ("stack.graph",), "stack graph NAME", (Param("stack", TEXT, "The stack.", required=True),),
)  # fmt: skip
OPERATIONS = (LIST, SHOW, LOGS, STACKS, GRAPH)
