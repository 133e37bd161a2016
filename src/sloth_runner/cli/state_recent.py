"""Why: "what changed here since yesterday, and who did it" is asked of a whole namespace, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sloth_runner.cli.shell import Shell
from sloth_runner.cli.state_history import cells
from sloth_runner.documents import past

if TYPE_CHECKING:
    from sloth_runner.state.history import Filter
    from sloth_runner.state.state import State


def print_recent(
    shell: Shell, view: State, prefix: str, wanted: Filter, limit: int, after: str | None, *, reveal: bool
) -> None:
    """Print the newest changes of the namespace that ``prefix`` lies in."""
    part = past.recent(view, prefix, wanted, limit, after, reveal=reveal)
    if shell.mode == "jsonl":
        for row in past.changes(part, reveal=reveal):
            shell.record("revision", row)
        return
    if shell.mode == "json":
        shell.document("state.history.list", past.recent_history(shell.app(), part, wanted, reveal=reveal))
        return
    headers = ["KEY", "REV", "TIME", "OP", "VALUE", "BY", "RUN", "TASK"]
    rows = [[mark.key, *cells(shell, found, reveal)] for mark, found in part.changes]
    shell.table(headers, rows, flexible=(0, 4, 5, 6, 7))
    if shell.human and not rows:
        shell.say(f"no changes in {part.namespace} that match" if after is None else "no more changes")
    if part.next is not None:
        shell.say(f"there are more: --after {part.next!r}")
