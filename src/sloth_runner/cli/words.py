"""Why: the commonest command lines are understood at once; loading the command line's library costs as much again.

A command says, as plain data, what words it takes. ``understand`` reads lines of the simplest form: known options
spelled out, their values beside them, the right number of arguments, no other word that begins with a dash.
Whatever else there is (help, errors, completion, options run together) it leaves to ``clicked``, which makes commands
of click of the same data. A law in the tests holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from sloth_runner.cli.shell import Shell
from sloth_runner.plain import Any, Final, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Complete = Callable[[Shell, Mapping[str, Any]], "Sequence[str] | None"]
"""What may stand somewhere, by what the line says so far; what begins in another way than was typed is left out.
None: names of files."""


class Kind(NamedTuple):
    """How a word becomes a value: ``parse`` raises ValueError with what is wrong. ``choices``: all that it may be."""

    name: str
    parse: Callable[[str], Any]
    choices: tuple[str, ...] = ()


class Param(NamedTuple):
    """An option (it has ``flags``) or an argument. ``then`` gets the shell and a value that was given, which the
    command does not see. ``off`` is the flag that says no. ``shown``: how the default stands in the help."""

    name: str
    flags: tuple[str, ...]
    kind: Kind
    metavar: str | None = None
    help: str | None = None
    is_flag: bool = False
    multiple: bool = False
    required: bool = False
    default: Any = None
    shown: str | None = None
    hidden: bool = False
    complete: Complete | None = None
    then: Callable[[Shell, Any], None] | None = None
    drop: bool = False
    off: str | None = None

    def absent(self) -> Any:
        """Its value where it is not given."""
        return () if self.multiple else self.default


class Command(NamedTuple):
    """``call(shell, **values)`` does it and returns the exit status, or None for 0. ``help``: as it is printed."""

    name: str
    params: tuple[Param, ...]
    call: Callable[..., int | None]
    help: str
    negative: bool = False
    """An unknown word that begins with a dash is an argument: a negative number, say."""


def choice(*names: str) -> Kind:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"{text!r} is not one of {', '.join(map(repr, names))}.")
        return text

    return Kind("choice", parse, names)


TEXT: Final = Kind("text", str)
PATH: Final = Kind("path", Path)


def command(name: str, *, negative: bool = False) -> Callable[[Callable[..., int | None]], Command]:
    """A function as a command, with the options and arguments given below this; its docstring is its help."""

    def decorate(function: Callable[..., int | None]) -> Command:
        return Command(name, tuple(reversed(_params(function))), function, function.__doc__ or "", negative)

    return decorate


def option(
    *names: str,
    type: Kind = TEXT,  # noqa: A002 - the word that every such library has
    metavar: str | None = None,
    help: str,  # noqa: A002
    is_flag: bool = False,
    multiple: bool = False,
    default: Any = None,
    shown: str | None = None,
    hidden: bool = False,
    complete: Complete | None = None,
    then: Callable[[Shell, Any], None] | None = None,
    drop: bool = False,
    off: str | None = None,
) -> Callable[[F], F]:
    """An option by its flags; a name without a dash is the parameter's, else the longest flag gives it. ``drop``: it
    is understood, and makes no difference."""
    flags = tuple(name for name in names if name.startswith("-"))
    own = [name for name in names if not name.startswith("-")]
    name = own[0] if own else max(flags, key=len).lstrip("-").replace("-", "_")
    known = (metavar, help, is_flag or off is not None, multiple, False)
    given = False if is_flag and default is None else default
    return _adder(Param(name, flags, type, *known, given, shown, hidden, complete, then, drop, off))


def argument(
    name: str,
    *,
    type: Kind = TEXT,  # noqa: A002
    metavar: str | None = None,
    required: bool = True,
    multiple: bool = False,
    default: Any = None,
    complete: Complete | None = None,
) -> Callable[[F], F]:
    """An argument; with a default it is not required; ``multiple`` takes all that is left."""
    needed = required and default is None
    return _adder(
        Param(name, (), type, metavar, None, False, multiple, needed, default, None, False, complete)
    )


def load(place: str) -> Command:
    """The command at ``module:attribute`` of this package."""
    module, _, attribute = place.partition(":")
    found: Command = getattr(import_module(f"sloth_runner.cli.{module}"), attribute)
    return found


def understand(command: Command, args: Sequence[str]) -> list[tuple[Param, Any]] | None:
    """The values that a line of the simplest form gives, in the order of the parameters; None: it is of another."""
    by_flag = {flag: param for param in command.params for flag in (*param.flags, param.off)}
    given: dict[str, Any] = {}
    words: list[str] = []
    left = iter(args)
    try:
        for word in left:
            if not word.startswith("-"):
                words.append(word)
                continue
            flag, equals, text = word.partition("=") if word.startswith("--") else (word, "", "")
            param = by_flag.get(flag)
            if param is None or (param.is_flag and equals):
                return None
            if param.is_flag:
                given[param.name] = flag != param.off
                continue
            value = text if equals else next(left, "-")
            if value.startswith("-"):
                return None
            _add(given, param, value)
        return _with_arguments(command, given, words)
    except ValueError:
        return None


def perform(command: Command, shell: Shell, values: Sequence[tuple[Param, Any]]) -> int:
    """Do a command with these values, one for each parameter; the exit status."""
    seen: dict[str, Any] = {}
    for param, value in values:
        if param.then is not None:
            if value is not None:
                param.then(shell, value)
        elif not param.drop:
            seen[param.name] = value
    return command.call(shell, **seen) or 0


def _with_arguments(
    command: Command, given: dict[str, Any], words: list[str]
) -> list[tuple[Param, Any]] | None:
    for param in command.params:
        if param.flags:
            continue
        if param.multiple:
            if param.required and not words:
                return None
            given[param.name], words = tuple(param.kind.parse(word) for word in words), []
        elif words:
            given[param.name] = param.kind.parse(words.pop(0))
        elif param.required:
            return None
    if words:
        return None
    return [(param, given.get(param.name, param.absent())) for param in command.params]


def _add(given: dict[str, Any], param: Param, text: str) -> None:
    value = param.kind.parse(text)
    given[param.name] = (*given.get(param.name, ()), value) if param.multiple else value


def _adder(param: Param) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        _params(function).append(param)
        return function

    return decorate


def _params(function: Callable[..., Any]) -> list[Param]:
    """What the decorators below have gathered so far, the last first."""
    found: list[Param] | None = getattr(function, "__params__", None)
    if found is None:
        found = []
        function.__params__ = found  # type: ignore[attr-defined] # read above
    return found
