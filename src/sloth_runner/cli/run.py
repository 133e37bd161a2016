"""Why: running a task file, and looking at one without running it."""

from __future__ import annotations

from pathlib import Path

from sloth_runner.cli import suggestions
from sloth_runner.cli.base import DURATION, number, output_option
from sloth_runner.cli.files import (
    file_and_stack,
    file_options,
    run_options,
    selection_options,
    split_list,
)
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.text import count
from sloth_runner.cli.words import PATH, argument, command, option
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.execution.loading import RunOptions
    from sloth_runner.model import Event, Program


@command("run")
@argument("target", metavar="FILE|STACK", required=False, complete=suggestions.task_file)
@option(
    "-f", "--file", type=PATH, metavar="FILE", help="The task file; the argument is the stack's name then."
)
@option("-j", "--jobs", type=number(1000), metavar="N", help="Run up to N independent tasks at once.")
@option("--forks", type=number(10_000), metavar="N", help="Run a task on up to N machines at once.")
@selection_options
@option("-k", "--keep-going", is_flag=True, help="After a failure, run what does not depend on it.")
@option(
    "--resume",
    metavar="RUN",
    complete=suggestions.runs,
    help="Go on with this run: skip the tasks that it finished.",
)
@option("--timeout", type=DURATION, help="Start nothing after this time, and stop what runs.")
@option("--lock-timeout", type=DURATION, help="Wait this long for another run of the stack to end.")
@file_options
@option("--diff", "diffs", is_flag=True, help="Show what calls changed, line by line.")
@option("--check", "--dry-run", "check", is_flag=True, help="Only show what would be done, as plan does.")
@option("--paranoid", is_flag=True, help="Read every file again, even if it seems untouched.")
@option("--detailed-exitcode", is_flag=True, help="With --check: exit with 2 if something would change.")
@option("-v", "--verbose", is_flag=True, help="Also debug lines, and calls that changed nothing.")
@option("-q", "--quiet", is_flag=True, help="Only failures and the summary.")
@option(
    "-y",
    "--yes",
    is_flag=True,
    drop=True,
    help="Accepted for scripts that always give it: run never asks.",
)
@output_option
def run(
    shell: Shell,
    /,
    target: str | None,
    file: Path | None,
    diffs: bool,
    verbose: bool,
    quiet: bool,
    check: bool,
    detailed_exitcode: bool,
    **given: Any,
) -> int:
    """Run the tasks of FILE. What they did is kept under the name of a STACK: with -f FILE the argument, else the
    workflow's name, else the file's.

    Exit status: 0, or 1 if a task failed, 3 if the stack is being run, 5 if the file is wrong, 6 if a store or a
    target can't be reached, 130 if interrupted. Lists of tags and agents are separated by commas.
    """
    if verbose and quiet:
        raise UsageError("-v and -q exclude each other", unchanged=["nothing was run"])
    path, stack = file_and_stack("run", target, file)
    if check:
        _refuse_with_check(given)
        from sloth_runner.cli.plan import show_plan

        options = run_options(shell, path, stack, **given)
        return show_plan(shell, options, verbose=verbose, quiet=quiet, detailed=detailed_exitcode)
    if detailed_exitcode:
        raise UsageError(
            "--detailed-exitcode is for plan, run --check and drift: a run's exit status says how it went",
            unchanged=["nothing was run"],
        )
    every = verbose or shell.mode == "jsonl"
    options = run_options(shell, path, stack, **given)._replace(every_call=every)
    return _run(shell, options, diffs=diffs, verbose=verbose, quiet=quiet)


def _run(shell: Shell, options: RunOptions, *, diffs: bool, verbose: bool, quiet: bool) -> int:
    from sloth_runner.cli.progress import Progress
    from sloth_runner.execution import running

    lines = shell.mode == "jsonl"
    aside = shell.structured
    progress = Progress(shell, aside=aside, quiet=quiet or lines, verbose=verbose, diffs=diffs)

    def emit(event: Event) -> None:
        shell.running = True
        if lines:
            _event_line(shell, event)
        else:
            progress.emit(event)

    try:
        document = running.run(shell.app(options.file), options, emit)
    finally:
        progress.close()
    if shell.mode == "json":
        shell.document("run", {"store": shell.app().stores.name, **document})
    if not lines:
        resume = "" if document["status"] == "ok" else _resume_line(shell, str(document["run"]))
        progress.finish(document, resume)
    return int(document["exit_code"])


def _refuse_with_check(given: dict[str, Any]) -> None:
    for name, flag in (("resume", "--resume"), ("keep_going", "-k")):
        if given[name]:
            raise UsageError(
                f"{flag} has no meaning with --check: a plan looks at all tasks",
                unchanged=["nothing was run"],
            )


def _event_line(shell: Shell, event: Event) -> None:
    from sloth_runner.moments import iso

    row: dict[str, Any] = {"time": iso(event.time), "task": event.task, "agent": event.agent, **event.data}
    if event.kind == "run.finished":
        store = shell.app().stores.name
        row["document"] = {"format": "sloth-runner/run", "version": 1, "store": store, **row["document"]}
    shell.record(event.kind, row)
    shell.flush()


def _resume_line(shell: Shell, run_id: str) -> str:
    """The command as it was typed, resuming this run."""
    import shlex

    words: list[str] = []
    skip = False
    for word in shell.words:
        if skip or word.startswith("--resume="):
            skip = False
        elif word == "--resume":
            skip = True
        else:
            words.append(word)
    return shlex.join([*words, "--resume", run_id])


@command("validate")
@argument("file", type=PATH)
@file_options
@output_option
def validate(shell: Shell, /, file: Path, **given: Any) -> None:
    """Check FILE without running a task: syntax, names, types, dependencies and targets.

    Of the calls in its tasks it is checked whether there are such functions, and what they are given literally; what
    is computed, when it is planned or run.
    """
    program = _load(shell, file, **given)
    if shell.structured:
        body = {"file": program.file, "workflow": program.workflow.name, "tasks": len(program.tasks)}
        shell.document("validate", {"store": shell.app().stores.name, **body})
    else:
        shell.print(f"{file}: {count(len(program.tasks), 'task')}, nothing wrong")
        if not program.tasks:
            from sloth_runner.lua.foreign import NO_TASK

            shell.warn(NO_TASK)


@command("list")
@argument("file", type=PATH)
@file_options
@output_option
def list_tasks(shell: Shell, /, file: Path, **given: Any) -> None:
    """List the tasks of FILE in the order of their definition."""
    program = _load(shell, file, **given)
    default = program.workflow.delegate_to or ("local",)
    targets = given["delegate_to"] and tuple(split_list("--delegate-to", given["delegate_to"]))
    rows: list[dict[str, Any]] = [
        {
            "name": task.name,
            "description": task.description,
            "line": task.site.line,
            "depends_on": list(task.depends_on),
            "targets": list(targets or task.delegate_to or default),
            "tags": list(task.tags),
        }
        for task in program.tasks
    ]
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("task", row)
        return
    if shell.mode == "json":
        body = {"file": program.file, "workflow": program.workflow.name, "tasks": rows}
        shell.document("list", {"store": shell.app().stores.name, **body})
        return
    lists = ("targets", "depends_on", "tags")
    cells = [[r["name"], *(", ".join(r[name]) or "-" for name in lists), r["description"]] for r in rows]
    shell.table(["TASK", "ON", "AFTER", "TAGS", "DESCRIPTION"], cells, flexible=(1, 2, 3, 4))
    if shell.human and not rows:
        shell.say(f"{file} defines no tasks")


def _load(shell: Shell, file: Path, **given: Any) -> Program:
    from sloth_runner.execution import checking

    options = run_options(shell, file, None, **given)
    return checking.validate(shell.app(options.file), options)
