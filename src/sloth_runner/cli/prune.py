"""Why: what a task file no longer names is taken away again, after it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sloth_runner.cli import problems, suggestions
from sloth_runner.cli.base import COUNT, DURATION, output_option, yes_option
from sloth_runner.cli.files import file_and_stack, file_options, run_options
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.text import pictures, styled
from sloth_runner.cli.words import PATH, argument, command, option
from sloth_runner.errors import Declined, Interrupted, SlothError, Unreachable
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.execution.pruning import Pruning, Verdict

MARKS = {"remove": ("-", "red"), "restore": ("~", "yellow"), "forget": ("o", "dim"), "keep": ("=", "dim")}

PAST = {"remove": "removed", "restore": "restored", "forget": "forgotten", "keep": "kept"}


@command("prune")
@argument("target", metavar="FILE|STACK", required=False, complete=suggestions.task_file)
@option(
    "-f", "--file", type=PATH, metavar="FILE", help="The task file; the argument is the stack's name then."
)
@file_options
@option("--check", "--dry-run", "check", is_flag=True, help="Only show what would be done.")
@option("--max-prune", type=COUNT, metavar="N", help="Do nothing if it would be more than N resources.")
@option("--lock-timeout", type=DURATION, help="Wait this long for a run of the stack to end.")
@yes_option
@output_option
def prune(
    shell: Shell,
    /,
    target: str | None,
    file: Path | None,
    check: bool,
    max_prune: int | None,
    yes: bool,
    **given: Any,
) -> int:
    """Remove what earlier runs of FILE made and the file no longer names; what was there before is put back.

    The file is evaluated as plan does. A resource is taken if its task is gone from the file, if a line that named it
    is gone, or if that line was reached and did not name it. What was changed by others since, and what could not be
    evaluated, is kept and listed. All of it is shown before it asks, and undone in the reverse order of creation.

    Exit status: 0; 1 if one of them could not be undone; 6 if a machine can't be reached, whose resources are kept.
    """
    from sloth_runner.execution.pruning import Pruning

    path, stack = file_and_stack("prune", target, file)
    options = run_options(shell, path, stack, **given)
    with closing(Pruning(shell.app(options.file), options)) as pruning:
        verdicts = pruning.verdicts()
        taken = [verdict for verdict in verdicts if verdict.action != "keep"]
        if check or not taken:
            _show(shell, pruning, [(verdict, None) for verdict in verdicts], done=False)
            return Unreachable.exit_code if pruning.unreachable else 0
        if max_prune is not None and len(taken) > max_prune:
            raise Declined(
                f"{len(taken)} resources would be pruned, more than --max-prune {max_prune}",
                unchanged=["nothing was changed"],
                next=["see them: sloth-runner prune --check …"],
            )
        shell.confirm(_question(pruning, verdicts), f"Prune {len(taken)} of them?", yes=yes)
        done = pruning.carry_out(verdicts, shell.say)
        _show(shell, pruning, done, done=True)
        if pruning.stopped:
            raise Interrupted(
                "interrupted", exit_code=128 + pruning.stopped, next=["go on: the same command once more"]
            )
        lost = pruning.unreachable
    failed = any(error is not None for _, error in done)
    return Unreachable.exit_code if lost else 1 if failed else 0


def _question(pruning: Pruning, verdicts: Sequence[Verdict]) -> list[str]:
    lines = [f"stack {pruning.stack.name}, {pruning.file}:"]
    return lines + [f"  {v.action} [{v.agent}] {v.entry.address}: {v.reason}" for v in verdicts]


def _show(
    shell: Shell, pruning: Pruning, verdicts: Sequence[tuple[Verdict, SlothError | None]], *, done: bool
) -> None:
    from sloth_runner.execution.pruning import prune_document

    document = prune_document(pruning, verdicts)
    if shell.mode == "json":
        shell.document("prune", {"store": shell.app().stores.name, **document})
        return
    if shell.mode == "jsonl":
        for row in document["resources"]:
            shell.record("prune.resource", row)
        shell.record("prune.finished", {k: v for k, v in document.items() if k != "resources"})
        return
    for row in document["resources"]:
        mark, style = MARKS[row["action"]]
        words = styled(f"{mark} {row['action']}", style, shell.color)
        shell.print(f"{words} [{row['agent']}] {pictures(row['address'])}: {pictures(row['reason'])}")
        if row["error"] is not None:
            for line in problems.lines(row["error"], shell.columns, shell.color):
                shell.print(line)
    for row in document["due"]:
        would = "" if done else "would be "
        handler = pictures(row["handler"])
        shell.print(f"{would}due on {row['agent']}, with the next run that succeeds: {handler}")
    found = document["summary"]
    names = {name: PAST[name] if done else f"to {name}" for name in found}
    text = ", ".join(f"{found[name]} {words}" for name, words in names.items())
    failed = sum(error is not None for _, error in verdicts)
    text += f", {failed} failed" if failed else ""
    shell.print(styled(text, "bold", shell.color))
