"""Why: seeing what differs on the machines from what was applied to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from sloth_runner.cli import suggestions
from sloth_runner.cli.base import complete_agent, output_option
from sloth_runner.cli.plan import CHANGES
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.text import count, pictures, styled
from sloth_runner.cli.words import argument, command, option
from sloth_runner.errors import KeyMissing, UsageError
from sloth_runner.plain import Any

Document = Mapping[str, Any]


@command("drift")
@argument("prefix", required=False, default="", complete=suggestions.resources)
@option(
    "--agent",
    "agents",
    multiple=True,
    metavar="NAME",
    complete=complete_agent,
    help="Only this agent; all that have resources if not given.",
)
@option(
    "--ignore",
    multiple=True,
    metavar="TYPE:ID.ATTRIBUTE",
    help="Don't count this attribute (* and ? are wild).",
)
@option("--detailed-exitcode", is_flag=True, help="Exit with 2 exactly if something differs.")
@option("-v", "--verbose", is_flag=True, help="Also list what does not differ.")
@output_option
def drift(
    shell: Shell,
    /,
    prefix: str,
    agents: tuple[str, ...],
    ignore: tuple[str, ...],
    detailed_exitcode: bool,
    verbose: bool,
) -> int:
    """Look at every recorded resource (or those whose type:id begins with PREFIX) and show what differs from what was
    applied last, attribute by attribute, with who applied it and when. Changes nothing; the next run repairs it.

    Exit status: 0, or with --detailed-exitcode 2 exactly if something differs; 1 if a resource could not be looked
    at; 4 if no resource begins with PREFIX; 6 if an agent can't be reached.
    """
    from sloth_runner.execution.drifting import drift as look
    from sloth_runner.state.layout import SHARED

    _check_ignored(ignore)
    app = shell.app()
    chosen = [app.require_agent(name) for name in agents] or [n for n in app.namespaces() if n != SHARED]
    document = look(app, chosen, ignore, prefix)
    if prefix and not (document["checked"] or document["problems"]):
        raise _missing(shell, prefix)
    if not (prefix or agents or document["problems"]):  # all of them were looked at
        _warn_of_idle(shell, ignore, document)
    if shell.mode == "json":
        shell.document("drift", {"store": app.stores.name, **document})
    elif shell.mode == "jsonl":
        for row in document["resources"]:
            shell.record("drift.resource", row)
        shell.record("drift.finished", {k: v for k, v in document.items() if k != "resources"})
    else:
        for line in _lines(shell, document, verbose=verbose):
            shell.print(line)
    if document["unreachable"]:
        return 6
    if detailed_exitcode and document["drifted"]:
        return CHANGES
    return 1 if _unknown(document) else 0  # what nobody could look at is not well


def _check_ignored(patterns: Sequence[str]) -> None:
    for pattern in patterns:
        if not re.search(r"[*?]|.:.*\.", pattern):
            raise UsageError(
                f"--ignore {pattern!r} names no attribute of a resource",
                unchanged=["nothing was changed"],
                next=["such as 'file:/etc/motd.mode', or '*.mode' for the mode of all"],
            )


def _warn_of_idle(shell: Shell, patterns: Sequence[str], document: Document) -> None:
    """Tell of patterns that ignore nothing, whatever differs: there is no such resource."""
    from fnmatch import fnmatchcase

    addresses = [row["address"] for row in document["resources"]]
    for pattern in patterns if addresses else ():
        ways = (pattern, pattern.rpartition(".")[0] or "*")
        if not any(fnmatchcase(address, way) for address in addresses for way in ways):
            shell.warn(f"--ignore {pattern!r} is of no resource that is recorded")


def _missing(shell: Shell, prefix: str) -> KeyMissing:
    is_file = (shell.cwd / prefix).exists()
    file = [f"{prefix} is a file: leave it out to look at all resources"] if is_file else []
    return KeyMissing(
        f"no recorded resource begins with {prefix!r}",
        unchanged=["nothing was looked at"],
        next=[*file, "see what is recorded: sloth-runner resource list"],
    )


def _unknown(document: Document) -> int:
    return sum(row["status"] == "unknown" for row in document["resources"])


def _lines(shell: Shell, document: Document, *, verbose: bool) -> Iterator[str]:
    for row in document["resources"]:
        if row["status"] != "ok" or verbose:
            yield from _resource(shell, row)
    for one in document["problems"]:
        text = f"! {one['agent']} can't be reached: its resources were not looked at"
        yield styled(text, "red", shell.color)
        yield f"    {pictures(one['problem'])}"
        yield from (f"    next: {pictures(line)}" for line in one["next"])
    unknown = _unknown(document)
    more = f", {unknown} could not be looked at" if unknown else ""
    text = f"{count(document['checked'], 'resource')} checked, {document['drifted']} drifted{more}"
    yield styled(text, "bold", shell.color)


def _resource(shell: Shell, row: Document) -> Iterator[str]:
    from sloth_runner.cli.progress import diff_line
    from sloth_runner.engine.job import changing
    from sloth_runner.moments import parse_moment

    style = {"ok": "green", "unknown": "cyan"}.get(row["status"], "yellow")
    last = row["last"]
    when = shell.moment(parse_moment(last["time"]))
    by = f"{last['user']}@{last['host']}, run {last['run']}, task {last['task']}, {when}"
    status = styled(row["status"], style, shell.color)
    yield f"[{row['agent']}] {pictures(row['address'])} {status} (applied by {pictures(by)})"
    if row["reason"]:
        yield f"    {pictures(row['reason'])}"
    for attribute in row["attributes"]:
        if attribute["name"] == "content" and row["diff"]:
            continue
        differs = pictures(changing(attribute["recorded"], attribute["actual"]))
        yield f"    {attribute['name']}: {differs}"
    for text in str(row["diff"] or "").splitlines():
        yield f"    {diff_line(text, shell.color)}"
