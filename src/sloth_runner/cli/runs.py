"""Why: what a run did can be looked up later, in the same form in which it was told."""

from __future__ import annotations

from sloth_runner.cli import progress, suggestions, text
from sloth_runner.cli.base import COUNT, output_option
from sloth_runner.cli.shell import Document, Shell
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents import runs as told
from sloth_runner.engine import records
from sloth_runner.errors import UsageError
from sloth_runner.moments import parse_moment
from sloth_runner.names import choice
from sloth_runner.plain import Any


@command("list")
@option("--stack", metavar="NAME", complete=suggestions.stacks, help="Only runs of this stack.")
@option("--limit", type=COUNT, default=20, shown="20", metavar="N", help="At most N runs.")
@output_option
def list_runs(shell: Shell, stack: str | None, limit: int) -> None:
    """List runs, the newest first."""
    heads = told.heads(shell.app(), stack=stack, limit=limit)
    if shell.mode == "jsonl":
        for head in heads:
            shell.record("run", head)
        return
    if shell.mode == "json":
        shell.document("runs.list", told.listing(shell.app(), heads, stack))
        return
    headers = ["RUN", "STACK", "STATUS", "STARTED", "TOOK", "TASKS", "BY"]
    shell.table(headers, [_cells(shell, row) for row in heads], flexible=(1, 5, 6))
    if not heads and stack:
        names = [str(row["stack"]) for row in told.stacks(shell.app())]
        shell.say("; ".join([f"no runs of the stack {stack}", *choice(stack, names, "the stacks are")]))
    elif not heads and shell.human:
        shell.say("no runs yet")


@command("show")
@argument("run", default="last", complete=suggestions.runs)
@output_option
def show(shell: Shell, run: str) -> None:
    """Show what RUN did (last, if none is named): each task, its changes, its error."""
    document = told.public(told.find(shell.app(), run))
    if shell.structured:
        shell.document("run", told.shown(shell.app(), document))
        return
    if not shell.human:
        rows = [
            [t["agent"], t["name"], t["status"], _took(shell, t["seconds"]), t["reason"] or "-"]
            for t in document["tasks"]
        ]
        shell.table([], rows)
        return
    by, died = document["by"], document["status"] == "died"
    pairs = [
        ("stack", document["stack"]),
        ("file", document["file"]),
        ("status", _status(document) + (": its process is gone, and recorded no end" if died else "")),
        ("started", shell.moment(parse_moment(document["started"]))),
        ("took", _took(shell, document["seconds"])),
        ("by", f"{by['user']}@{by['host']}"),
    ]
    if document.get("resumes"):
        pairs.append(("resumes", document["resumes"]))
    shell.fields(f"run {document['run']}", pairs)
    shell.print()
    for line in progress.account(document, shell.columns, shell.color):
        shell.print(line)


@command("logs")
@argument("run", default="last", complete=suggestions.runs)
@option("--task", metavar="NAME", help="Only this task's lines.")
@output_option
def logs(shell: Shell, run: str, task: str | None) -> None:
    """Print what the tasks of RUN said (last, if none is named)."""
    document = records.show_run(shell.app().store(), run)
    names = {str(one["name"]) for one in document["tasks"]}
    if task is not None and task not in names:
        raise UsageError(
            f"--task: the run {document['run']} has no task {task!r}",
            next=choice(task, names, "the tasks are"),
        )
    lines = told.lines(document, task)
    if shell.mode == "jsonl":
        for line in lines:
            shell.record("task.output", line)
    elif shell.mode == "json":
        shell.document("runs.logs", told.logs(shell.app(), document, lines))
    elif shell.mode == "plain":
        shell.table([], [[ln["time"], ln["agent"], ln["task"], ln["stream"], ln["text"]] for ln in lines])
    else:
        for line in lines:
            for shown in progress.output_lines(
                line["agent"], line["task"], line["stream"], line["text"], shell.color
            ):
                shell.print(shown)


def _cells(shell: Shell, row: Document) -> list[str]:
    by: Any = row["by"] or {}
    return [
        row["run"],
        row["stack"],
        _status(row),
        shell.moment(parse_moment(row["started"])),
        _took(shell, row["seconds"]),
        _tasks(shell, row),
        f"{by.get('user', '-')}@{by.get('host', '-')}",
    ]


def _tasks(shell: Shell, row: Document) -> str:
    if row["status"] in ("running", "died"):
        return "-"
    return progress.counts(row["summary"], brief=shell.human)


def _status(row: Document) -> str:
    return str(row["status"])


def _took(shell: Shell, seconds: float) -> str:
    return text.took(seconds) if shell.human else f"{seconds:.3f}"
