"""Why: two machines that should be alike are compared by what their states hold."""

from __future__ import annotations

from sloth_runner import documents
from sloth_runner.cli.shell import Shell
from sloth_runner.documents import differences
from sloth_runner.documents.keys import own_view
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.state.record import Record
    from sloth_runner.state.state import State


def print_agents(shell: Shell, view: State, agent: str, prefix: str, limit: int | None, after: str) -> None:
    """Print the keys that this namespace and another agent's hold differently."""
    app = shell.app()
    one, other = own_view(view), own_view(app.state(app.require_agent(agent)))
    part, cursor = differences.page(differences.across(one, other, prefix, after), limit)
    if shell.mode == "jsonl":
        for difference in part:
            shell.record("change", differences.row(one, difference, reveal=False))
        return
    if shell.mode == "json":
        shell.document("state.diff.agents", differences.of_agents(app, one, other, prefix, part, cursor))
        return
    cells = [[d.key, d.change, _shown(d.old, d.secret), _shown(d.new, d.secret)] for d in part]
    shell.table(["KEY", "CHANGE", one.namespace.upper(), other.namespace.upper()], cells, flexible=(0, 2, 3))
    if shell.human and not part:
        shell.say(f"no difference between {one.namespace} and {other.namespace}")
    if cursor is not None:
        shell.say(f"there are more: --after {cursor!r}")


def _shown(record: Record | None, hidden: bool) -> str:
    if record is None:
        return "-"
    return documents.HIDDEN if hidden else documents.shown(record, reveal=True)
