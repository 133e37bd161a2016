"""Why: charts are drawn here as plain figures, so that templates only place them: no script, no picture library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sloth_runner.durations import human
from sloth_runner.moments import parse_moment
from sloth_runner.plain import Any, NamedTuple

CHART_WIDTH, CHART_HEIGHT = 600, 90
WIDE, NAME, ROW = 900, 210, 26
LEAST = 2.0
STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600),
)
"""Seconds between two marks of a scale."""


class Bar(NamedTuple):
    """A bar of the chart: where it stands, and what it says."""

    x: float
    y: float
    width: float
    height: float
    at: float
    writes: int


class Chart(NamedTuple):
    """Writes per minute. ``since``: the moment from which on it is complete."""

    bars: list[Bar]
    most: int
    total: int
    since: float | None


class Span(NamedTuple):
    """A task in the waterfall: its place, and what it is."""

    name: str
    agent: str
    status: str
    x: float
    width: float
    y: float
    seconds: float
    anchor: str


class Waterfall(NamedTuple):
    """Tasks over time, those of one agent together. ``ticks``: place and time; ``heads``: place and agent."""

    spans: list[Span]
    heads: list[tuple[float, str]]
    ticks: list[tuple[float, str]]
    height: float


def chart(minutes: Sequence[tuple[float, int]], since: float) -> Chart:
    """Bars for minutes and their counts, the oldest first."""
    most = max((count for _, count in minutes), default=0)
    step = CHART_WIDTH / max(1, len(minutes))
    bars = []
    for index, (at, count) in enumerate(minutes):
        height = 0.0 if not most else (CHART_HEIGHT - 14) * count / most
        if count:
            height = max(LEAST, height)
        bars.append(Bar(index * step + 1, CHART_HEIGHT - height, step - 2, height, at, count))
    complete = not minutes or since <= minutes[0][0]
    return Chart(bars, most, sum(count for _, count in minutes), None if complete else since)


def waterfall(run: Mapping[str, Any], now: float) -> Waterfall | None:
    """The tasks of a run's document over its time; None: none has started."""
    tasks = [task for task in run["tasks"] if task.get("started")]
    if not tasks:
        return None
    begin = min(parse_moment(task["started"]) for task in tasks)
    length = max(max(_end(task, now) for task in tasks) - begin, 0.001)
    scale = (WIDE - NAME - 70) / length
    spans: list[Span] = []
    heads: list[tuple[float, str]] = []
    y = 0.0
    for agent in dict.fromkeys(task["agent"] for task in run["tasks"]):
        heads.append((y + 17, agent))
        y += ROW
        for number, task in enumerate(run["tasks"]):
            if task["agent"] != agent:
                continue
            started = parse_moment(task["started"]) if task.get("started") else None
            seconds = 0.0 if started is None else _end(task, now) - started
            x = 0.0 if started is None else (started - begin) * scale
            width = 0.0 if started is None else max(LEAST, seconds * scale)
            anchor = f"task-{number}"
            spans.append(Span(task["name"], agent, task["status"], NAME + x, width, y, seconds, anchor))
            y += ROW
    ticks = [(NAME + at * scale, _label(at)) for at in _ticks(length)]
    return Waterfall(spans, heads, ticks, y)


def _end(task: Mapping[str, Any], now: float) -> float:
    if task["status"] == "running":
        return max(now, parse_moment(task["started"]))
    return parse_moment(task["started"]) + float(task["seconds"])


def _ticks(length: float) -> list[float]:
    """About four round moments within ``length`` seconds."""
    step = 0.001
    for candidate in STEPS:
        step = candidate
        if length / candidate <= 5:
            break
    count = min(int(length / step), 12)
    return [step * n for n in range(count + 1)]


def _label(at: float) -> str:
    """A moment of the scale, exactly: two marks never say the same."""
    if at < 1:
        return f"{at * 1000:.0f}ms" if at else "0"
    return f"{round(at, 3):g}s" if at < 60 else human(at)


class Cell(NamedTuple):
    """A line on one side of a difference: its number (None: there is none), text and kind ("", "plus", "minus")."""

    number: int | None
    text: str
    kind: str


def sides(diff: str) -> list[tuple[Cell, Cell] | None]:
    """A unified difference as two columns; None stands where lines that are alike were left out."""
    out: list[tuple[Cell, Cell] | None] = []
    minus: list[Cell] = []
    plus: list[Cell] = []
    left = right = 0

    def flush() -> None:
        for index in range(max(len(minus), len(plus))):
            gap = Cell(None, "", "")
            out.append(
                (minus[index] if index < len(minus) else gap, plus[index] if index < len(plus) else gap)
            )
        minus.clear()
        plus.clear()

    for line in diff.split("\n")[2:]:
        mark, text = line[:1], line[1:]
        if mark == "@":
            flush()
            if out:
                out.append(None)
            left, right = _starts(line)
        elif mark == "-":
            minus.append(Cell(left, text, "minus"))
            left += 1
        elif mark == "+":
            plus.append(Cell(right, text, "plus"))
            right += 1
        elif mark == " ":
            flush()
            out.append((Cell(left, text, ""), Cell(right, text, "")))
            left, right = left + 1, right + 1
    flush()
    return out


def _starts(line: str) -> tuple[int, int]:
    """The first lines that a hunk's head (``@@ -1,4 +1,5 @@``) names."""
    words = line.split()
    left, right = (int(word[1:].partition(",")[0]) for word in words[1:3])
    return left, right
