"""Why: before tasks are run on machines, one asks whether they answer, and what they are like."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sloth_runner.cli.agent import complete_agents
from sloth_runner.cli.base import output_option
from sloth_runner.cli.shell import Document, Shell
from sloth_runner.cli.text import took
from sloth_runner.cli.words import argument, command


@command("ping")
@argument("agents", multiple=True, required=False, metavar="[AGENT]...", complete=complete_agents)
@output_option
def ping(shell: Shell, agents: Sequence[str]) -> int:
    """Reach agents (all that are configured, or those that AGENT, @group or a pattern means) at once, and say as
    whom, how fast, or why not and what to do. Exit status 6 if one can't be reached.
    """
    from sloth_runner.execution.reaching import reach
    from sloth_runner.state.backends import public_url

    app = shell.app()
    names = app.expand_agents(*agents) if agents else sorted(app.inventory.agents)
    found = reach(app, names)
    rows: list[Document] = [
        {"agent": name, "address": public_url(app.agent(name).url), **found[name]} for name in names
    ]
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("agent", row)
    elif shell.mode == "json":
        shell.document("agent.ping", {"store": app.stores.name, "agents": rows})
    else:
        shell.table(["AGENT", "ADDRESS", "REACHABLE"], [_cells(shell, row) for row in rows], flexible=(1, 2))
        _tell(shell, rows)
        if shell.human and not rows:
            shell.say("no agents are configured; add one: sloth-runner agent add web1 ssh://user@host")
    return 6 if any(not row["reachable"] for row in rows) else 0


def _cells(shell: Shell, row: Document) -> list[str]:
    answer = f"yes, as {row['user']} in {took(row['seconds'])}" if row["reachable"] else refusal(shell, row)
    return [row["agent"], row["address"], answer]


def refusal(shell: Shell, row: Document) -> str:
    """Why an agent can't be reached, for a table: on a terminal it stands below, where nothing cuts it."""
    return "no" if shell.human else f"no: {row['problem']}"


def _tell(shell: Shell, rows: Sequence[Document]) -> None:
    """What is wrong with those that can't be reached, and what to do."""
    for row in rows:
        if shell.human and not row["reachable"]:
            shell.say(f"{row['agent']}: {row['problem']}")
        for step in row["next"]:
            shell.say(f"{row['agent']}: next: {step}")


@command("facts")
@argument("agent", complete=complete_agents)
@argument("sections", multiple=True, required=False, metavar="[SECTION]...")
@output_option
def facts(shell: Shell, agent: str, sections: Sequence[str]) -> None:
    """Show what the machine AGENT is like: all sections of facts, or those named (os, cpu, memory, disks …)."""
    from sloth_runner.execution.reaching import gather

    app = shell.app()
    app.require_agent(agent)
    found = gather(app, agent, sections)
    if shell.structured:
        shell.document("agent.facts", {"store": app.stores.name, "agent": agent, **found})
        return
    cells = [[name, json.dumps(value, ensure_ascii=False)] for name, value in found["facts"].items()]
    shell.table(["SECTION", "FACTS"], cells, flexible=(1,))
    for name, why in found["missing"].items():
        shell.warn(f"{name} can't be gathered there: {why}")
