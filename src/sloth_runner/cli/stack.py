"""Why: a stack is the name that runs, their locks and resumption are kept under; names change and go."""

from __future__ import annotations

import shlex

from sloth_runner.cli import suggestions
from sloth_runner.cli.base import output_option, yes_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import argument, command
from sloth_runner.documents import runs as told
from sloth_runner.errors import BadStack
from sloth_runner.names import did_you_mean


@command("list")
@output_option
def list_stacks(shell: Shell) -> None:
    """List stacks: their file, how many runs they have, and how the last one ended."""
    rows = told.stacks(shell.app())
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("stack", row)
        return
    if shell.mode == "json":
        shell.document("stack.list", told.stack_listing(shell.app(), rows))
        return
    cells = [
        [r["stack"], r["last_status"] or "-", r["last_run"] or "-", str(r["runs"]), r["file"]] for r in rows
    ]
    shell.table(["STACK", "LAST STATUS", "LAST RUN", "RUNS", "FILE"], cells, flexible=(0, 4))
    if shell.human and not rows:
        shell.say("no stacks yet")


@command("graph")
@argument("name", complete=suggestions.stacks)
@output_option
def graph(shell: Shell, name: str) -> None:
    """Show which tasks the stack NAME has, what they depend on, and which resources and keys they made, by its last
    runs and the ledger."""
    from sloth_runner.documents.graph import graph as drawn

    document = drawn(shell.app(), name)
    if shell.mode == "json":
        shell.document("stack.graph", document)
        return
    nodes = {node["id"]: node for node in document["nodes"]}
    rows = [(nodes[edge["from"]], nodes[edge["to"]]) for edge in document["edges"]]
    if shell.mode == "jsonl":
        for start, end in rows:
            shell.record("edge", {"from": start, "to": end})
        return
    cells = [[a["kind"], a["name"], a["where"], b["kind"], b["name"], b["where"]] for a, b in rows]
    shell.table(["FROM", "NAME", "ON", "TO", "NAME", "ON"], cells, flexible=(1, 4))
    if shell.human and not rows:
        shell.say(f"nothing is known of what the tasks of {name} made")


@command("rename")
@argument("old", complete=suggestions.stacks)
@argument("new")
@output_option
def rename(shell: Shell, old: str, new: str) -> None:
    """Give the stack OLD the name NEW; its runs go with it. Refused while it runs."""
    from sloth_runner.execution import stack_names

    stack_names.rename(shell.app(), old, new)
    if shell.structured:
        shell.document("stack.rename", {"store": shell.app().stores.name, "old": old, "new": new})
    else:
        shell.print(f"the stack {old} is {new} now")
        file = next((str(row["file"]) for row in told.stacks(shell.app()) if row["stack"] == new), "FILE")
        line = shlex.join(["sloth-runner", "run", "-f", file, new])
        shell.say(f"unless its workflow is called {new}, it is run by its name from now on: {line}")


@command("forget")
@argument("name", complete=suggestions.stacks)
@yes_option
@output_option
def forget(shell: Shell, name: str, yes: bool) -> None:
    """Forget the stack NAME; the records of its runs stay, state too. Refused while it runs."""
    from sloth_runner.execution import stack_names

    known = {row["stack"]: row for row in told.stacks(shell.app())}
    if name not in known:
        raise BadStack(
            f"there is no stack {name!r}", unchanged=["nothing was changed"], next=did_you_mean(name, known)
        )
    row = known[name]
    lines = [f"  {name} in {shell.app().stores.name}", f"  file {row['file']}, runs: {row['runs']}"]
    shell.confirm(lines, "Forget it?", yes=yes)
    stack_names.forget(shell.app(), name)
    if shell.structured:
        shell.document("stack.forget", {"store": shell.app().stores.name, "stack": name})
    else:
        shell.print(f"forgot the stack {name}")
