"""Why: what a namespace held at two moments is compared key by key; what is compacted is named, not guessed."""

from __future__ import annotations

from itertools import islice

from sloth_runner import documents
from sloth_runner.cli import text
from sloth_runner.cli.shell import Shell
from sloth_runner.documents import differences
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.state.record import Record
    from sloth_runner.state.state import State


def print_between(
    shell: Shell,
    view: State,
    moments: tuple[float, float],
    prefix: str,
    limit: int | None,
    after: str,
    *,
    reveal: bool,
) -> None:
    """Print what differs in the view's namespace between two moments."""
    namespace, (begin, end) = view.namespace, moments
    found = differences.between(view.writer.store, namespace, begin, end, prefix, after)
    if shell.mode == "jsonl":
        for one in islice(found, limit):
            shell.record("change", differences.row(view, one, reveal=reveal))
        return
    shown, cursor = differences.page(found, limit)
    if shell.mode == "json":
        body = differences.differences(shell.app(), view, moments, prefix, shown, cursor, reveal=reveal)
        shell.document("state.diff.list", body)
        return
    cells = []
    for one in shown:
        row = differences.row(view, one, reveal=reveal)
        hidden = one.secret and not reveal
        values = [_shown(record, hidden) for record in (one.old, one.new)]
        cells.append([one.key, one.change, _rev(row["old_rev"]), values[0], _rev(row["new_rev"]), values[1]])
    shell.table(["KEY", "CHANGE", "REV", "OLD", "REV", "NEW"], cells, flexible=(0, 3, 5))
    if shell.human and not shown:
        shell.say(f"no difference in {namespace} between {iso(begin)} and {iso(end)}")
    lost = sum(one.change == "compacted" for one in shown)
    if lost:
        shell.say(f"{text.count(lost, 'key')}: what was there then is compacted")
    if cursor is not None:
        shell.say(f"there are more: --after {cursor!r}")


def _shown(record: Record | None, hidden: bool) -> str:
    if record is None:
        return "-"
    return documents.HIDDEN if hidden else documents.shown(record, reveal=True)


def _rev(number: int | None) -> str:
    return "-" if number is None else str(number)
