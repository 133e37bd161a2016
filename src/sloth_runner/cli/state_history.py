"""Why: what a key held before, who changed it, and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sloth_runner.cli import documents, reveals
from sloth_runner.cli.base import COUNT, command, complete_key, output_option, reveal_option, where_options
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.state_keys import first_kept, missing
from sloth_runner.model import By

if TYPE_CHECKING:
    from sloth_runner.state.record import Record

ONE = "a key's history lies in one namespace"


@command("history")
@click.argument("key", shell_complete=complete_key)
@where_options()
@click.option("--limit", type=COUNT, metavar="N", help="At most N revisions.")
@click.option("--before", type=COUNT, metavar="REV", help='Only those before REV (the "next" of a page).')
@reveal_option
@output_option
@click.pass_obj
def history(
    shell: Shell, key: str, where: Where, limit: int | None, before: int | None, reveal: bool
) -> None:
    """List what KEY held, the newest first, and who was shown its sensitive values."""
    view = shell.view(one_namespace(where, ONE))
    found = [r for r in view.history(key) if before is None or r.record.number < before]
    if not found and before is None:
        raise missing(view, key)
    page = found if limit is None else found[:limit]
    more = len(page) < len(found)
    namespace = view.home(key)
    if reveal and any(r.record.sensitive for r in page):
        reveals.record_key(shell, view, namespace, key)
    first, _ = first_kept(view, key, page[-1].record) if page else (1, 0)
    secret = {r.record.number: r.record.sensitive for r in found}
    rows = [_revision(r, secret.get(r.record.number - 1, False), reveal) for r in page]
    shown_to = reveals.found(view.writer.store, namespace, key)
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("revision", row)
        return
    if shell.mode == "json":
        body = {
            "store": shell.app().store_name,
            "namespace": namespace,
            "key": key,
            "compacted_below": first if first > 1 else 0,
            "next": page[-1].record.number if more else None,
            "revisions": rows,
            "reveals": shown_to,
        }
        shell.document("state.history", body)
        return
    _history_table(shell, [r.record for r in page], reveal)
    if first > 1 and not more:
        shell.say(f"revisions before {first} are compacted")
    for shown in shown_to:
        shell.say(f"shown to {documents.who_text(_by(shown))} at {shown['time']}")
    if more:
        shell.say(f"there are more: --before {page[-1].record.number}")


def _by(shown: dict[str, Any]) -> By:
    by = shown["by"]
    return By(by["user"], by["host"], by["pid"], by["run"], by["task"])


def _revision(revision: Any, old_secret: bool, reveal: bool) -> dict[str, Any]:
    from sloth_runner.moments import iso
    from sloth_runner.state.value import to_json

    record: Record = revision.record
    hide_old = (old_secret or record.sensitive) and not reveal
    return {
        "rev": record.number,
        "time": iso(record.time),
        "op": record.op,
        "old": None if revision.old is None or hide_old else to_json(revision.old),
        "new": documents.value(record, reveal=reveal),
        "sensitive": record.sensitive,
        "by": documents.who(record.by),
    }


def _history_table(shell: Shell, records: list[Record], reveal: bool) -> None:
    rows = []
    for record in records:
        shown = documents.shown(record, reveal=reveal)
        doer = [f"{record.by.user}@{record.by.host}", record.by.run or "-", record.by.task or "-"]
        rows.append([str(record.number), shell.moment(record.time), record.op, shown, *doer])
    shell.table(["REV", "TIME", "OP", "VALUE", "BY", "RUN", "TASK"], rows, flexible=(3, 4, 5, 6))


@command("diff")
@click.argument("first", metavar="KEY[@REV]", shell_complete=complete_key)
@click.argument("second", metavar="[KEY@REV]", required=False)
@where_options()
@reveal_option
@output_option
@click.pass_obj
def diff(shell: Shell, first: str, second: str | None, where: Where, reveal: bool) -> None:
    """Compare two revisions: KEY@3 KEY@5. KEY@3 alone compares it with what is there now, KEY alone the last
    two revisions."""
    from sloth_runner.cli.state_diff import print_diff

    print_diff(shell, shell.view(one_namespace(where, ONE)), first, second, reveal=reveal)
