"""Why: "what changed here since yesterday, and who did it" is asked of a whole namespace, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sloth_runner.cli import documents, reveals
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.state_history import cells
from sloth_runner.errors import UsageError
from sloth_runner.moments import iso
from sloth_runner.state.history import Filter, Mark, latest, one

if TYPE_CHECKING:
    from sloth_runner.state.history import Revision
    from sloth_runner.state.state import State


def print_recent(
    shell: Shell, view: State, prefix: str, wanted: Filter, limit: int, after: str | None, *, reveal: bool
) -> None:
    """Print the newest changes of the namespace that ``prefix`` lies in."""
    store, namespace = view.writer.store, view.home(prefix)
    marks = latest(store, namespace, prefix, wanted, limit + 1, None if after is None else _mark(after))
    page = [(mark, found) for mark in marks[:limit] if (found := one(store, namespace, mark)) is not None]
    cursor = _cursor(marks[limit - 1]) if len(marks) > limit else None
    if reveal:
        secret = {mark.key: None for mark, found in page if found.secret or found.old_secret}
        for key in secret:
            reveals.record_key(shell, view, namespace, key)
    rows = [{"key": mark.key, **documents.revision(found, reveal=reveal)} for mark, found in page]
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("revision", row)
        return
    if shell.mode == "json":
        body = {
            "store": shell.app().store_name,
            "namespace": namespace,
            "prefix": prefix,
            "since": None if wanted.since is None else iso(wanted.since),
            "until": None if wanted.until is None else iso(wanted.until),
            "by": sorted(wanted.by),
            "count": len(rows),
            "next": cursor,
            "revisions": rows,
        }
        shell.document("state.history.list", body)
        return
    _table(shell, page, reveal)
    if shell.human and not page:
        shell.say(f"no changes in {namespace} that match" if after is None else "no more changes")
    if cursor is not None:
        shell.say(f"there are more: --after {cursor!r}")


def _table(shell: Shell, page: list[tuple[Mark, Revision]], reveal: bool) -> None:
    headers = ["KEY", "REV", "TIME", "OP", "VALUE", "BY", "RUN", "TASK"]
    rows = [[mark.key, *cells(shell, found, reveal)] for mark, found in page]
    shell.table(headers, rows, flexible=(0, 4, 5, 6, 7))


def _cursor(mark: Mark) -> str:
    return f"{mark.time!r}/{mark.number}/{mark.key}"


def _mark(text: str) -> Mark:
    time, _, rest = text.partition("/")
    number, _, key = rest.partition("/")
    try:
        return Mark(float(time), key, int(number))
    except ValueError:
        raise UsageError('--after takes the "next" of a page, such as 1790000000.0/3/KEY') from None
