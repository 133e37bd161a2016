"""Why: running a task file, and looking at one without running it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sloth_runner.cli.base import DURATION, Count, command, output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.text import count
from sloth_runner.errors import UsageError

if TYPE_CHECKING:
    from sloth_runner.execution import RunOptions
    from sloth_runner.model import Event, Program

F = TypeVar("F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


def _file_options(function: F) -> F:
    for option in (
        click.option("--strict-values", is_flag=True, help="Reading a value that is missing is an error."),
        click.option(
            "--set-string", "set_strings", multiple=True, metavar="KEY=TEXT", help="Set a value to this text."
        ),
        click.option(
            "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a value (YAML; dots in KEY)."
        ),
        click.option(
            "--values",
            "values_files",
            multiple=True,
            type=_PATH,
            metavar="FILE",
            help="Values: YAML, TOML or JSON.",
        ),
        click.option(
            "--delegate-to",
            multiple=True,
            metavar="AGENT",
            help="Run the tasks there: agent, @group, pattern.",
        ),
    ):
        function = option(function)
    return function


def _selection_options(function: F) -> F:
    for option in (
        click.option("--limit", multiple=True, metavar="AGENTS", help="Only on these agents."),
        click.option(
            "--skip-tags", multiple=True, metavar="TAGS", help="Without tasks that have one of these tags."
        ),
        click.option("--tags", multiple=True, metavar="TAGS", help="Only tasks with one of these tags."),
        click.option(
            "--task", "tasks", multiple=True, metavar="NAME", help="Only this task and what it needs."
        ),
    ):
        function = option(function)
    return function


def _refuse_check(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        raise UsageError(
            f"{param.opts[0]}: showing what a run would do is not in this version",
            unchanged=["nothing was run"],
            next=["sloth-runner validate FILE checks a file without running it"],
        )


@command("run")
@click.argument("target", metavar="FILE|STACK", required=False)
@click.option(
    "-f", "--file", type=_PATH, metavar="FILE", help="The task file; the argument is the stack's name then."
)
@click.option("-j", "--jobs", type=Count(1000), metavar="N", help="Run up to N independent tasks at once.")
@_selection_options
@click.option("-k", "--keep-going", is_flag=True, help="After a failure, run what does not depend on it.")
@click.option("--resume", metavar="RUN", help="Go on with this run: skip the tasks that it finished.")
@click.option("--timeout", type=DURATION, help="Start nothing after this time, and stop what runs.")
@click.option("--lock-timeout", type=DURATION, help="Wait so long for another run of the stack to end.")
@_file_options
@click.option("--diff", "diffs", is_flag=True, help="Show what calls changed, line by line.")
@click.option(
    "--check",
    is_flag=True,
    expose_value=False,
    hidden=True,
    callback=_refuse_check,
    help="Refused: not in this version.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    expose_value=False,
    hidden=True,
    callback=_refuse_check,
    help="Refused: not in this version.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also debug lines, and calls that changed nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Only failures and the summary.")
@click.option(
    "-y",
    "--yes",
    is_flag=True,
    expose_value=False,
    help="For scripts that give it everywhere: run never asks.",
)
@output_option
@click.pass_obj
def run(
    shell: Shell,
    /,
    target: str | None,
    file: Path | None,
    diffs: bool,
    verbose: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Run the tasks of FILE. What they did is kept under the name of a STACK: with -f FILE the argument, else the
    workflow's name, else the file's.

    Exit status: 0, or 1 if a task failed, 3 if the stack is being run, 5 if the file is wrong, 6 if a store or a
    target can't be reached, 130 if interrupted. Lists of tags and agents are separated by commas.
    """
    if verbose and quiet:
        raise UsageError("-v and -q exclude each other", unchanged=["nothing was run"])
    path, stack = _file_and_stack(target, file)
    options = _options(shell, path, stack, **given)
    return _run(shell, options, diffs=diffs, verbose=verbose, quiet=quiet)


def _run(shell: Shell, options: RunOptions, *, diffs: bool, verbose: bool, quiet: bool) -> int:
    from sloth_runner import execution
    from sloth_runner.cli.progress import Progress

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
        document = execution.run(shell.app(options.file), options, emit)
    finally:
        progress.close()
    if shell.mode == "json":
        shell.document("run", {"store": shell.app().store_name, **document})
    if not lines:
        progress.finish(document, _resume_line(shell, str(document["run"])))
    return int(document["exit_code"])


def _event_line(shell: Shell, event: Event) -> None:
    from sloth_runner.moments import iso

    row: dict[str, Any] = {"time": iso(event.time), "task": event.task, "agent": event.agent, **event.data}
    if event.kind == "run.finished":
        store = shell.app().store_name
        row["document"] = {"format": "sloth-runner/run", "version": 1, "store": store, **row["document"]}
    shell.record(event.kind, row)
    shell.flush()


def _resume_line(shell: Shell, run_id: str) -> str:
    """The command as it was typed, resuming this run."""
    words: list[str] = []
    skip = False
    for word in shlex.split(shell.line):
        if skip or word.startswith("--resume="):
            skip = False
        elif word == "--resume":
            skip = True
        else:
            words.append(word)
    return shlex.join([*words, "--resume", run_id])


@command("validate")
@click.argument("file", type=_PATH)
@_file_options
@output_option
@click.pass_obj
def validate(shell: Shell, /, file: Path, **given: Any) -> None:
    """Check FILE without running a task: syntax, names, types, dependencies and targets."""
    program = _load(shell, file, **given)
    if shell.structured:
        body = {"file": program.file, "workflow": program.workflow.name, "tasks": len(program.tasks)}
        shell.document("validate", {"store": shell.app().store_name, **body})
    else:
        shell.print(f"{file}: {count(len(program.tasks), 'task')}, nothing wrong")


@command("list")
@click.argument("file", type=_PATH)
@_file_options
@output_option
@click.pass_obj
def list_tasks(shell: Shell, /, file: Path, **given: Any) -> None:
    """List the tasks of FILE in the order of their definition."""
    program = _load(shell, file, **given)
    default = program.workflow.delegate_to or ("local",)
    targets = given["delegate_to"] and tuple(_split(given["delegate_to"]))
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
        shell.document("list", {"store": shell.app().store_name, **body})
        return
    lists = ("targets", "depends_on", "tags")
    cells = [[r["name"], *(", ".join(r[name]) or "-" for name in lists), r["description"]] for r in rows]
    shell.table(["TASK", "ON", "AFTER", "TAGS", "DESCRIPTION"], cells, flexible=(1, 2, 3, 4))
    if shell.human and not rows:
        shell.say(f"{file} defines no tasks")


def _load(shell: Shell, file: Path, **given: Any) -> Program:
    from sloth_runner import execution

    options = _options(shell, file, None, **given)
    return execution.validate(shell.app(options.file), options)


def _file_and_stack(target: str | None, file: Path | None) -> tuple[Path, str | None]:
    if file is not None:
        return file, target
    if target is None:
        raise UsageError(
            "a task file is needed",
            unchanged=["nothing was run"],
            next=["sloth-runner run FILE", "sloth-runner run --help"],
        )
    return Path(target), None


def _options(shell: Shell, file: Path, stack: str | None, **given: Any) -> RunOptions:
    from sloth_runner.execution import RunOptions

    path = shell.cwd / file
    settings = shell.app(path).settings
    lists: dict[str, Any] = {
        name: tuple(_split(given.pop(name, ()))) for name in ("tags", "skip_tags", "limit", "delegate_to")
    }
    files = tuple(shell.cwd / name for name in given.pop("values_files"))
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in ("jobs", "lock_timeout", "timeout"):
        chosen.setdefault(name, getattr(settings, name))
    return RunOptions(file=path, stack=stack, values_files=files, **lists, **chosen)


def _split(given: tuple[str, ...]) -> list[str]:
    return [part.strip() for item in given for part in item.split(",") if part.strip()]
