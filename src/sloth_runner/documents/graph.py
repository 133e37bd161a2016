"""Why: what a stack consists of is seen as a graph: its tasks, the resources that they keep, the keys that
they write."""

from __future__ import annotations

from sloth_runner.documents import Document
from sloth_runner.engine import records
from sloth_runner.errors import BadStack
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import SHARED
from sloth_runner.state.ledger_queries import claimed, entries

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.store import Store

RUNS = 10
"""Earlier runs whose writes are looked at."""


class _Drawing:
    """Nodes and edges, each once, in the order in which they are met."""

    def __init__(self) -> None:
        self.nodes: dict[str, Document] = {}
        self.edges: dict[tuple[str, str], None] = {}

    def node(self, kind: str, name: str, where: str, status: str | None = None) -> str:
        key = f"{kind}:{where}:{name}"
        node = self.nodes.setdefault(
            key, {"id": key, "kind": kind, "name": name, "where": where, "status": status}
        )
        node["status"] = node["status"] or status
        return key

    def edge(self, start: str, end: str) -> None:
        if start != end:
            self.edges[start, end] = None


def graph(app: App, stack: str) -> Document:
    """``stack.graph``: of the last runs of a stack, and the ledger. Raises BadStack."""
    store = app.store()
    found = records.find_stack(store, stack)
    if found is None:
        known = [str(row["stack"]) for row in records.list_stacks(store)]
        raise BadStack(f"there is no stack {stack!r}", next=did_you_mean(stack, known))
    drawing = _Drawing()
    heads = records.list_runs(store, stack=stack, limit=RUNS)
    for head in heads:
        _add_run(drawing, records.show_run(store, str(head["run"])), newest=head is heads[0])
    for agent in app.namespaces():
        if agent != SHARED:
            _add_resources(drawing, store, agent, str(found[0]["id"]))
    return {
        "store": app.stores.name,
        "stack": stack,
        "run": heads[0]["run"] if heads else None,
        "nodes": list(drawing.nodes.values()),
        "edges": [{"from": start, "to": end} for start, end in drawing.edges],
    }


def _add_run(drawing: _Drawing, run: Document, *, newest: bool) -> None:
    """All tasks of the newest run; of earlier ones, what the same tasks wrote."""
    tasks = {(task["name"], task["agent"]): task for task in run["tasks"]}
    for (name, agent), task in tasks.items():
        if not newest and f"task:{agent}:{name}" not in drawing.nodes:
            continue
        node = drawing.node("task", name, agent, task["status"] if newest else None)
        for change in task["state"]:
            drawing.edge(node, drawing.node("key", change["key"], change["namespace"]))
        if newest:
            for before in task.get("depends_on", ()):
                for other in (a for n, a in tasks if n == before):
                    drawing.edge(drawing.node("task", before, other), node)


def _add_resources(drawing: _Drawing, store: Store, agent: str, stack: str) -> None:
    for entry in entries(store, agent):
        view = claimed(entry, stack)
        if view is None or view.by[4] is None:
            continue
        task = drawing.node("task", view.by[4], view.agent or agent)
        drawing.edge(task, drawing.node("resource", entry.address, agent))
