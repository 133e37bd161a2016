"""Why: who remembers a word of a value, or a part of a key, finds the key by it."""

from __future__ import annotations

from itertools import islice

from sloth_runner import documents
from sloth_runner.cli.base import COUNT, output_option, where_options
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents import search as searching
from sloth_runner.errors import UsageError
from sloth_runner.names import with_bytes


@command("search")
@argument("text")
@where_options()
@option("--prefix", default="", metavar="P", help="Only in keys that start with P.")
@option("--limit", type=COUNT, default=100, shown="100", metavar="N", help="At most N keys.")
@option("--after", metavar="MARK", help='Go on after MARK (the "next" of a page).')
@output_option
def search(shell: Shell, text: str, where: Where, prefix: str, limit: int, after: str | None) -> None:
    """List the keys that hold TEXT: in their names, then in their values. Sensitive values are not looked into."""
    if not text:
        raise UsageError("TEXT must not be empty: state list lists all keys")
    view = shell.view(one_namespace(where, "one namespace is searched at a time"))
    matches = searching.scan(view, text, prefix)
    if after is not None:
        place, _, key = after.partition("/")
        if place not in (searching.KEY, searching.VALUE) or not key:
            raise UsageError('--after takes the "next" of a page, such as key/NAME')
        rank = (place == searching.VALUE, key)
        matches = (m for m in matches if (m.where == searching.VALUE, m.row.key) > rank)
    part = list(islice(matches, limit))
    more = len(part) == limit and next(matches, None) is not None
    cursor = searching.cursor(part[-1]) if more else None
    if shell.mode == "jsonl":
        for one in part:
            shell.record("match", {"match": one.where, **documents.entry(one.row, reveal=False)})
        return
    if shell.mode == "json":
        body = searching.found(shell.app(), view.namespace, text, prefix, part, cursor)
        shell.document("state.search", body)
        return
    cells = [[one.row.key, documents.shown(one.row.record, reveal=False), one.where] for one in part]
    shell.table(["KEY", "VALUE", "FOUND IN"], cells, flexible=(0, 1))
    if shell.human and not part:
        shell.say(f"no key of {view.namespace} holds {with_bytes(repr(text))}, nor does a value")
    if cursor is not None:
        shell.say(f"there are more: --after {cursor!r}")
