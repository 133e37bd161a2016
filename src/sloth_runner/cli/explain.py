"""Why: a code in an error is a promise that somebody can say more about it; the name of a module is another."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from sloth_runner.cli.base import output_option
from sloth_runner.cli.codes import CODES
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.text import styled
from sloth_runner.cli.words import argument, command
from sloth_runner.errors import UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any


def _complete(shell: Shell, given: Mapping[str, Any]) -> Sequence[str]:
    from sloth_runner.cli.modules import complete_name

    return [*CODES, *complete_name(shell, given)]


@command("explain")
@argument("code", required=False, complete=_complete)
@output_option
def explain(shell: Shell, code: str | None) -> None:
    """Explain an error CODE such as E-KEY-MISSING: what it means, and what to do. Without CODE, list them all.

    The name of a module or function (file.copy) is explained as well, as by sloth-runner modules.
    """
    if code is None:
        _list(shell)
        return
    name = code.upper() if code.upper().startswith("E-") else f"E-{code.upper()}"
    if name not in CODES:
        _explain_name(shell, code, name)
        return
    status, title, meaning, steps = CODES[name]
    if shell.structured:
        body = {"code": name, "exit_code": status, "title": title, "meaning": meaning, "next": list(steps)}
        shell.document("explain", body)
        return
    width = min(shell.columns, 88)
    shell.print(f"{styled(name, 'bold', shell.color)}: {title} (exit status {status})")
    shell.print()
    for line in textwrap.wrap(meaning, width):
        shell.print(line)
    shell.print()
    for step in steps:
        for line in textwrap.wrap(step, width, initial_indent="- ", subsequent_indent="  "):
            shell.print(line)


def _explain_name(shell: Shell, given: str, code: str) -> None:
    """Explain what is no error code. Raises UsageError if it is no module or function either."""
    from sloth_runner.cli.modules import show
    from sloth_runner.modules.habits import called
    from sloth_runner.reference.entries import find, names

    found = find(given)
    if found:
        show(shell, given, found)
        return
    meant = called(given) or did_you_mean(code, CODES) or did_you_mean(given, names())
    raise UsageError(
        f"there is no error code, module or function {given!r}",
        next=meant or ["sloth-runner explain", "sloth-runner modules"],
    )


def _list(shell: Shell) -> None:
    if shell.structured:
        rows = [{"code": code, "exit_code": entry[0], "title": entry[1]} for code, entry in CODES.items()]
        shell.document("explain.list", {"codes": rows})
        return
    shell.table(["CODE", "EXIT", "MEANS"], [[c, e[0], e[1]] for c, e in CODES.items()], flexible=(2,))
