"""Why: commands about a task file take the same options: which file, which stack, which tasks, which values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sloth_runner.cli import suggestions
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import PATH, option
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sloth_runner.execution.loading import RunOptions

F = TypeVar("F", bound=Callable[..., Any])


def file_options(function: F) -> F:
    """Values and targets."""
    for add in (
        option("--strict-values", is_flag=True, help="Reading a value that is missing is an error."),
        option(
            "--set-string", "set_strings", multiple=True, metavar="KEY=TEXT", help="Set a value to this text."
        ),
        option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a value (YAML; dots in KEY)."),
        option(
            "--values",
            "values_files",
            multiple=True,
            type=PATH,
            metavar="FILE",
            help="Values: YAML, TOML or JSON.",
        ),
        option(
            "--delegate-to",
            multiple=True,
            metavar="AGENT",
            complete=suggestions.targets,
            help="Run the tasks there: agent, @group, pattern.",
        ),
    ):
        function = add(function)
    return function


def selection_options(function: F) -> F:
    """Which tasks, on which agents."""
    for add in (
        option(
            "--limit",
            multiple=True,
            metavar="AGENTS",
            complete=suggestions.targets,
            help="Only on these agents.",
        ),
        option(
            "--skip-tags",
            multiple=True,
            metavar="TAGS",
            complete=suggestions.tags,
            help="Leave out tasks that have one of these tags.",
        ),
        option(
            "--tags",
            multiple=True,
            metavar="TAGS",
            complete=suggestions.tags,
            help="Only tasks with one of these tags, and what they need; not with --task.",
        ),
        option(
            "--task",
            "tasks",
            multiple=True,
            metavar="NAME",
            complete=suggestions.tasks,
            help="Only this task, and what it needs; not with --tags.",
        ),
    ):
        function = add(function)
    return function


def file_and_stack(command: str, target: str | None, file: Path | None) -> tuple[Path, str | None]:
    """The task file, and the name of the stack where one is given. Raises UsageError."""
    if file is not None:
        return file, target
    if target is None:
        raise UsageError(
            "a task file is needed",
            unchanged=["nothing was run"],
            next=[f"sloth-runner {command} FILE", f"sloth-runner {command} --help"],
        )
    return Path(target), None


def run_options(shell: Shell, file: Path, stack: str | None, **given: Any) -> RunOptions:
    """What was asked for, with what configuration says of the rest."""
    from sloth_runner.execution.loading import RunOptions

    path = shell.cwd / file
    settings = shell.app(path).settings
    lists: dict[str, Any] = {
        name: tuple(split_list(f"--{name.replace('_', '-')}", given.pop(name, ())))
        for name in ("tags", "skip_tags", "limit", "delegate_to")
    }
    if given.get("tasks") and lists["tags"]:
        raise UsageError(
            "--task and --tags exclude each other: give the names, or what to choose them by",
            unchanged=["nothing was run"],
        )
    if given.get("timeout") == 0:
        raise UsageError(
            "--timeout is more than 0: in no time nothing can be done", unchanged=["nothing was run"]
        )
    files = tuple(shell.cwd / name for name in given.pop("values_files"))
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in ("jobs", "forks", "lock_timeout", "timeout"):
        chosen.setdefault(name, getattr(settings, name))
    return RunOptions(file=path, stack=stack, values_files=files, **lists, **chosen)


def split_list(flag: str, given: tuple[str, ...]) -> list[str]:
    """The parts of lists separated by commas. Raises UsageError for a list that names nothing: it never means all."""
    parts: list[str] = []
    for item in given:
        named = [part.strip() for part in item.split(",") if part.strip()]
        if not named:
            raise UsageError(
                f"{flag} names nothing: {item!r}",
                unchanged=["nothing was run"],
                next=["leave it out to mean all; a variable of the shell may be empty"],
            )
        parts += named
    return parts
