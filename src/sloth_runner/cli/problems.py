"""Why: every error looks the same: code, message, place with a caret, what was left alone, what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.cli.text import ELLIPSIS, clip, pictures, styled, width
from sloth_runner.errors import (
    Bug,
    FileProblem,
    Interrupted,
    LockHeld,
    SlothError,
    TaskProblem,
    UsageError,
)
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any


def exit_code(error: SlothError, *, running: bool = False) -> int:
    """The exit status. ``running``: a run had begun; without, task problems come from the command line alone."""
    if isinstance(error, LockHeld) and not running:
        return 3
    if isinstance(error, TaskProblem) and not running:
        return FileProblem.exit_code
    return error.exit_code


def lines(error: Mapping[str, Any], columns: int, color: bool) -> list[str]:
    """The text form of an error's document."""
    head = styled(f"error[{error['code']}]", "red", color)
    first, *rest = pictures(str(error["message"]), lines=True).splitlines() or [""]
    out = [f"{head}: {first}", *("  " + line for line in rest)]
    if error.get("file"):
        place = ":".join(str(error[k]) for k in ("file", "line", "column") if error.get(k) is not None)
        out.append(f"  --> {pictures(place)}")
        out += _source(error, columns, color)
    for name in ("target", "operation", "system"):
        if error.get(name):
            label = f"  {name}: "
            for line in pictures(str(error[name]), lines=True).splitlines():
                out.append(label + line)
                label = " " * len(label)
    for name in ("changed", "unchanged", "next"):
        items = [pictures(str(item), lines=True) for item in error.get(name) or ()]
        margin = " " * (len(name) + 4)
        for index, item in enumerate(items):
            label = (
                f"  {styled(name + ':', 'cyan' if name == 'next' else 'dim', color)} "
                if index == 0
                else margin
            )
            out.append(label + item.replace("\n", "\n" + margin))
    return out


def from_click(error: Any, command: str) -> UsageError:
    """Our error for one of the command-line library's; ``command`` is the path of the command concerned."""
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else command
    next_steps: list[str] = []
    option = getattr(error, "option_name", None)
    name = type(error).__name__
    if name == "NoSuchOption" and ctx is not None:
        known = [opt for param in ctx.command.get_params(ctx) for opt in param.opts + param.secondary_opts]
        message = f"there is no option {option!r} of {path!r}"
        next_steps += _other_flag(ctx, str(option)) or did_you_mean(str(option), known)
        if str(option) in ("-C", "--config", "--debug", "--version"):
            next_steps.append(f"it stands before the command: sloth-runner {option} …")
        elif path.endswith("state set"):
            next_steps.append("a value that starts with '-' comes after --")
        elif path.endswith("lock run"):
            next_steps.append("the command and its options come after --")
    else:
        message = _click_message(error)
        if "extra argument" in message and "--file" in _flags(ctx):
            next_steps.append(f"one file at a time; under the name of a stack: {path} -f FILE STACK")
    if ctx is not None:
        next_steps.append(" ".join(ctx.get_usage().split()).replace("Usage:", "usage:", 1))
    next_steps.append(f"{path} --help")
    return UsageError(message, unchanged=["nothing was changed"], next=next_steps)


def _other_flag(ctx: Any, option: str) -> list[str]:
    """What does here what an option of other tools does, as the ``next`` of an error. One with a single dash and a
    word is taken apart before it gets here: the line still has it."""
    from sloth_runner.cli.table import FLAGS, SIBLINGS

    if "--values" not in _flags(ctx):
        return []
    given = [word.partition("=")[0] for word in ctx.obj.words] if not option.startswith("--") else []
    known = {**FLAGS, **SIBLINGS}
    found = next((word for word in (*given, option) if word in known), None)
    return [] if found is None else [known[found]]


def _flags(ctx: Any) -> set[str]:
    """The options that a command has."""
    return set() if ctx is None else {flag for param in ctx.command.get_params(ctx) for flag in param.opts}


def _click_message(error: Any) -> str:
    param = getattr(error, "param", None)
    if param is None:
        message: str = error.format_message().rstrip(".")
        return message[:1].lower() + message[1:]
    option = param.param_type_name == "option"
    name = max(param.opts, key=len) if option else param.human_readable_name.strip("[].")
    if type(error).__name__ == "MissingParameter":
        return f"{name} is missing"
    return f"{name}: {error.message.rstrip('.')}"


def bug(error: BaseException) -> SlothError:
    """What nobody expected, as an error that asks to be reported."""
    known = Bug.of(error)
    if not isinstance(known, Bug):
        return known
    return Bug(
        f"this is a fault of sloth-runner itself: {type(error).__name__}: {error}",
        next=[
            "run the same command once more with --debug (sloth-runner --debug …)",
            "report what that prints, with the output of: sloth-runner version",
        ],
    )


def interrupted() -> Interrupted:
    """Ctrl-C in a command that handles it in no other way."""
    return Interrupted("interrupted")


_SEEN = 24
"""Columns that are shown from the place of an error on."""


def _source(error: Mapping[str, Any], columns: int, color: bool) -> list[str]:
    source, line = error.get("source"), error.get("line")
    if not source or line is None:
        return []
    margin = " " * len(str(line))
    room = max(20, columns - len(margin) - 3)
    column = error.get("column")
    at = column - 1 if column is not None and column >= 1 else 0
    before, after = _around(str(source), at, room)
    out = [f"{margin} |", f"{line} | {clip(before + after, room)}"]
    if column is not None and column >= 1:
        out.append(f"{margin} | {' ' * width(before)}{styled('^', 'red', color)}")
    return out


def _around(source: str, at: int, room: int) -> tuple[str, str]:
    """What is shown of a line before and from ``at`` on: its beginning, unless ``at`` would hardly be seen then."""
    far = at > 4 * room  # a line of megabytes is not measured
    before = pictures(source[at - room if far else 0 : at].expandtabs(4))
    after = pictures(source[at : at + room].expandtabs(4))
    if after and at + room < len(source):
        after += " " * room  # there is more: what is clipped shows so
    most = room - min(_SEEN, width(after))
    if not far and width(before) <= most:
        return before, after
    kept = before[-max(1, most - 1) :]
    while width(kept) > most - 1:
        kept = kept[1:]
    return ELLIPSIS + kept, after
