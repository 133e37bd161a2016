"""Why: a run is told line by line as it goes: what tasks say, how they end, and at last what it came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sloth_runner.cli.shell import Shell, flush
from sloth_runner.cli.text import count, pictures, styled, took
from sloth_runner.durations import human
from sloth_runner.model import Event
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.cli.live import Live

Document = Mapping[str, Any]
_MARKS = {
    "ok": ("✓", "green"),
    "changed": ("●", "yellow"),
    "failed": ("✗", "red"),
    "unreachable": ("!", "red"),
    "skipped": ("○", "dim"),
    "running": ("▶", "cyan"),
    "waiting": ("·", "dim"),
}
_LEVELS = {"warn": ("warning: ", "yellow"), "error": ("error: ", "red"), "debug": ("debug: ", "dim")}
MOST_TASKS = 6
"""Running tasks that the live area names."""


class Progress:
    """Hears the events of a run and writes its lines: as the result, or beside it (``aside``, to standard error).

    ``quiet`` leaves only failures and the summary; ``verbose`` adds debug lines and calls that changed nothing;
    ``diffs`` adds what calls changed.
    """

    def __init__(self, shell: Shell, *, aside: bool, quiet: bool, verbose: bool, diffs: bool) -> None:
        world = shell.world
        self._shell = shell
        self._aside = aside
        self._quiet = quiet
        self._verbose = verbose
        self._diffs = diffs
        self._color = shell.error_color if aside else shell.color
        self._live: Live | None = None
        self._tty = (world.stderr_tty if aside else world.stdout_tty) and world.environ.get("TERM") != "dumb"
        self._stream = world.stderr if aside else world.stdout
        self._running: dict[tuple[str, str], tuple[float, str]] = {}
        self._done = 0
        self._total = 0
        self._began = world.clock()

    def emit(self, event: Event) -> None:
        """Take in one event."""
        agent, task, data = event.agent or "", event.task or "", event.data
        if event.kind == "run.started":
            self._begin(data)
        elif event.kind == "task.started":
            self._running[agent, task] = (event.time, "")
            self._put([])
        elif event.kind == "task.output":
            self._output(agent, task, data)
        elif event.kind == "call.finished":
            self._call(agent, task, data)
        elif event.kind == "task.finished":
            self._done += 1
            self._running.pop((agent, task), None)
            self._put([task_line(agent, task, data, self._color)])

    def close(self) -> None:
        """Take the live area away."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def finish(self, document: Document, resume: str) -> None:
        """The end of the account: failures together, how to go on (``resume``; "": no need), the summary last."""
        self.close()
        for line in traffic_lines(document, self._color) if self._verbose else ():
            self._line(line)
        for line in ending(document, resume, self._shell.columns, self._color):
            self._line(line)

    def _begin(self, data: Document) -> None:
        self._total = int(data["tasks"])
        self._began = self._shell.world.clock()
        if not self._quiet:
            on = ", ".join(str(target) for target in data["targets"]) or "nothing"
            title = f"stack {data['stack']}, run {data['run']}"
            self._line(styled(title, "bold", self._color))
            self._line(f"{count(self._total, 'task')} of {data['file']} on {on}")
        if self._tty:
            from sloth_runner.cli.live import Live

            self._live = Live(self._stream, self._shell.world.columns, self._area)

    def _output(self, agent: str, task: str, data: Document) -> None:
        stream, said = str(data["stream"]), str(data["text"])
        if (agent, task) in self._running:
            last = _left_standing(said.rstrip("\r\n").rpartition("\n")[2])
            self._running[agent, task] = (self._running[agent, task][0], last)
        if stream != "debug" or self._verbose:
            self._put(list(output_lines(agent, task, stream, said, self._color)))

    def _call(self, agent: str, task: str, data: Document) -> None:
        if not (data["changed"] or self._verbose) or (self._quiet and self._live is None):
            return
        mark = "!" if data.get("failed") else "+" if data["changed"] else "="
        message = f": {data['message']}" if data.get("message") else ""
        target = f" {data['target']}" if data.get("target") not in (None, "", agent) else ""
        where = head(agent, task, self._color)
        lines = [f"{where} {mark} {data['module']}{pictures(target + message)}"]
        if self._diffs and data.get("diff"):
            lines += [f"    {diff_line(line, self._color)}" for line in str(data["diff"]).splitlines()]
        self._put(lines)

    def _put(self, lines: list[str]) -> None:
        if self._quiet:
            lines = []
        if self._live is not None:
            self._live.lines(lines)
            return
        for line in lines:
            self._line(line)
        flush(self._stream)

    def _line(self, line: str) -> None:
        if self._aside:
            self._shell.say(line)
        else:
            self._shell.print(line)

    def _area(self) -> list[str]:
        now = self._shell.world.clock()
        lines = [f"{self._done} of {self._total} done, {human(max(0.0, now - self._began))}"]
        running = list(self._running.items())
        for (agent, task), (began, last) in running[:MOST_TASKS]:
            line = f"  [{agent}] {task}  {human(max(0.0, now - began))}  {pictures(last)}"
            lines.append(line.rstrip())
        if len(running) > MOST_TASKS:
            lines.append(f"  and {len(running) - MOST_TASKS} more")
        return lines


def output_lines(agent: str, task: str, stream: str, said: str, color: bool) -> Iterator[str]:
    """What a task said: ``[agent] task | text``, for each line of it."""
    label, style = _LEVELS.get(stream, ("", ""))
    for line in said.rstrip("\n").split("\n"):
        shown = label + pictures(_left_standing(line).expandtabs(4))
        yield f"{head(agent, task, color)} | {styled(shown, style, color) if style else shown}"


def _left_standing(line: str) -> str:
    """What a terminal shows in the end of a line that a program wrote over again and again."""
    return line.rstrip("\r").rpartition("\r")[2]


def head(agent: str, task: str, color: bool) -> str:
    """``[agent] task``; for what belongs to no task, the run itself."""
    return styled(f"[{agent or 'run'}]", "cyan", color) + (f" {task}" if task else "")


def task_line(agent: str, task: str, data: Document, color: bool) -> str:
    """How a task ended, in a symbol and a word, with the reason."""
    status = str(data["status"])
    mark, style = _MARKS.get(status, ("?", "dim"))
    parts = [styled(f"{mark} {status}", style, color)]
    writes = int(data.get("state_writes") or 0)
    if writes:
        parts.append(count(writes, "state write"))
    if status not in ("skipped", "running", "waiting"):
        parts.append(took(float(data["seconds"])))
    reason = pictures(str(data["reason"])) if data.get("reason") else ""
    return f"{head(agent, task, color)} {', '.join(parts)}" + (f": {reason}" if reason else "")


def account(document: Document, columns: int, color: bool) -> list[str]:
    """A finished run: how each task ended, the failures, the summary."""
    lines = [
        task_line(t["agent"], t["name"], {**t, "state_writes": len(t["state"])}, color)
        for t in document["tasks"]
    ]
    return lines + ending(document, "", columns, color)


def ending(document: Document, resume: str, columns: int, color: bool) -> list[str]:
    """Failures together, then what to do next, then the summary, which is the last line."""
    lines = _failures(document["tasks"], columns, color)
    for error in document.get("hook_errors", ()):
        lines += ["", f"{head('', 'on_complete', color)} {styled('failed', 'red', color)}"]
        lines += _problem({**error, "target": None}, columns, color)
    lost = document.get("lost")
    if lost:
        if lost["unrecorded"] or not _is_told(lost["error"], document["tasks"]):
            lines += ["", *_problem(lost["error"], columns, color)]
        if lost["locks"]:
            lines.append(f"  locks that end by themselves: {pictures(', '.join(lost['locks']))}")
    if resume:
        lines += ["", f"to go on where it stopped: {resume}"]
    if lines:
        lines.append("")
    return [*lines, styled(summary(document), "bold", color)]


def _is_told(error: Document, tasks: Iterable[Document]) -> bool:
    """Whether it is what one of the tasks has failed with."""
    return any(task["error"] and task["error"]["message"] == error["message"] for task in tasks)


def _failures(tasks: Iterable[Document], columns: int, color: bool) -> list[str]:
    """What failed and why; what is the same on several machines stands there once, with their names."""
    told: dict[tuple[str, ...], list[str]] = {}
    for task in tasks:
        if task["error"] is not None:
            title = f"{task['name']} {styled(task['status'], 'red', color)}"
            problem = _problem({**task["error"], "target": None}, columns, color)
            told.setdefault((title, *problem), []).append(task["agent"])
    lines: list[str] = []
    for (title, *problem), agents in told.items():
        lines += ["", head(", ".join(agents), title, color), *problem]
    return lines


def _problem(error: Document, columns: int, color: bool) -> list[str]:
    from sloth_runner.cli import problems

    return problems.lines(error, columns, color)


def traffic_lines(document: Document, color: bool) -> list[str]:
    """What went over the line to each other machine."""
    lines = []
    for target in document.get("targets", ()):
        traffic = target["traffic"]
        if traffic is not None:
            bytes_ = f"{traffic['bytes_sent']:,} bytes there, {traffic['bytes_received']:,} back"
            trips = count(traffic["round_trips"], "round trip")
            lines.append(f"{head(target['agent'], target['address'], color)} {trips}, {bytes_}")
    return lines


def summary(document: Document) -> str:
    """``3 ok, 1 changed, 0 failed, 1 skipped; state: 2 writes; 0.4s``."""
    figures = document["summary"]
    writes = count(int(figures["state_writes"]), "write")
    before = "interrupted: " if document["status"] == "interrupted" else ""
    hook = ", on_complete failed" if document.get("hook_errors") else ""
    return f"{before}{counts(figures)}{hook}; state: {writes}; {took(float(document['seconds']))}"


def counts(figures: Document, *, brief: bool = False) -> str:
    """``3 ok, 1 changed, 0 failed, 1 skipped``; ``brief``: without those of which there are none."""
    names = [name for name in ("ok", "changed", "failed", "skipped") if figures[name] or not brief]
    return ", ".join(f"{figures[name]} {name}" for name in names) or "none"


def diff_line(line: str, color: bool) -> str:
    """A line of a unified diff."""
    style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    shown = pictures(line)
    return styled(shown, style, color) if style else shown
