"""Why: "what changed here since yesterday, and who did it" is asked of a whole namespace, the newest first."""

from __future__ import annotations

from sloth_runner.cli.shell import Shell
from sloth_runner.cli.state_history import cells
from sloth_runner.documents import past
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sloth_runner.state.history import Filter
    from sloth_runner.state.state import State


def print_recent(
    shell: Shell,
    views: Sequence[State],
    prefix: str,
    wanted: Filter,
    limit: int,
    after: str | None,
    *,
    everywhere: bool,
    reveal: bool,
) -> None:
    """Print the newest changes of the namespaces that ``prefix`` lies in."""
    part = past.recent(views, prefix, wanted, limit, after, everywhere=everywhere, reveal=reveal)
    if shell.mode == "jsonl":
        for row in past.changes(part, reveal=reveal):
            shell.record("revision", row)
        return
    if shell.mode == "json":
        shell.document("state.history.list", past.recent_history(shell.app(), part, wanted, reveal=reveal))
        return
    headers = ["KEY", "REV", "TIME", "OP", "VALUE", "BY", "RUN", "TASK", "NAMESPACE"]
    rows = [[one.mark.key, *cells(shell, one.revision, reveal), one.namespace] for one in part.changes]
    shown = len(headers) if part.namespace is None else len(headers) - 1
    shell.table(headers[:shown], [row[:shown] for row in rows], flexible=(0, 4, 5, 6, 7))
    if shell.human and not rows:
        where = part.namespace or "any namespace"
        shell.say(f"no changes in {where} that match" if after is None else "no more changes")
    if part.next is not None:
        shell.say(f"there are more: --after {part.next!r}")
