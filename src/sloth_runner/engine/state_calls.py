"""Why: what Lua calls as ``state.*`` becomes an edit or a read of the State API, with the arguments checked.

Each function takes (context, view, arguments) and returns a reply: a Mutate, that the pump makes durable together
with those of other tasks, or what the store is asked (``Context.ask``), answered at once where that is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.engine import arguments as arg
from sloth_runner.engine.context import Context
from sloth_runner.engine.pump import Mutate
from sloth_runner.errors import BadArgument, Corrupt, TaskFailed
from sloth_runner.model import Ordered, Value
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state import edits
from sloth_runner.state.batch import Mutation
from sloth_runner.state.record import Record
from sloth_runner.state.state import State
from sloth_runner.state.value import decode

if TYPE_CHECKING:
    from sloth_runner.state.history import Revision

Handler = Callable[[Context, State, Sequence[object]], object]
_HISTORY: dict[str, arg.Kinds] = {
    "limit": int,
    "since": (int, float, str),
    "until": (int, float, str),
    "by": str,
}
_SET: dict[str, arg.Kinds] = {"ttl": (int, float, str), "keep_ttl": bool, "sensitive": bool}


def handlers() -> dict[str, Handler]:
    """All functions of ``state`` that read or change keys, by name."""
    return {
        "set": _set,
        "get": _get,
        "exists": _exists,
        "delete": _delete,
        "list": _list,
        "keys": _keys,
        "increment": lambda c, s, a: _add(c, s, a, "state.increment", 1),
        "decrement": lambda c, s, a: _add(c, s, a, "state.decrement", -1),
        "set_if_absent": _set_if_absent,
        "compare_and_swap": _swap,
        "append": _append,
        "list_push": _push,
        "list_pop": _pop,
        "list_length": _length,
        "get_ttl": _get_ttl,
        "set_ttl": _set_ttl,
        "history": _history,
        "rollback": _rollback,
        "diff": _diff,
        "tag": _tag,
        "verify": _verify,
        "stats": _stats,
    }


def _edit(context: Context, state: State, key: str, edit: edits.Edit, *, clear: bool = False) -> object:
    """Queue an edit; in a transaction it is applied to the transaction's own picture at once.

    What holds a secret of the run is kept as sensitive, unless the call says that it is not (``clear``)."""
    old: Record | None = None
    plan: edits.Plan | None = None

    def watched(seen: edits.Seen) -> edits.Plan:
        nonlocal old, plan
        old, plan = seen.live, edit(seen)
        if state.on_secret is not None:
            _tell(state.on_secret, old, plan)
        if not (clear or plan.sensitive or plan.text is None) and context.holds_secret(decode(plan.text)):
            plan = plan._replace(sensitive=True)
        return plan

    def done(result: object) -> object:
        if plan is not None and plan.op is not None:
            _record_change(context, mutation, old, plan)
        return result

    mutation = state.edit(key, watched)
    if context.transaction is None:
        return Mutate(mutation, done)
    context.transaction.enter(mutation.namespace)
    return context.ask(state, lambda own: own.writer.one(mutation), done)


def _tell(on_secret: Callable[[Value], None], old: Record | None, plan: edits.Plan) -> None:
    """A sensitive value is known to the mask before it is stored, and what an edit gives back from one, too."""
    if old is not None and old.sensitive and old.text is not None:
        on_secret(decode(old.text))
    if plan.sensitive and plan.text is not None:
        on_secret(decode(plan.text))


def _record_change(context: Context, mutation: Mutation, old: Record | None, plan: edits.Plan) -> None:
    secret = plan.sensitive or (old is not None and old.sensitive)
    change: dict[str, object] = {
        "namespace": mutation.namespace,
        "key": mutation.key,
        "op": plan.op,
        "old": None if secret or old is None else old.text,
        "new": None if secret else plan.text,
        "sensitive": secret,
    }
    (context.tally if context.transaction is None else context.transaction).changes.append(change)


def _read(context: Context, state: State, key: str) -> str:
    if context.transaction is not None:
        context.transaction.enter(state.home(key))
    return key


def _set_options(name: str, given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        return {"ttl": arg.duration(name, given)}
    found = arg.options(name, given, _SET)
    if "ttl" in found and found.get("keep_ttl"):
        raise BadArgument(f"{name}: ttl and keep_ttl exclude each other", unchanged=["nothing was changed"])
    if "ttl" in found:
        found["ttl"] = arg.duration(name, found["ttl"])
    return found


def _set(context: Context, state: State, args: Sequence[object]) -> object:
    key, value, given = arg.take("state.set", args, 2, 3)
    found = _set_options("state.set", given)
    clear = found.get("sensitive") is False
    return _edit(context, state, arg.key("state.set", key), edits.put(value, **found), clear=clear)


def _set_if_absent(context: Context, state: State, args: Sequence[object]) -> object:
    key, value, given = arg.take("state.set_if_absent", args, 2, 3)
    found = _set_options("state.set_if_absent", given)
    if "keep_ttl" in found:
        raise BadArgument("state.set_if_absent: there is no expiry to keep when the key is absent")
    key, clear = arg.key("state.set_if_absent", key), found.get("sensitive") is False
    return _edit(context, state, key, edits.put_if_absent(value, **found), clear=clear)


def _get(context: Context, state: State, args: Sequence[object]) -> object:
    if len(args) == 1:
        key = _read(context, state, arg.key("state.get", args[0]))
        return context.ask(state, lambda view: view.get(key))
    key, default, given = arg.take("state.get", args, 1, 3)
    _read(context, state, arg.key("state.get", key))
    found = arg.options("state.get", given, {"rev": int, "at": str})
    if not found:
        return context.ask(state, lambda view: view.get(key, default))
    if len(found) == 2:
        raise BadArgument("state.get: give rev or at, not both")
    moment = _moment("state.get: at", state, found["at"]) if "at" in found else None

    def earlier(view: State) -> object:
        record = view.revision(key, found["rev"]) if moment is None else view.at(key, moment)
        return default if record is None or record.text is None else view.tell(decode(record.text), record)

    return context.ask(state, earlier)


def _exists(context: Context, state: State, args: Sequence[object]) -> object:
    key = _read(context, state, arg.key("state.exists", *arg.take("state.exists", args, 1, 1)))
    return context.ask(state, lambda view: view.exists(key))


def _get_ttl(context: Context, state: State, args: Sequence[object]) -> object:
    key = _read(context, state, arg.key("state.get_ttl", *arg.take("state.get_ttl", args, 1, 1)))
    return context.ask(state, lambda view: view.ttl(key))


def _moment(what: str, state: State, given: object) -> float:
    """Seconds since the epoch: a number of them, an ISO time, or how long ago such as "2h"."""
    from sloth_runner.moments import parse_moment

    if not isinstance(given, str):
        return float(given)  # type: ignore[arg-type] # the options' kinds leave a number
    try:
        return parse_moment(given, state.writer.clock())
    except ValueError as error:
        raise BadArgument(f"{what}: {error}") from None


def _delete(context: Context, state: State, args: Sequence[object]) -> object:
    (key,) = arg.take("state.delete", args, 1, 1)
    return _edit(context, state, arg.key("state.delete", key), edits.delete)


def _prefix(name: str, args: Sequence[object]) -> str:
    (prefix,) = arg.take(name, args, 0, 1)
    return "" if prefix is None else arg.prefix(name, prefix)


def _list(context: Context, state: State, args: Sequence[object]) -> object:
    rows = _rows(context, state, _prefix("state.list", args))
    return context.ask(state, lambda view: Ordered(tuple(rows(view))))


def _keys(context: Context, state: State, args: Sequence[object]) -> object:
    rows = _rows(context, state, _prefix("state.keys", args))
    return context.ask(state, lambda view: [key for key, _ in rows(view)])


def _rows(context: Context, state: State, prefix: str) -> Callable[[State], list[tuple[str, Value]]]:
    if context.transaction is None:
        return lambda view: view.items(prefix)
    own = state.home(prefix)
    context.transaction.enter(own)

    def of_one(view: State) -> list[tuple[str, Value]]:
        rows = [row for row in view.rows(prefix) if row.namespace == own]
        return [(row.key, view.tell(row.value, row.record)) for row in rows]

    return of_one


def _add(context: Context, state: State, args: Sequence[object], name: str, sign: int) -> object:
    key, delta = arg.take(name, args, 1, 2)
    amount = 1 if delta is None else arg.number(name, "the delta", delta)
    return _edit(context, state, arg.key(name, key), edits.add(sign * amount))


def _swap(context: Context, state: State, args: Sequence[object]) -> object:
    key, old, new = arg.take("state.compare_and_swap", args, 1, 3)
    return _edit(context, state, arg.key("state.compare_and_swap", key), edits.swap(old, new))


def _append(context: Context, state: State, args: Sequence[object]) -> object:
    key, text = arg.take("state.append", args, 2, 2)
    edit = edits.append(arg.string("state.append", "the text", text))
    return _edit(context, state, arg.key("state.append", key), edit)


def _push(context: Context, state: State, args: Sequence[object]) -> object:
    key, value = arg.take("state.list_push", args, 2, 2)
    return _edit(context, state, arg.key("state.list_push", key), edits.push(value))


def _pop(context: Context, state: State, args: Sequence[object]) -> object:
    key, end = arg.take("state.list_pop", args, 1, 2)
    edit = edits.pop("last" if end is None else arg.string("state.list_pop", "from", end))
    return _edit(context, state, arg.key("state.list_pop", key), edit)


def _length(context: Context, state: State, args: Sequence[object]) -> object:
    (key,) = arg.take("state.list_length", args, 1, 1)
    _read(context, state, arg.key("state.list_length", key))

    def length(view: State) -> int:
        row = view.row(key)
        live = row.record if row else None
        return len(edits.list_of(edits.Seen(key, live, live, 0.0)))

    return context.ask(state, length)


def _set_ttl(context: Context, state: State, args: Sequence[object]) -> object:
    key, ttl = arg.take("state.set_ttl", args, 1, 2)
    edit = edits.set_ttl(None if ttl is None else arg.duration("state.set_ttl", ttl))
    return _edit(context, state, arg.key("state.set_ttl", key), edit)


def _history(context: Context, state: State, args: Sequence[object]) -> object:
    key, given = arg.take("state.history", args, 1, 2)
    _read(context, state, arg.key("state.history", key))
    found = arg.options("state.history", given, _HISTORY)
    limit = found.get("limit")
    if limit is not None and limit < 1:
        raise BadArgument(f"state.history: limit is at least 1, not {limit}")
    since, until = (
        _moment(f"state.history: {name}", state, found[name]) if name in found else None
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
    _read(context, state, arg.key("state.rollback", key))
    wanted = arg.integer("state.rollback", "the revision", number)

    def back(record: Record) -> object:
        return _edit(context, state, key, edits.restore(record.text, record.sensitive))

    return context.ask(state, lambda view: view.revision(key, wanted), back)


def _diff(context: Context, state: State, args: Sequence[object]) -> object:
    key, first, second = arg.take("state.diff", args, 2, 3)
    _read(context, state, arg.key("state.diff", key))
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


def _stats(context: Context, state: State, args: Sequence[object]) -> object:
    arg.take("state.stats", args, 0, 0)

    def figures(view: State) -> dict[str, object]:
        return {name: value for name, value in view.stats()._asdict().items() if value is not None}

    return context.ask(state, figures)
