"""Why: everything that state rests on is looked at by one command, which says what to do."""

from __future__ import annotations

from sloth_runner.cli import text
from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import command
from sloth_runner.documents.keys import flags
from sloth_runner.errors import Corrupt
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.doctor import Finding

_MARKS = {"ok": ("✓", "green"), "note": ("○", "dim"), "problem": ("✗", "red")}


@command("doctor")
@output_option
def doctor(shell: Shell) -> int:
    """Check permissions, versions, integrity, lineage, clocks, encryption, history, tags, locks and runs.

    Looks at all namespaces of the store and says for each fault what to do. Exit status 7 if there is one.
    """
    from sloth_runner.doctor import PROBLEM, examine

    found = list(examine(shell.app(), flags))
    wrong = sum(one.status == PROBLEM for one in found)
    code = Corrupt.exit_code if wrong else 0
    if shell.mode == "jsonl":
        for one in found:
            shell.record("check", _row(one))
        return code
    if shell.mode == "json":
        body = {"store": shell.app().stores.name, "ok": not wrong, "problems": wrong}
        shell.document("state.doctor", {**body, "checks": [_row(one) for one in found]})
        return code
    if not shell.human:
        rows = [
            [one.status, one.check, one.namespace or "-", one.message, "; ".join(one.next)] for one in found
        ]
        shell.table([], rows)
        return code
    for one in found:
        _print(shell, one)
    shell.print()
    shell.print(text.count(wrong, "problem") if wrong else f"all is well with {shell.app().stores.name}")
    return code


def _row(one: Finding) -> dict[str, object]:
    return {**one._asdict(), "next": list(one.next)}


def _print(shell: Shell, one: Finding) -> None:
    mark, style = _MARKS[one.status]
    where = f"{one.check} ({one.namespace})" if one.namespace else one.check
    shell.print(f"{text.styled(mark, style, shell.color)} {where}: {text.pictures(one.message)}")
    for step in one.next:
        shell.print(f"    {text.styled('next:', 'cyan', shell.color)} {text.pictures(step)}")
