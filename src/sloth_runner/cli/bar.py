"""Why: work on a million keys shows how far it is, on a terminal; elsewhere it says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sloth_runner.cli.shell import Shell


@contextmanager
def bar(shell: Shell, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error while the context lasts; what it yields hears of so many more done."""
    world = shell.world
    if not world.stderr_tty or world.environ.get("TERM") == "dumb":
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(
        file=world.stderr, force_terminal=True, width=shell.columns, no_color=not shell.error_color
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
