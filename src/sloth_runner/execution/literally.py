"""Why: a misspelt argument should be found before half of a task is done: what calls are given literally is checked
with the file. What is computed, or behind a name that the file itself gives, is checked when the call is made."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sloth_runner.engine.module_calls import handlers_of, unnamed
from sloth_runner.errors import BadArgument, BadField
from sloth_runner.lua.literals import OPEN, called_globals, written_calls
from sloth_runner.modules import modules
from sloth_runner.modules.arguments import check, refuse_unknown
from sloth_runner.modules.described import COMMON
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.execution.loading import Loading
    from sloth_runner.lua.literals import Written
    from sloth_runner.modules.base import Arg, Module


def check_calls(loading: Loading) -> None:
    """Check the calls of modules that stand in the file, and in those that it requires.

    Raises BadField, BadArgument, with file, line and source of the first one that is wrong.
    """
    known = modules()
    handlers = frozenset(handler.name for handler in loading.program.handlers)
    for file, lines in loading.loaded.lines().items():
        for call in written_calls("\n".join(lines), known):
            try:
                _check(call, known[call.name], handlers)
            except (BadField, BadArgument) as error:
                error.file, error.line, error.unchanged = file, call.line, ["nothing was run"]
                loading.loaded.show(error, call.name)
                raise
    _check_names(loading)


def _check_names(loading: Loading) -> None:
    """Whether there are the functions that are called by their global names."""
    files = {file: "\n".join(lines) for file, lines in loading.loaded.lines().items()}
    for number, name, line in called_globals(list(files.values())):
        instead = loading.loaded.lacks(name)
        if instead is not None:
            file = list(files)[number]
            error = BadArgument(f"there is no function {name}", file=file, line=line, next=instead)
            error.unchanged = ["nothing was run"]
            loading.loaded.show(error, name.rpartition(".")[2])
            raise error


def _check(call: Written, module: Module, handlers: Collection[str]) -> None:
    if call.unnamed:
        raise unnamed(module, [])
    common = {arg.name for arg in COMMON}
    own = {name: value for name, value in call.fields.items() if name not in common}
    refuse_unknown(module.name, module.args, own, module.refused)
    _check_known(call, module.args, own, module.refused)
    _check_known(call, COMMON, {name: call.fields[name] for name in common & set(call.fields)}, {})
    if call.fields.get("notify", OPEN) is not OPEN:
        handlers_of(module.name, call.fields["notify"], handlers)


def _check_known(
    call: Written, args: tuple[Arg, ...], given: Mapping[str, Any], refused: Mapping[str, str]
) -> None:
    literal = {name: value for name, value in given.items() if value is not OPEN}
    needed = [arg for arg in args if arg.name in literal or (arg.name not in given and not call.computed)]
    check(call.name, needed, literal, refused)
