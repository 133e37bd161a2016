"""Why: what Lua calls as ``state.*`` about the past of keys and of whole namespaces is rare: it is loaded when it is
called.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.engine import arguments as arg
from sloth_runner.engine.context import Context
from sloth_runner.engine.state_calls import Handler, edit_key, moment_of, read_key
from sloth_runner.errors import BadArgument, Corrupt, TaskFailed
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state import edits
from sloth_runner.state.record import Record
from sloth_runner.state.state import State
from sloth_runner.state.value import decode

if TYPE_CHECKING:
    from sloth_runner.state.history import Revision

HISTORY: dict[str, arg.Kinds] = {
    "limit": int,
    "since": (int, float, str),
    "until": (int, float, str),
    "by": str,
}


def _history(context: Context, state: State, args: Sequence[object]) -> object:
    key, given = arg.take("state.history", args, 1, 2)
    read_key(context, state, arg.key("state.history", key))
    found = arg.options("state.history", given, HISTORY)
    limit = found.get("limit")
    if limit is not None and limit < 1:
        raise BadArgument(f"state.history: limit is at least 1, not {limit}")
    since, until = (
        moment_of(f"state.history: {name}", state, found[name]) if name in found else None
        for name in ("since", "until")
    )
    if since is not None and until is not None and until < since:
        raise BadArgument("state.history: until lies before since")
    by = frozenset((found["by"],)) if "by" in found else frozenset()
    from sloth_runner.state.history import Filter

    wanted = Filter(since, until, by)
    return context.ask(state, lambda view: [revision(one) for one in view.history(key, limit, wanted)])


def revision(found: Revision) -> dict[str, object]:
    """A change of a key as Lua gets it."""
    record = found.record
    row: dict[str, object] = {
        "rev": record.number,
        "time": record.time,
        "op": record.op,
        "run": record.by.run or "",
        "task": record.by.task or "",
        "user": f"{record.by.user}@{record.by.host}",
    }
    if found.old is not None:
        row["old"] = found.old
    if found.new is not None:
        row["new"] = found.new
    return row


def _rollback(context: Context, state: State, args: Sequence[object]) -> object:
    key, number = arg.take("state.rollback", args, 2, 2)
    read_key(context, state, arg.key("state.rollback", key))
    wanted = arg.integer("state.rollback", "the revision", number)

    def back(record: Record) -> object:
        return edit_key(context, state, key, edits.restore(record.text, record.sensitive))

    return context.ask(state, lambda view: view.revision(key, wanted), back)


def _diff(context: Context, state: State, args: Sequence[object]) -> object:
    key, first, second = arg.take("state.diff", args, 2, 3)
    read_key(context, state, arg.key("state.diff", key))
    first = arg.integer("state.diff", "a revision", first)
    if second is not None:
        second = arg.integer("state.diff", "a revision", second)
    return context.ask(state, lambda view: _difference(view, key, first, second))


def _difference(view: State, key: str, first: int, second: int | None) -> dict[str, object]:
    if second is None:
        from sloth_runner.state import history

        last = history.head(view.store, view.home(key), key)
        second = first if last is None else last.number
    old, new = (view.revision(key, number) for number in (first, second))
    row: dict[str, object] = {"differ": old.text != new.text}
    if not (old.sensitive or new.sensitive):  # pieces of a secret could not be kept out of logs
        names = [f"{key}@{number}" for number in (first, second)]
        from sloth_runner.state.difference import unified

        row["diff"] = "".join(line + "\n" for line in unified(old.text, new.text, *names))
    for name, record in (("old", old), ("new", new)):
        if record.text is not None:
            row[name] = decode(record.text)
    return row


def _tag(context: Context, state: State, args: Sequence[object]) -> object:
    (name,) = arg.take("state.tag", args, 1, 1)
    _alone(context, "state.tag")
    from sloth_runner.state import tags

    checked = arg.string("state.tag", "the name", name)
    now = state.writer.clock()
    return context.ask(
        state, lambda view: tags.make(view.store, view.namespace, checked, view.by, now).digest
    )


def _verify(context: Context, state: State, args: Sequence[object]) -> object:
    (given,) = arg.take("state.verify", args, 0, 1)
    _alone(context, "state.verify")
    from sloth_runner.state.verify import as_digest

    head = arg.options("state.verify", given, {"head": str}).get("head")
    digest = None if head is None else as_digest(head)
    if digest is None and head is not None:
        raise BadArgument("state.verify: head is the digest that state.tag returns: 64 hexadecimal digits")
    return context.ask(state, lambda view: _verified(view, digest))


def _verified(state: State, head: str | None) -> dict[str, object]:
    from sloth_runner.state.verify import verify

    report = verify(state.store, state.namespace, head)
    if not report.ok:
        count = len(report.findings) + report.more
        first = report.findings[0]
        where = f"{first.key}: " if first.key is not None else ""
        what = "a fault" if count == 1 else f"{count:,} faults, the first of them"
        raise Corrupt(
            f"{what} in what is stored in {state.namespace}: {where}{first.message}",
            unchanged=["nothing was changed"],
            next=["see all of them: sloth-runner state verify"],
        )
    return {"head": report.head, "keys": report.keys, "revisions": report.revisions}


def _alone(context: Context, name: str) -> None:
    if context.transaction is not None:
        raise TaskFailed(
            f"{name} can't be used inside state.transaction: it concerns the whole namespace",
            next=["do it before or after"],
        )


HANDLERS: dict[str, Handler] = {
    "history": _history,
    "rollback": _rollback,
    "diff": _diff,
    "tag": _tag,
    "verify": _verify,
}
