"""Why: a graph of tasks, resources and keys is laid out here, by layers, so that it is a picture without a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sloth_runner.plain import Any, NamedTuple

BOX, GAP, ROW, HIGH, HEAD = 150, 50, 34, 24, 26
SWEEPS = 4
LETTERS = 20
"""Characters that fit into a box."""
KINDS = ("task", "resource", "key")
WORDS = {"task": "Tasks", "resource": "Resources", "key": "Keys"}


class Box(NamedTuple):
    """A node in its place."""

    id: str
    kind: str
    name: str
    where: str
    status: str | None
    text: str
    x: float
    y: float


class Edge(NamedTuple):
    """A curve from one box to another, as an SVG path."""

    start: str
    end: str
    path: str


class Drawn(NamedTuple):
    """A graph in its place. ``heads``: words over what stands below them."""

    boxes: list[Box]
    edges: list[Edge]
    heads: list[tuple[float, float, str]]
    width: float
    height: float


def layout(nodes: Sequence[Mapping[str, Any]], edges: Sequence[Mapping[str, str]]) -> Drawn:
    """Tasks from left to right by what they depend on, then resources, then keys; within a column near their
    neighbours."""
    links = [(edge["from"], edge["to"]) for edge in edges]
    column = _columns(nodes, links)
    columns: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for node in nodes:
        columns[column[node["id"]]].append(node["id"])
    columns = [names for names in columns if names]
    _order(columns, links)
    by_id = {node["id"]: node for node in nodes}
    place, heads = _places(columns, by_id)
    named = Counter((node["kind"], node["name"]) for node in nodes)
    boxes = [_box(by_id[name], *place[name], named) for names in columns for name in names]
    curves = [Edge(a, b, _path(place[a], place[b])) for a, b in links]
    width = max(1, len(columns)) * (BOX + GAP) - GAP + 2
    height = max((y for _, y in place.values()), default=0) + ROW
    return Drawn(boxes, curves, heads, width, height)


def _columns(nodes: Sequence[Mapping[str, Any]], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    """A column for each node: tasks by the longest way to them; resources and keys share one behind all tasks."""
    kinds = {node["id"]: node["kind"] for node in nodes}
    before: dict[str, list[str]] = {name: [] for name in kinds}
    for start, end in links:
        if kinds[start] == kinds[end] == "task":
            before[end].append(start)
    depth: dict[str, int] = {}

    def deep(name: str, seen: frozenset[str]) -> int:
        if name not in depth:
            inner = [deep(one, seen | {name}) + 1 for one in before[name] if one not in seen]
            depth[name] = max(inner, default=0)
        return depth[name]

    tasks = [name for name, kind in kinds.items() if kind == "task"]
    last = max((deep(name, frozenset()) for name in tasks), default=-1)
    return {name: depth[name] if kind == "task" else last + 1 for name, kind in kinds.items()}


def _order(columns: list[list[str]], links: Sequence[tuple[str, str]]) -> None:
    """Put each node near the middle of its neighbours, forth and back."""
    near: dict[str, list[str]] = {name: [] for names in columns for name in names}
    for start, end in links:
        near[start].append(end)
        near[end].append(start)
    for sweep in range(SWEEPS):
        rank = {name: y for names in columns for y, name in enumerate(names)}
        for names in columns if sweep % 2 == 0 else reversed(columns):

            def middle(name: str, rank: Mapping[str, int] = rank) -> float:
                others = [rank[one] for one in near[name]]
                return sum(others) / len(others) if others else rank[name]

            names.sort(key=middle)
            rank |= {name: y for y, name in enumerate(names)}


def _box(node: Mapping[str, Any], x: float, y: float, named: Mapping[tuple[str, str], int]) -> Box:
    """A node in its place; what is on several machines says on which."""
    name = str(node["name"])
    text = name if named[node["kind"], node["name"]] == 1 else f"{name} @ {node['where']}"
    text = text if len(text) <= LETTERS else "…" + text[1 - LETTERS :]
    return Box(node["id"], node["kind"], name, node["where"], node["status"], text, x, y)


def _path(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + BOX, start[1] + HIGH / 2
    x2, y2 = end[0], end[1] + HIGH / 2
    bend = max(30.0, abs(x2 - x1) / 2)
    return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"


def _places(
    columns: Sequence[list[str]], by_id: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, tuple[float, float]], list[tuple[float, float, str]]]:
    """Where each box stands, and where a word says what comes below it: keys under the resources."""
    place: dict[str, tuple[float, float]] = {}
    heads: list[tuple[float, float, str]] = []
    known: set[str] = set()
    for number, names in enumerate(columns):
        x, y = float(number * (BOX + GAP)), 0.0
        names.sort(key=lambda name: KINDS.index(by_id[name]["kind"]))
        for name in names:
            kind = by_id[name]["kind"]
            if kind not in known or not y:
                if kind not in known:
                    heads.append((x, y + 14, WORDS[kind]))
                    known.add(kind)
                y += HEAD
            place[name] = (x, y)
            y += ROW
    return place, heads
