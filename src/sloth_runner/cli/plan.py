"""Why: seeing what a run would do, before it is done."""

from __future__ import annotations

from pathlib import Path

from sloth_runner.cli import suggestions
from sloth_runner.cli.base import DURATION, output_option
from sloth_runner.cli.files import file_and_stack, file_options, run_options, selection_options
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import PATH, argument, choice, command, option
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.execution.loading import RunOptions

CHANGES = 2
"""Exit status of --detailed-exitcode when something would change, or can't be foretold."""


@command("plan")
@argument("target", metavar="FILE|STACK", required=False, complete=suggestions.task_file)
@option(
    "-f", "--file", type=PATH, metavar="FILE", help="The task file; the argument is the stack's name then."
)
@selection_options
@option("--timeout", type=DURATION, help="Stop looking after this time.")
@file_options
@option("--paranoid", is_flag=True, help="Read every file again, even if it seems untouched.")
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 if something would change.")
@option("--report", type=choice("md"), help="Print a report: md is Markdown.")
@option("-v", "--verbose", is_flag=True, help="Also what would not change, and what tasks would print.")
@output_option
def plan(
    shell: Shell,
    /,
    target: str | None,
    file: Path | None,
    detailed_exitcode: bool,
    report: str | None,
    verbose: bool,
    **given: Any,
) -> int:
    """Show what a run of FILE would do, and do nothing: what would be created, changed and deleted, what drifted on
    the machines, and from which line on a task can't be foretold, because it depends on what only a run can tell.

    Commands that only look (unless, only_if, run_if) are run; everything else is rehearsed. Exit status: 0, or with
    --detailed-exitcode 2 if something would change or can't be foretold; 1 if a task would fail.
    """
    if report and shell.structured:
        raise UsageError("--report and -o exclude each other", unchanged=["nothing was changed"])
    path, stack = file_and_stack("plan", target, file)
    options = run_options(shell, path, stack, **given)
    return show_plan(shell, options, verbose=verbose, detailed=detailed_exitcode, report=report)


def show_plan(
    shell: Shell,
    options: RunOptions,
    *,
    verbose: bool,
    detailed: bool,
    report: str | None = None,
    quiet: bool = False,
) -> int:
    """Make a plan and show it; the exit status. ``quiet``: only tasks that would fail, and the summary."""
    from sloth_runner.cli import plan_text
    from sloth_runner.execution.checking import check

    document = check(shell.app(options.file), options)
    for text in document["warnings"]:
        shell.warn(text)
    if shell.mode == "json":
        shell.document("plan", {"store": shell.app().stores.name, **document})
    elif shell.mode == "jsonl":
        for task in document["tasks"]:
            shell.record("plan.task", task)
        body = {key: value for key, value in document.items() if key != "tasks"}
        shell.record("plan.finished", {"store": shell.app().stores.name, **body})
    elif report:
        for line in plan_text.markdown(document):
            shell.print(line)
    else:
        for line in plan_text.lines(document, shell.columns, shell.color, verbose=verbose, quiet=quiet):
            shell.print(line)
    if any(task["error"] is not None for task in document["tasks"]):
        return 1
    return CHANGES if detailed and any(document["summary"].values()) else 0
