"""Why: changing state by hand: setting, counting, deleting, going back."""

from __future__ import annotations

import json

from sloth_runner import documents
from sloth_runner.cli import text
from sloth_runner.cli.base import (
    DURATION,
    complete_key,
    output_option,
    reveal_option,
    where_options,
    yes_option,
)
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents import reveals, writes
from sloth_runner.documents.keys import missing, own_view
from sloth_runner.errors import BadValue, SlothError, UsageError
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.model import Value
    from sloth_runner.state.state import Row, State

AT_ONCE = 500
SHOWN = 10
"""Keys that a question names before it says how many more there are."""


@command("set")
@argument("key", complete=complete_key)
@argument("value", required=False)
@where_options()
@option("--json", "as_json", is_flag=True, help='VALUE is JSON: 5, true, {"a": [1, 2]}.')
@option("--stdin", is_flag=True, help="Read the value from standard input, without its last newline.")
@option("--ttl", type=DURATION, help="Have it expire after this time: 30s, 5m, 1h30m.")
@option("--keep-ttl", is_flag=True, help="Keep the expiry that it has.")
@option("--sensitive", off="--no-sensitive", help="Hide the value where values are shown, or stop hiding it.")
@output_option
def set_value(
    shell: Shell,
    key: str,
    value: str | None,
    where: Where,
    as_json: bool,
    stdin: bool,
    ttl: float | None,
    keep_ttl: bool,
    sensitive: bool | None,
) -> None:
    """Set KEY to VALUE, a string unless --json is given.

    Secrets are better given with --stdin: arguments can be read by others, and shells remember them. A VALUE that
    starts with '-' comes after --.
    """
    view = shell.view(one_namespace(where, "a value is set in one namespace"))
    if (value is None) != stdin:
        raise UsageError(
            "give VALUE or --stdin" + (", not both" if stdin else ""),
            unchanged=["nothing was changed"],
            next=["sloth-runner state set KEY VALUE", "sloth-runner state set KEY --stdin < FILE"],
        )
    if ttl is not None and keep_ttl:
        raise UsageError("--ttl and --keep-ttl exclude each other", unchanged=["nothing was changed"])
    if ttl == 0:
        raise UsageError("--ttl must be more than 0", unchanged=["nothing was changed"])
    given = _read_stdin(shell) if value is None else value
    found: Value = _json_value(given) if as_json else given
    changed = view.set(key, found, ttl=ttl, keep_ttl=keep_ttl, sensitive=sensitive)
    row = view.row(key)
    rev = row.record.number if row else None
    if shell.structured:
        shell.document("state.set", writes.was_set(shell.app(), view, key, changed, rev))
        return
    what = f"set {key}" if changed else f"unchanged: {key}"
    shell.print(f"{text.pictures(what)} in {view.home(key)}" + (f" (revision {rev})" if rev else ""))


def _read_stdin(shell: Shell) -> str:
    raw = getattr(shell.world.stdin, "buffer", None)
    given: str = shell.world.stdin.read() if raw is None else raw.read().decode("utf-8", "surrogateescape")
    return given.removesuffix("\n").removesuffix("\r")


def _json_value(given: str) -> Value:
    from sloth_runner.state.written import parse, value_of

    try:
        return value_of(parse(given))
    except RecursionError:
        raise BadValue("the value is nested too deep", unchanged=["nothing was changed"]) from None
    except ValueError as error:
        broken = isinstance(error, json.JSONDecodeError)
        raise BadValue(
            f"--json: this is not a JSON value: {error}",
            unchanged=["nothing was changed"],
            next=["text needs its quotes: '\"v1.2\"', or leave --json out"] if broken else [],
        ) from None


@command("increment", negative=True)
@argument("key", complete=complete_key)
@argument("delta", default="1")
@where_options()
@reveal_option
@output_option
def increment(shell: Shell, key: str, delta: str, where: Where, reveal: bool) -> None:
    """Add DELTA (1; may be negative or a decimal) to KEY and print the sum. A missing key counts as 0."""
    from sloth_runner.state import edits

    view = shell.view(one_namespace(where, "one counter is changed at a time"))
    amount = edits.plain_number(delta)
    if amount is None:
        raise UsageError(
            f"DELTA is a number such as 5, -3 or 0.5, not {delta!r}", unchanged=["nothing was changed"]
        )
    before = view.row(key)
    total = view.increment(key, amount)
    # Whoever clears the mark, or the key, just now must not make a sum readable that has a secret in it.
    secret = any(row is not None and row.record.sensitive for row in (before, view.row(key)))
    if secret and reveal:
        reveals.record_key(view, view.home(key), key)
    hidden = secret and not reveal
    if shell.structured:
        shell.document(
            "state.increment", writes.was_added(shell.app(), view, key, None if hidden else total, secret)
        )
        return
    if hidden:
        shell.warn("the sum is sensitive: --reveal shows it, and that you saw it is recorded")
    shell.print(documents.HIDDEN if hidden else json.dumps(total))


@command("delete")
@argument("keys", metavar="KEY...", multiple=True, required=True, complete=complete_key)
@where_options()
@yes_option
@output_option
def delete(shell: Shell, keys: tuple[str, ...], where: Where, yes: bool) -> None:
    """Delete KEYs. Their history stays: state rollback brings them back."""
    view = shell.view(one_namespace(where, "keys are deleted in one namespace at a time"))
    rows: list[Row] = []
    for key in dict.fromkeys(keys):
        row = view.row(key)
        if row is None:
            raise missing(view, key)
        rows.append(row)
    places = " and ".join(sorted({row.namespace for row in rows}))
    lines = [*_named(rows), f"{text.count(len(rows), 'key')} in {places} of {shell.app().stores.name}"]
    shell.confirm(lines, "Delete it?" if len(rows) == 1 else "Delete them?", yes=yes)
    gone = _delete(view, [row.key for row in rows])
    if shell.structured:
        shell.document("state.delete", writes.were_deleted(shell.app(), view, gone))
        return
    what = gone[0] if len(gone) == 1 else text.count(len(gone), "key")
    shell.print(f"deleted {text.pictures(what)} from {places}")


@command("clear")
@where_options()
@option("--purge", is_flag=True, help="Remove the history, too: nothing can be brought back.")
@yes_option
@output_option
def clear(shell: Shell, where: Where, purge: bool, yes: bool) -> None:
    """Delete all keys of one namespace: local, an agent's, or (only with --shared) the shared one.

    Asks you to type the name of the namespace. Locks, runs and what modules remember stay. So does the history,
    unless --purge is given.
    """
    from sloth_runner.cli import purging

    view = own_view(shell.view(one_namespace(where, "clear one namespace at a time")))
    if purge:
        purging.refuse_tagged(view)
    keys = view.keys()
    traces = purging.count(view) if purge else 0
    what = text.count(len(keys), "key") + (f" and {text.count(traces, 'revision')}" if purge else "")
    if keys or traces:
        lasting = "They can't be brought back." if purge else "The history stays."
        lines = [f"this deletes {what} in {view.namespace} of {shell.app().stores.name}", lasting]
        shell.confirm(lines, "Clear it?", yes=yes, typed=view.namespace)
        gone = purging.purge(view) if purge else _delete(view, keys)
    else:
        gone = []
    if shell.structured:
        body = {"namespace": view.namespace, "deleted": len(gone), "purged": purge}
        shell.document("state.clear", {"store": shell.app().stores.name, **body})
    elif not keys and not traces:
        shell.print(f"nothing to clear in {view.namespace}")
    else:
        history = " and their history" if purge else ""
        shell.print(f"deleted {text.count(len(gone), 'key')}{history} from {view.namespace}")


def _named(rows: list[Row]) -> list[str]:
    lines = []
    for row in rows[:SHOWN]:
        shown = text.pictures(documents.shown(row.record, reveal=False))
        lines.append(f"  {row.key} = {text.clip(shown, 60)}")
    return lines + ([f"  … and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else [])


def _delete(view: State, keys: list[str]) -> list[str]:
    """Delete in bounded steps; the keys that were there. Raises the first error, saying how far it came."""
    from sloth_runner.state.edits import delete as edit

    gone: list[str] = []
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        for key, result in zip(part, view.writer.apply([view.edit(key, edit) for key in part]), strict=True):
            if isinstance(result, SlothError):
                result.changed.append(f"{text.count(len(gone), 'key')} deleted before")
                raise result
            if result:
                gone.append(key)
    return gone
