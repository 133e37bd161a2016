"""Why: a shell that completes a word may offer what is there: tasks of the file, runs, stacks, locks, resources.

Each function gets what the line says so far; ``given[""]`` is the word at the cursor. None stands for names of files.
What is offered and begins in another way is left out by whoever asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sloth_runner.cli.shell import Shell, Where
from sloth_runner.plain import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sloth_runner.model import Program

Given = Mapping[str, Any]
MOST: Final = 200
"""Names that are offered, at most."""


def task_file(shell: Shell, given: Given) -> Sequence[str] | None:
    """A file; the name of a stack once the file is known."""
    return stacks(shell, given) if given.get("file") is not None else None


def stacks(shell: Shell, given: Given) -> Sequence[str]:
    """The names of stacks."""
    from sloth_runner.engine.records import list_stacks

    return [str(row["stack"]) for row in list_stacks(shell.app().store())]


def runs(shell: Shell, given: Given) -> Sequence[str]:
    """``last``, and the ids of runs, the newest first."""
    from sloth_runner.engine.records import list_runs

    return ["last", *(str(row["run"]) for row in list_runs(shell.app().store(), limit=MOST))]


def tasks(shell: Shell, given: Given) -> Sequence[str]:
    """The names of the file's tasks."""
    program = _program(shell, given)
    return [] if program is None else [task.name for task in program.tasks]


def tags(shell: Shell, given: Given) -> Sequence[str]:
    """The tags of the file's tasks, as the end of a list."""
    program = _program(shell, given)
    found = [] if program is None else [tag for task in program.tasks for tag in task.tags]
    return _listed(given, sorted(set(found)))


def targets(shell: Shell, given: Given) -> Sequence[str]:
    """Agents and groups of them, as the end of a list."""
    app = shell.app()
    return _listed(given, [*app.known_agents(), *app.inventory.labels()])


def locks(shell: Shell, given: Given) -> Sequence[str]:
    """The names of locks that are held."""
    from sloth_runner.state.locks import held

    view = _view(shell, given)
    return sorted(info.name for info in held(view.store, view.namespace))


def checkpoints(shell: Shell, given: Given) -> Sequence[str]:
    """The names of a namespace's tags."""
    from sloth_runner.state.tags import names

    view = _view(shell, given)
    return list(names(view.store, view.namespace))


def resources(shell: Shell, given: Given) -> Sequence[str]:
    """Addresses in the ledger of a machine."""
    from itertools import islice

    from sloth_runner.state.ledger_queries import entries

    found = entries(shell.app().store(), given.get("agent") or "local", str(given[""]))
    return [entry.address for entry in islice(found, MOST)]


def _view(shell: Shell, given: Given) -> Any:
    return shell.view(Where(given.get("agent"), bool(given.get("shared"))))


def _listed(given: Given, names: Iterable[str]) -> list[str]:
    """Each name behind what stands in a list already."""
    before, comma, _ = str(given[""]).rpartition(",")
    return [f"{before}{comma}{name}" for name in names]


def _program(shell: Shell, given: Given) -> Program | None:
    """The task file that the line names; None if it names none. What its top level says is not shown."""
    name = given.get("file") or given.get("target")
    if name is None:
        return None
    from contextlib import closing

    from sloth_runner.execution.loading import Loading, RunOptions

    path = shell.cwd / name
    with closing(Loading(shell.app(path), RunOptions(file=path))) as loading:
        return loading.program
