"""Why: looking at state: what is there, what was there, how much."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from sloth_runner.cli import documents, reveals, text
from sloth_runner.cli.base import COUNT, command, complete_key, output_option, reveal_option, where_options
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.state_keys import first_kept, missing, moment, views
from sloth_runner.errors import Missing, UsageError

if TYPE_CHECKING:
    from sloth_runner.state.record import Record
    from sloth_runner.state.state import Row, State

ONE = "a key is looked up in one namespace"


@command("list")
@click.argument("prefix", default="", shell_complete=complete_key)
@where_options(everywhere=True)
@click.option("--limit", type=COUNT, metavar="N", help="At most N keys.")
@click.option("--after", default="", metavar="KEY", help='Go on after KEY (the "next" of a page).')
@reveal_option
@output_option
@click.pass_obj
def list_keys(shell: Shell, prefix: str, where: Where, limit: int | None, after: str, reveal: bool) -> None:
    """List keys, all or those below PREFIX, own and shared ones."""
    seen = views(shell, where)
    found = _rows(seen, prefix, after, where.all_agents)
    rows = list(islice(found, limit)) if limit is not None else list(found)
    more = limit is not None and len(rows) == limit and next(found, None) is not None
    cursor = _cursor(rows[-1], where.all_agents) if more else None
    if reveal:
        reveals.record(shell, seen[0], [row for row in rows if row.record.sensitive])
    if shell.mode == "jsonl":
        for row in rows:
            shell.record("entry", documents.entry(row, reveal=reveal))
        return
    if shell.mode == "json":
        shell.document(
            "state.list",
            {
                "store": shell.app().store_name,
                "namespace": None if where.all_agents else seen[0].namespace,
                "prefix": prefix,
                "count": len(rows),
                "next": cursor,
                "entries": [documents.entry(row, reveal=reveal) for row in rows],
            },
        )
        return
    _list_table(shell, rows, where.all_agents, reveal)
    if shell.human and not rows:
        below = f" below {prefix!r}" if prefix else ""
        shell.say(
            "no keys" + below + (" in any namespace" if where.all_agents else f" in {seen[0].namespace}")
        )
    if cursor is not None:
        shell.say(f"there are more: --after {cursor!r}")


def _rows(seen: list[State], prefix: str, after: str, everywhere: bool) -> Any:
    start_in, slash, start_key = after.partition("/") if everywhere else ("", "", after)
    if everywhere and after and not slash:
        raise UsageError('with --all-agents, --after takes NAMESPACE/KEY: the "next" of a page')
    for view in seen:
        if everywhere and view.namespace < start_in:
            continue
        key = start_key if not everywhere or view.namespace == start_in else ""
        yield from view.rows(prefix, after=key)


def _cursor(row: Row, everywhere: bool) -> str:
    return f"{row.namespace}/{row.key}" if everywhere else row.key


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
@click.argument("key", shell_complete=complete_key)
@where_options()
@click.option("--rev", type=COUNT, metavar="N", help="Revision N instead of the current one.")
@click.option(
    "--at", metavar="TIME", help="What was in force then: 2026-01-31T09:00, or 2h for two hours ago."
)
@reveal_option
@output_option
@click.pass_obj
def show(shell: Shell, key: str, where: Where, rev: int | None, at: str | None, reveal: bool) -> None:
    """Show KEY: its value, its type, and who changed it when."""
    view = shell.view(one_namespace(where, ONE))
    namespace, record = _wanted(shell, view, key, rev, at)
    if reveal and record.sensitive:
        reveals.record_key(shell, view, namespace, key)
    first = first_kept(view, key, record)
    if shell.structured:
        entry = documents.record_entry(namespace, key, record, reveal=reveal)
        entry["by"] = documents.who(record.by)
        entry["history"] = {"first": first[0], "last": first[1]}
        shell.document("state.show", {"store": shell.app().store_name, "entry": entry})
        return
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
        ("store", shell.app().store_name),
    ]
    if not shell.human:
        pairs.insert(0, ("key", key))
    shell.fields(key, pairs)


def _wanted(shell: Shell, view: State, key: str, rev: int | None, at: str | None) -> tuple[str, Record]:
    if rev is not None and at is not None:
        raise UsageError("--rev and --at exclude each other: give one of them")
    try:
        if rev is not None:
            return view.home(key), view.revision(key, rev)
        if at is not None:
            record = view.at(key, moment(shell, "--at", at))
            if record is None or record.text is None:
                raise missing(view, key, f"at {at}")
            return view.home(key), record
    except Missing as error:
        error.unchanged = error.unchanged or ["nothing was changed"]
        raise
    row = view.row(key)
    if row is None:
        raise missing(view, key)
    return row.namespace, row.record


@command("get")
@click.argument("key", shell_complete=complete_key)
@where_options()
@click.option("--raw", is_flag=True, help="The bytes alone, without a newline after them.")
@reveal_option
@output_option
@click.pass_obj
def get(shell: Shell, key: str, where: Where, raw: bool, reveal: bool) -> None:
    """Print the value of KEY and nothing else: a string as it is, everything else as JSON.

    A newline follows unless --raw is given. On a terminal control characters show as pictures unless --raw is
    given.
    """
    view = shell.view(one_namespace(where, ONE))
    row = view.row(key)
    if row is None:
        raise missing(view, key)
    record = row.record
    if reveal and record.sensitive:
        reveals.record_key(shell, view, row.namespace, key)
    if shell.structured:
        entry = documents.entry(row, reveal=reveal)
        body = {name: entry[name] for name in ("namespace", "key", "type", "value", "sensitive")}
        shell.document("state.get", {"store": shell.app().store_name, **body})
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
@click.argument("key", shell_complete=complete_key)
@where_options()
@output_option
@click.pass_obj
def exists(shell: Shell, key: str, where: Where) -> int:
    """Print true or false: whether there is KEY. Exit status 0 if there is, 1 if not."""
    view = shell.view(one_namespace(where, ONE))
    found = view.exists(key)
    if shell.structured:
        body = {"store": shell.app().store_name, "namespace": view.home(key), "key": key, "exists": found}
        shell.document("state.exists", body)
    else:
        shell.print("true" if found else "false")
    return 0 if found else 1


@command("stats")
@where_options(everywhere=True)
@output_option
@click.pass_obj
def stats(shell: Shell, where: Where) -> None:
    """Count keys, revisions, locks and bytes."""
    seen = views(shell, where)
    each = [_stats(shell, view) for view in seen]
    if shell.structured:
        total = _total(each) if where.all_agents else each[0]
        body = {"store": shell.app().store_name, **total}
        if where.all_agents:
            body["namespaces"] = each
        shell.document("state.stats", body)
        return
    if where.all_agents:
        headers = ["NAMESPACE", "KEYS", "BYTES", "REVISIONS", "LOCKS", "OLDEST", "NEWEST", "ON DISK"]
        names = ("namespace", "keys", "bytes", "revisions", "locks", "oldest", "newest", "file_bytes")
        shell.table(headers, [[_figure(shell, row, name) for name in names] for row in each], flexible=(0,))
        return
    row = each[0]
    labels = {"file_bytes": "on disk"} if shell.human else {}
    pairs = [(labels.get(name, name), _figure(shell, row, name)) for name in row if name != "namespace"]
    pairs.append(("store", shell.app().store_name))
    if not shell.human:
        pairs.insert(0, ("namespace", row["namespace"]))
    shell.fields(row["namespace"], pairs)


def _stats(shell: Shell, view: State) -> dict[str, Any]:
    from sloth_runner.moments import iso
    from sloth_runner.state.locks import held

    found = view.stats()
    return {
        "namespace": view.namespace,
        "keys": found.keys,
        "bytes": found.bytes,
        "revisions": found.revisions,
        "locks": sum(1 for _ in held(view.writer.store, view.namespace)),
        "oldest": None if found.oldest is None else iso(found.oldest),
        "newest": None if found.newest is None else iso(found.newest),
        "file_bytes": shell.app().file_bytes(view.namespace),
        "encrypted": shell.app().sealed_throughout,
    }


def _total(each: list[dict[str, Any]]) -> dict[str, Any]:
    sums = {name: sum(row[name] or 0 for row in each) for name in ("keys", "bytes", "revisions", "locks")}
    times = {name: [row[name] for row in each if row[name]] for name in ("oldest", "newest")}
    return {
        "namespace": None,
        **sums,
        "oldest": min(times["oldest"], default=None),
        "newest": max(times["newest"], default=None),
        "file_bytes": sum(row["file_bytes"] or 0 for row in each),
        "encrypted": all(row["encrypted"] for row in each),
    }


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
