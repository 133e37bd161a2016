"""Why: which machines are meant by which names, and whether they can be reached, is asked before anything is run."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Document, Shell
from sloth_runner.cli.text import took
from sloth_runner.cli.words import command, option
from sloth_runner.documents import agents as told


def complete_agents(shell: Shell, given: Mapping[str, object]) -> list[str]:
    """The names of agents."""
    return shell.app().known_agents()


@command("list")
@option("--check", is_flag=True, help="Also try to reach each of them.")
@output_option
def list_agents(shell: Shell, check: bool) -> int:
    """List agents: those that are configured, and those that have state. With --check, exit status 6 if one can't be
    reached."""
    app = shell.app()
    reached: dict[str, Document] | None = None
    if check:
        from sloth_runner.execution.reaching import reach

        reached = reach(app, told.reachable(app))
    rows = told.rows(app, reached)
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("agent", row)
    elif shell.mode == "json":
        shell.document("agent.list", told.listing(app, rows, checked=check))
    else:
        headers = ["AGENT", "URL", "GROUPS", "TAGS", "STATE", "CERTIFICATE", "REACHABLE"]
        shell.table(headers, [_cells(shell, row) for row in rows], flexible=(1, 2, 6))
        for row in rows if shell.human else ():
            if row["reachable"] is False:
                shell.say(f"{row['name']}: {row['problem']}")
    for text in (*app.inventory.twins(app.inventory.agents), *app.inventory.idle_groups()):
        shell.warn(text)
    return 6 if any(row["reachable"] is False for row in rows) else 0


def _cells(shell: Shell, row: Document) -> list[str]:
    from sloth_runner.cli.agent_ask import refusal

    if row["reachable"] is None:
        reachable = "-"
    elif row["reachable"]:
        reachable = f"yes, as {row['user']} in {took(row['seconds'])}, version {row['version'] or 'unknown'}"
    else:
        reachable = refusal(shell, row)
    state = "yes" if row["has_state"] else "no"
    return [
        row["name"],
        row["url"] or "- (not configured)",
        ", ".join(row["groups"]) or "-",
        ", ".join(row["tags"]) or "-",
        state,
        _certificate(row["certificate"]),
        reachable,
    ]


def _certificate(row: Document | None) -> str:
    if row is None:
        return "-"
    if row["revoked"]:
        return "revoked"
    return f"{'until' if row['good'] else 'ended'} {row['until'][:10]}"
