"""Why: what a key held before, who changed it, and what differs."""

from __future__ import annotations

from sloth_runner import documents
from sloth_runner.cli.base import COUNT, complete_key, output_option, reveal_option, where_options
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.state_keys import moment, views
from sloth_runner.cli.words import argument, command, option
from sloth_runner.errors import UsageError
from sloth_runner.model import By
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.state.history import Filter, Revision
    from sloth_runner.state.state import State

ONE = "a key's history lies in one namespace"
TIME = "A time such as 2026-01-31T09:00 (UTC), or how long ago such as 2d."


@command("history")
@argument("key", required=False, complete=complete_key)
@where_options(everywhere=True)
@option("--prefix", metavar="P", help="All keys that start with P, instead of KEY.")
@option("--since", metavar="TIME", help=f"Only changes from then on. {TIME}")
@option("--until", metavar="TIME", help="Only changes up to then.")
@option("--by", metavar="WHO", help="Only changes by this user, user@host, or run (its id, or last).")
@option("--limit", type=COUNT, metavar="N", help="At most N revisions; 100 if no KEY is given.")
@option("--before", type=COUNT, metavar="REV", help='Only those before REV (the "next" of a page).')
@option("--after", metavar="MARK", help='Without KEY: go on after MARK (the "next" of a page).')
@reveal_option
@output_option
def history(
    shell: Shell,
    key: str | None,
    where: Where,
    prefix: str | None,
    since: str | None,
    until: str | None,
    by: str | None,
    limit: int | None,
    before: int | None,
    after: str | None,
    reveal: bool,
) -> None:
    """List what KEY held, the newest first, and who was shown its sensitive values.

    Without KEY: all changes of one namespace (or of all), or of the keys below a prefix.
    """
    wanted = _filter(shell, since, until, by)
    if key is None:
        from sloth_runner.cli.state_recent import print_recent

        if before is not None:
            raise UsageError("--before goes with KEY; without one, pages go on with --after")
        seen, all_ = views(shell, where), where.all_agents
        print_recent(shell, seen, prefix or "", wanted, limit or 100, after, everywhere=all_, reveal=reveal)
        return
    view = shell.view(one_namespace(where, ONE))
    if prefix is not None or after is not None:
        raise UsageError(f"KEY and {'--prefix' if prefix is not None else '--after'} exclude each other")
    _print_key(shell, view, key, wanted, limit, before, reveal)


def _filter(shell: Shell, since: str | None, until: str | None, by: str | None) -> Filter:
    from sloth_runner.documents.past import who_is_meant
    from sloth_runner.state.history import Filter

    begin = None if since is None else moment(shell, "--since", since)
    end = None if until is None else moment(shell, "--until", until)
    if begin is not None and end is not None and end < begin:
        raise UsageError("--until lies before --since")
    return Filter(begin, end, frozenset() if by is None else who_is_meant(shell.app().store(), by))


def _print_key(
    shell: Shell, view: State, key: str, wanted: Filter, limit: int | None, before: int | None, reveal: bool
) -> None:
    from sloth_runner.documents import past

    part = past.of_key(view, key, wanted, limit, before, reveal=reveal)
    if shell.mode == "jsonl":
        for found in part.revisions:
            shell.record("revision", documents.revision(found, reveal=reveal))
        return
    if shell.mode == "json":
        shell.document("state.history", past.key_history(shell.app(), part, reveal=reveal))
        return
    _table(shell, part.revisions, reveal)
    _notes(shell, part.revisions, part.first, part.more, part.shown_to)


def _notes(
    shell: Shell, page: list[Revision], first: int, more: bool, shown_to: list[dict[str, Any]]
) -> None:
    if not page:
        shell.say("no revision matches")
    if first > 1 and not more:
        tagged = any(r.record.number < first for r in page)
        shell.say(f"revisions before {first} are compacted{', but those that tags keep' if tagged else ''}")
    for shown in shown_to:
        shell.say(f"shown to {documents.who_text(_by(shown))} at {shown['time']}")
    if more:
        shell.say(f"there are more: --before {page[-1].record.number}")


def _by(shown: dict[str, Any]) -> By:
    by = shown["by"]
    return By(by["user"], by["host"], by["pid"], by["run"], by["task"])


def _table(shell: Shell, page: list[Revision], reveal: bool) -> None:
    rows = [cells(shell, found, reveal) for found in page]
    shell.table(["REV", "TIME", "OP", "VALUE", "BY", "RUN", "TASK"], rows, flexible=(3, 4, 5, 6))


def cells(shell: Shell, found: Revision, reveal: bool) -> list[str]:
    """A revision as a row: number, time, operation, value, by, run, task."""
    record = found.record._replace(sensitive=found.secret)
    shown = documents.shown(record, reveal=reveal)
    doer = [f"{record.by.user}@{record.by.host}", record.by.run or "-", record.by.task or "-"]
    return [str(record.number), shell.moment(record.time), record.op, shown, *doer]


@command("diff")
@argument("first", metavar="[KEY[@REV]]", required=False, complete=complete_key)
@argument("second", metavar="[KEY@REV]", required=False)
@option("--from-time", metavar="TIME", help=f"Compare the whole namespace, as it was then. {TIME}")
@option("--to-time", metavar="TIME", help="With how it was then; with now if it is not given.")
@option("--to-agent", metavar="NAME", help="Compare the whole namespace with this agent's.")
@option("--prefix", metavar="P", help="Of a whole namespace: only keys that start with P.")
@option("--limit", type=COUNT, metavar="N", help="Of a whole namespace: at most N keys.")
@option("--after", metavar="KEY", help='Of a whole namespace: go on after KEY (the "next" of a page).')
@where_options()
@reveal_option
@output_option
def diff(
    shell: Shell,
    first: str | None,
    second: str | None,
    from_time: str | None,
    to_time: str | None,
    to_agent: str | None,
    prefix: str | None,
    limit: int | None,
    after: str | None,
    where: Where,
    reveal: bool,
) -> None:
    """Compare two revisions: KEY@3 KEY@5. KEY@3 alone compares it with what is there now, KEY alone the last
    two revisions. With --from-time: which keys of a namespace differ between two moments; with --to-agent: between
    two agents."""
    view = shell.view(one_namespace(where, ONE))
    if sum(given is not None for given in (first, from_time, to_agent)) != 1:
        raise UsageError(
            "give one of KEY@REV, --from-time and --to-agent",
            next=["sloth-runner state diff KEY@3 KEY@5", "sloth-runner state diff --from-time 2h"],
        )
    if first is not None and (prefix, limit, after) != (None, None, None):
        raise UsageError("--prefix, --limit and --after go with --from-time or --to-agent")
    if to_agent is not None:
        from sloth_runner.cli.state_agents_diff import print_agents

        if to_time is not None or reveal:
            raise UsageError("--to-time and --reveal don't go with --to-agent")
        print_agents(shell, view, to_agent, prefix or "", limit, after or "")
        return
    if first is not None:
        if to_time is not None:
            raise UsageError("--to-time goes with --from-time")
        from sloth_runner.cli.state_diff import print_diff

        print_diff(shell, view, first, second, reveal=reveal)
        return
    from sloth_runner.cli.state_between import print_between

    begin = moment(shell, "--from-time", from_time or "")
    end = shell.world.clock() if to_time is None else moment(shell, "--to-time", to_time)
    if end < begin:
        raise UsageError("--to-time lies before --from-time")
    view = view.below(prefix or "")
    print_between(shell, view, (begin, end), prefix or "", limit, after or "", reveal=reveal)
