"""Why: looking at state: what is there, what was there, how much."""

from __future__ import annotations

from sloth_runner import documents
from sloth_runner.cli import text
from sloth_runner.cli.base import COUNT, complete_key, output_option, reveal_option, where_options
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.state_keys import moment, views
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents import keys, reveals
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.state.state import Row

ONE = "a key is looked up in one namespace"


@command("list")
@argument("prefix", default="", complete=complete_key)
@where_options(everywhere=True)
@option("--limit", type=COUNT, metavar="N", help="At most N keys.")
@option("--after", default="", metavar="KEY", help='Go on after KEY (the "next" of a page).')
@reveal_option
@output_option
def list_keys(shell: Shell, prefix: str, where: Where, limit: int | None, after: str, reveal: bool) -> None:
    """List keys, all or those below PREFIX, own and shared ones."""
    seen = views(shell, where)
    part = keys.page(seen, prefix, after, limit, everywhere=where.all_agents)
    rows = part.rows
    if reveal:
        reveals.record(seen[0], [row for row in rows if row.record.sensitive])
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("entry", documents.entry(row, reveal=reveal))
        return
    if shell.mode == "json":
        body = keys.listing(shell.app(), seen, prefix, part, everywhere=where.all_agents, reveal=reveal)
        shell.document("state.list", body)
        return
    _list_table(shell, rows, where.all_agents, reveal)
    if shell.human and not rows:
        below = f" below {prefix!r}" if prefix else ""
        shell.say(
            "no keys" + below + (" in any namespace" if where.all_agents else f" in {seen[0].namespace}")
        )
    if part.next is not None:
        shell.say(f"there are more: --after {part.next!r}")


def _list_table(shell: Shell, rows: list[Row], everywhere: bool, reveal: bool) -> None:
    headers = ["KEY", "VALUE", "TYPE", "REV", "UPDATED", "EXPIRES", "NAMESPACE"]
    cells = []
    for namespace, key, record in rows:
        kind = documents.record_entry(namespace, key, record, reveal=False)["type"]
        shown = documents.shown(record, reveal=reveal)
        times = [shell.moment(record.time), shell.moment(record.expires)]
        cells.append([key, shown, str(kind), str(record.number), *times, namespace])
    keep = [0, 1, 2, 3, 4]
    if not shell.human or any(row.record.expires is not None for row in rows):
        keep.append(5)
    if not shell.human or everywhere:
        keep.append(6)
    shell.table([headers[i] for i in keep], [[row[i] for i in keep] for row in cells], flexible=(0, 1))


@command("show")
@argument("key", complete=complete_key)
@where_options()
@option("--rev", type=COUNT, metavar="N", help="Revision N instead of the current one.")
@option("--at", metavar="TIME", help="What was in force then: 2026-01-31T09:00, or 2h for two hours ago.")
@reveal_option
@output_option
def show(shell: Shell, key: str, where: Where, rev: int | None, at: str | None, reveal: bool) -> None:
    """Show KEY: its value, its type, and who changed it when."""
    view = shell.view(one_namespace(where, ONE))
    if rev is not None and at is not None:
        raise UsageError("--rev and --at exclude each other: give one of them")
    moment_ = None if at is None else moment(shell, "--at", at)
    namespace, record = keys.wanted(view, key, rev, moment_)
    if reveal and record.sensitive:
        reveals.record_key(view, namespace, key)
    if shell.structured:
        shell.document("state.show", keys.shown(shell.app(), view, namespace, key, record, reveal=reveal))
        return
    first = keys.first_kept(view, key, record)
    kind = documents.record_entry(namespace, key, record, reveal=False)["type"] or f"none ({record.op})"
    expires = "never" if record.expires is None else shell.moment(record.expires)
    pairs = [
        ("value", documents.shown(record, reveal=reveal, pretty=shell.human)),
        ("type", f"{kind}, {text.count(record.size, 'byte')}" if shell.human else str(kind)),
        (
            "revision",
            f"{record.number} (kept: {first[0]} to {first[1]})" if shell.human else str(record.number),
        ),
        ("updated", shell.moment(record.time)),
        ("by", documents.who_text(record.by)),
        ("created", shell.moment(record.created)),
        ("expires", expires),
        ("sensitive", "yes" if record.sensitive else "no"),
        ("namespace", namespace),
        ("store", shell.app().stores.name),
    ]
    if not shell.human:
        pairs.insert(0, ("key", key))
    shell.fields(key, pairs)


@command("get")
@argument("key", complete=complete_key)
@where_options()
@option("--raw", is_flag=True, help="The bytes alone, without a newline after them.")
@reveal_option
@output_option
def get(shell: Shell, key: str, where: Where, raw: bool, reveal: bool) -> None:
    """Print the value of KEY and nothing else: a string as it is, everything else as JSON.

    A newline follows unless --raw is given. On a terminal control characters show as pictures unless --raw is
    given.
    """
    view = shell.view(one_namespace(where, ONE))
    row = view.row(key)
    if row is None:
        raise keys.missing(view, key)
    record = row.record
    if reveal and record.sensitive:
        reveals.record_key(view, row.namespace, key)
    if shell.structured:
        entry = documents.entry(row, reveal=reveal)
        body = {name: entry[name] for name in ("namespace", "key", "type", "value", "sensitive")}
        shell.document("state.get", {"store": shell.app().stores.name, **body})
        return
    shown = documents.shown(record, reveal=reveal)
    if record.sensitive and not reveal:
        shell.warn("the value is sensitive: --reveal shows it, and that you saw it is recorded")
    if shell.mode == "plain":
        shell.print(text.plain(shown))
    elif shell.human and not raw:
        shell.print(text.pictures(shown, lines=True))
    else:
        shell.write_bytes(shown.encode("utf-8", "surrogateescape") + (b"" if raw else b"\n"))


@command("exists")
@argument("key", complete=complete_key)
@where_options()
@output_option
def exists(shell: Shell, key: str, where: Where) -> int:
    """Print true or false: whether there is KEY. Exit status 0 if there is, 1 if not."""
    view = shell.view(one_namespace(where, ONE))
    found = view.exists(key)
    if shell.structured:
        body = {"store": shell.app().stores.name, "namespace": view.home(key), "key": key, "exists": found}
        shell.document("state.exists", body)
    else:
        shell.print("true" if found else "false")
    return 0 if found else 1


@command("stats")
@where_options(everywhere=True)
@output_option
def stats(shell: Shell, where: Where) -> None:
    """Count keys, revisions, locks and bytes."""
    seen = views(shell, where)
    each = [keys.figures(shell.app(), view) for view in seen]
    if shell.structured:
        shell.document("state.stats", keys.stats(shell.app(), each, everywhere=where.all_agents))
        return
    if where.all_agents:
        headers = ["NAMESPACE", "KEYS", "BYTES", "REVISIONS", "LOCKS", "OLDEST", "NEWEST", "ON DISK"]
        names = ("namespace", "keys", "bytes", "revisions", "locks", "oldest", "newest", "file_bytes")
        shell.table(headers, [[_figure(shell, row, name) for name in names] for row in each], flexible=(0,))
        return
    row = each[0]
    labels = {"file_bytes": "on disk"} if shell.human else {}
    pairs = [(labels.get(name, name), _figure(shell, row, name)) for name in row if name != "namespace"]
    pairs.append(("store", shell.app().stores.name))
    if not shell.human:
        pairs.insert(0, ("namespace", row["namespace"]))
    shell.fields(row["namespace"], pairs)


def _figure(shell: Shell, row: dict[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if shell.human and name in ("oldest", "newest"):
        from sloth_runner.moments import parse_moment

        return shell.moment(parse_moment(value))
    if shell.human and name in ("bytes", "file_bytes"):
        return text.size(value)
    return f"{value:,}" if shell.human and isinstance(value, int) else str(value)
