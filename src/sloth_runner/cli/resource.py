"""Why: the ledger can be looked at, and told to forget."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sloth_runner.cli import suggestions
from sloth_runner.cli.base import output_option, where_options, yes_option
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.text import count
from sloth_runner.cli.words import argument, command
from sloth_runner.documents import resources as told
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import LOCAL, SHARED

if TYPE_CHECKING:
    from sloth_runner.state.ledger_records import Entry


def _agents(shell: Shell, where: Where) -> list[str]:
    app = shell.app()
    if where.shared:
        raise UsageError("resources belong to machines: the shared namespace has none", next=["--agent NAME"])
    if where.all_agents:
        return [name for name in app.namespaces() if name != SHARED]
    return [LOCAL if where.agent is None else app.require_agent(where.agent)]


@command("list")
@argument("prefix", required=False, default="", complete=suggestions.resources)
@where_options(everywhere=True)
@output_option
def list_resources(shell: Shell, /, prefix: str, where: Where) -> None:
    """List what was converged on a machine: all, or what begins with PREFIX (a type, or type:id)."""
    from sloth_runner.state.ledger_queries import entries

    store = shell.app().store()
    found = [(agent, e) for agent in _agents(shell, where) for e in entries(store, agent, prefix)]
    rows = told.rows(store, found)
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("resource", row)
    elif shell.mode == "json":
        shell.document("resource.list", told.listing(shell.app(), rows))
    else:
        cells = [
            [r["address"], r["status"], r["stack"] or "-", r["task"] or "-", shell.moment(e.time), agent]
            for r, (agent, e) in zip(rows, found, strict=True)
        ]
        shell.table(["RESOURCE", "STATUS", "STACK", "TASK", "APPLIED", "AGENT"], cells, flexible=(0, 2, 3))
        if shell.human and not rows:
            shell.say("nothing is recorded")


@command("show")
@argument("address", complete=suggestions.resources)
@where_options()
@output_option
def show(shell: Shell, /, address: str, where: Where) -> None:
    """Show what the ledger knows of one resource (type:id): what was wanted, what was there before, and by whom."""
    agent, entry = _one(shell, address, one_namespace(where, "a resource is on one machine"))
    (row,) = told.rows(shell.app().store(), [(agent, entry)])
    if shell.structured:
        shell.document("resource.show", told.shown(shell.app(), row))
        return
    pairs = [
        ("status", row["status"]),
        *((f"wanted {name}", _cell(value)) for name, value in (row["wanted"] or {}).items()),
        *((f"before {name}", _cell(value)) for name, value in (row["before"] or {}).items()),
        ("there before", "no" if row["before"] is None else "yes"),
        ("module", f"{row['module']}, line {row['line']}"),
        ("applied", f"{shell.moment(entry.time)} by {row['by']['user']}@{row['by']['host']}"),
        ("stack, run, task", f"{row['stack'] or '-'}, {row['by']['run']}, {row['task']}"),
        *(("site", line) for line in row["site"]),
        *((f"checksum {name}", value) for name, value in row["checksums"].items()),
    ]
    shell.fields(f"{address} on {agent}", pairs)


@command("forget")
@argument("addresses", multiple=True, required=True, metavar="ADDRESS…", complete=suggestions.resources)
@where_options()
@yes_option
@output_option
def forget(shell: Shell, /, addresses: Sequence[str], where: Where, yes: bool) -> None:
    """Forget resources; the machine is left as it is. A later run records them again, as found."""
    from sloth_runner.state.ledger import Ledger

    where = one_namespace(where, "resources are forgotten on one machine at a time")
    found = [_one(shell, address, where) for address in addresses]
    agent = found[0][0]
    store = shell.app().stores.name
    lines = [f"forget {count(len(found), 'resource')} of {agent} in {store}:", *(f"  {a}" for a in addresses)]
    shell.confirm(lines, "Forget?", yes=yes)
    ledger = Ledger(shell.app().store(), agent, tuple)
    for _, entry in found:
        ledger.drop(entry.address)
    ledger.flush()
    if shell.structured:
        shell.document("resource.forget", {"store": store, "agent": agent, "forgotten": list(addresses)})
    else:
        shell.print(f"forgot {count(len(found), 'resource')}; the machine is as it was")


def _one(shell: Shell, address: str, where: Where) -> tuple[str, Entry]:
    (agent,) = _agents(shell, where)
    return agent, told.one(shell.app().store(), agent, address)


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
