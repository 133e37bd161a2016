"""Why: a plan is read by people who decide whether to go on: each change in its place, totals last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sloth_runner.cli import problems
from sloth_runner.cli.progress import diff_line, head, output_lines
from sloth_runner.cli.text import count, pictures, styled
from sloth_runner.plain import Any

Document = Mapping[str, Any]
MARKS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "delete": ("-", "red"),
    "none": ("=", "dim"),
    "unknown": ("?", "cyan"),
}


def lines(
    document: Document, columns: int, color: bool, *, verbose: bool, quiet: bool = False
) -> Iterator[str]:
    """The plan as text; ``verbose`` adds what would not change and what tasks would print, ``quiet`` leaves only what
    would fail and the summary."""
    if not quiet:
        yield styled(f"plan of stack {document['stack']}, {document['file']}", "bold", color)
    for task in document["tasks"]:
        if not quiet or task["error"] is not None:
            yield from _task(task, columns, color, verbose=verbose)
            if quiet:
                yield ""
    if not quiet:
        yield ""
    yield styled(summary(document), "bold", color)


def summary(document: Document) -> str:
    """``2 to create, 1 to update, 0 to delete, 0 unknown; state: 1 write``; and whether that is all."""
    found = document["summary"]
    text = f"{found['create']} to create, {found['update']} to update, {found['delete']} to delete, "
    text += f"{found['unknown']} unknown; state: {count(int(found['state']), 'write')}"
    if any(task["error"] is not None for task in document["tasks"]):
        return f"{text}; a run would fail"
    return text if document["complete"] else f"{text}; not complete: see what is unknown"


def _task(task: Document, columns: int, color: bool, *, verbose: bool) -> Iterator[str]:
    where = head(str(task["agent"]), str(task["name"]), color)
    shown = [a for a in task["actions"] if verbose or a["action"] != "none" or a["drifted"]]
    quiet = not shown and not task["state"] and task["stopped_at"] is None and task["error"] is None
    if task["status"] in ("skipped", "unknown") and task["stopped_at"] is None:
        yield f"{where} {styled(task['status'], 'dim', color)}: {pictures(str(task['reason']))}"
        return
    yield where + (styled(" no change", "dim", color) if quiet else "")
    for action in shown:
        yield from _action(action, color)
    for change in task["state"]:
        yield f"  {styled('state', 'cyan', color)} {_state(change)}"
    for line in task["log"]:
        if verbose or line["stream"] in ("warn", "error") or line["text"].startswith("would "):
            said = line["text"] if line["stream"] != "print" else f"would print: {line['text']}"
            yield from output_lines(task["agent"], task["name"], line["stream"], said, color)
    if task["stopped_at"] is not None:
        stop = task["stopped_at"]
        at = f" from line {stop['line']} on" if stop["line"] else ""
        yield f"  {styled('?', 'cyan', color)} unpredictable{at}: {pictures(str(stop['reason']))}"
    if task["error"] is not None:
        yield from problems.lines({**task["error"], "target": None}, columns, color)


def _action(action: Document, color: bool) -> Iterator[str]:
    mark, style = MARKS[action["action"]]
    reason = f" ({pictures(str(action['reason']))})" if action["reason"] else ""
    line = f" line {action['line']}" if action["line"] else ""
    address = pictures(str(action["title"] or action["address"]))
    yield f"  {styled(mark, style, color)} {address}{styled(line, 'dim', color)}{reason}"
    for row in action["attributes"]:
        if row["name"] != "content" or not action["diff"]:
            yield f"      {attribute(row, action['action'])}"
    if action["note"]:
        yield f"      {pictures(str(action['note']))}"
    for text in str(action["diff"] or "").splitlines():
        yield f"      {diff_line(text, color)}"


def attribute(row: Document, action: str) -> str:
    """One attribute: its value where the thing is made or removed, else before and after."""
    from sloth_runner.engine.job import changing, shown

    name = pictures(str(row["name"]))
    if action == "create":
        return f"{name}: {pictures(shown(row['after']))}"
    if action == "delete":
        return f"{name}: {pictures(shown(row['before']))}"
    return f"{name}: {pictures(changing(row['before'], row['after']))}"


def _state(change: Document) -> str:
    key = pictures(str(change["key"]))
    if change["sensitive"]:
        return f"{change['op']} {key} (sensitive)"
    if change["op"] == "delete":
        return f"delete {key}"
    from json import dumps

    new = pictures(dumps(change["new"], ensure_ascii=False))
    return f"{change['op']} {key} = {new if len(new) <= 80 else new[:79] + '…'}"


def markdown(document: Document) -> Iterator[str]:
    """The plan as Markdown, for a review or a pull request."""
    yield f"## Plan of stack `{document['stack']}`"
    yield ""
    yield summary(document)
    for task in document["tasks"]:
        shown = [a for a in task["actions"] if a["action"] != "none" or a["drifted"]]
        if not (shown or task["state"] or task["stopped_at"] or task["error"]):
            continue
        yield ""
        yield f"### `{task['name']}` on `{task['agent']}`"
        yield ""
        for action in shown:
            yield from _markdown_action(action)
        for change in task["state"]:
            yield f"- state: {_code(_state(change))}"
        if task["stopped_at"] is not None:
            yield f"- unpredictable from line {task['stopped_at']['line']} on: {task['stopped_at']['reason']}"
        if task["error"] is not None:
            yield f"- would fail: {task['error']['code']}: {task['error']['message']}"


def _markdown_action(action: Document) -> Iterator[str]:
    reason = f": {action['reason']}" if action["reason"] else ""
    yield f"- {action['action']} {_code(str(action['title'] or action['address']))} (line {action['line']}){reason}"
    rows = [row for row in action["attributes"] if row["name"] != "content" or not action["diff"]]
    for row in rows:
        yield f"  - {_code(attribute(row, action['action']))}"
    if action["note"]:
        yield f"  - {_code(str(action['note']))}"
    if action["diff"]:
        fence = "```"
        while fence in action["diff"]:
            fence += "`"
        yield ""
        yield f"  {fence}diff"
        for text in str(action["diff"]).splitlines():
            yield f"  {pictures(text)}"
        yield f"  {fence}"


def _code(text: str) -> str:
    """Text as code; backticks in it need a longer fence."""
    fence = "`"
    while fence in text:
        fence += "`"
    shown = pictures(text)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
