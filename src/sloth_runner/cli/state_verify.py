"""Why: whether the records are those that were written can be asked at any time, and the answer names each that
is not."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.cli import problems, text
from sloth_runner.cli.base import output_option, where_options
from sloth_runner.cli.shell import Shell, Where
from sloth_runner.cli.state_keys import views
from sloth_runner.cli.words import command, option
from sloth_runner.errors import Corrupt, UsageError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.state.chain import Finding
    from sloth_runner.state.verify import Report

EVERY = 10_000
"""Keys after which a terminal is told how far it has come."""


@command("verify")
@option(
    "--head",
    metavar="DIGEST",
    help="Fail unless the checkpoint (state tag) with this digest is there and fits.",
)
@where_options(everywhere=True)
@output_option
def verify(shell: Shell, head: str | None, where: Where) -> int:
    """Verify every revision of a namespace, and print its head: a digest over the heads of all keys.

    Each revision holds the hash of the one before, and each tag the hash of one revision of every key. This finds
    records that were changed, lost, swapped or put back, and names them (exit status 7). It finds accidents, not
    somebody who can write the store and makes the hashes fit; for that, keep the digest that state tag prints
    elsewhere and give it with --head.
    """
    if head is not None:
        head = _digest(head, where)
    from sloth_runner.state.verify import verify as run

    reports = []
    for view in views(shell, where):
        told = _progress(shell, view.namespace)
        reports.append(run(view.writer.store, view.namespace, head, told))
        told(-1)
    wrong = _error(reports)
    if shell.structured:
        body = {
            "store": shell.app().stores.name,
            "ok": wrong is None,
            "namespaces": [document(report) for report in reports],
        }
        shell.document("state.verify", body)
        for line in (
            [] if wrong is None else problems.lines(wrong.document(), shell.columns, shell.error_color)
        ):
            shell.say(line)
        return 0 if wrong is None else wrong.exit_code
    if wrong is not None:
        raise wrong
    _table(shell, reports, head)
    return 0


def _digest(head: str, where: Where) -> str:
    from sloth_runner.state.verify import as_digest

    given = as_digest(head)
    if given is None:
        raise UsageError("--head takes the digest that state tag prints: 64 hexadecimal digits")
    if where.all_agents:
        raise UsageError("--head: a checkpoint lies in one namespace", next=["--agent NAME, or --shared"])
    return given


def _progress(shell: Shell, namespace: str) -> Callable[[int], None]:
    """Tells a terminal how far a verification has come, once it takes long; -1 ends it."""
    shown = False

    def tell(keys: int) -> None:
        nonlocal shown
        world = shell.world
        if not world.stderr_tty or world.environ.get("TERM") == "dumb" or (keys < 0 and not shown):
            return
        if keys < 0 or keys % EVERY == 0:
            shown = keys >= 0
            world.stderr.write("\r\x1b[K" + (f"{namespace}: {keys:,} keys verified" if shown else ""))
            world.stderr.flush()

    return tell


def document(report: Report) -> dict[str, Any]:
    """A report as part of a document."""
    return {
        "namespace": report.namespace,
        "ok": report.ok,
        "head": report.head,
        "keys": report.keys,
        "revisions": report.revisions,
        "compacted": report.compacted,
        "tags": [
            {
                "name": one.tag.name,
                "digest": one.tag.digest,
                "verified": one.verified,
                "compacted": one.compacted,
            }
            for one in report.tags
        ],
        "findings": [finding._asdict() for finding in report.findings],
        "more_findings": report.more,
    }


def _table(shell: Shell, reports: list[Report], head: str | None) -> None:
    rows = []
    for report in reports:
        numbers = (report.keys, report.revisions, report.compacted)
        rows.append(
            [
                report.namespace,
                *(f"{number:,}" if shell.human else str(number) for number in numbers),
                report.head,
            ]
        )
    if not shell.human:
        shell.table([], rows)
    else:
        for row in rows:
            names = ("keys", "revisions", "compacted", "head")
            shell.fields(row[0], list(zip(names, row[1:], strict=True)))
    for report in reports:
        if report.compacted:
            shell.say(
                f"{report.namespace}: of {text.count(report.compacted, 'key')} older revisions are compacted, "
                "not verified"
            )
        for one in report.tags:
            if one.tag.digest == head or shell.human:
                shell.say(_extends(report, one.tag.name, one.verified, one.compacted))


def _extends(report: Report, name: str, verified: int, compacted: int) -> str:
    line = f"{report.namespace}: {text.count(verified, 'key')} verified from the tag {name} on"
    if compacted:
        line += f"; of {text.count(compacted, 'key')}, what came between is compacted, not verified"
    return line


def _error(reports: list[Report]) -> Corrupt | None:
    """The error that lists all findings; None if there are none."""
    found = [(report.namespace, finding) for report in reports for finding in report.findings]
    if not found:
        return None
    more = sum(report.more for report in reports)
    lines = [f"{text.count(len(found) + more, 'fault')} in what is stored"]
    lines += [f"{namespace}: {_line(finding)}" for namespace, finding in found]
    if more:
        lines.append(f"… and {more:,} more")
    return Corrupt(
        "\n".join(lines),
        unchanged=["nothing was changed"],
        next=[
            "keep a copy of the store before anything else is written to it",
            "see what is still there: sloth-runner state history KEY; restore the rest from a backup",
        ],
    )


def _line(finding: Finding) -> str:
    if finding.key is None:
        return finding.message
    where = finding.key if finding.revision is None else f"{finding.key}@{finding.revision}"
    return f"{where}: {finding.message}"
