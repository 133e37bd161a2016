"""Why: what Lua calls as ``state.*`` becomes an edit or a read of the State API, with the arguments checked.

Each function takes (context, view, arguments) and returns a reply: a Mutate, that the pump makes durable together
with those of other tasks, or what the store is asked (``Context.ask``), answered at once where that is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from sloth_runner.engine import arguments as arg
from sloth_runner.engine.context import Context
from sloth_runner.engine.pump import Mutate
from sloth_runner.errors import BadArgument
from sloth_runner.model import Ordered, Value
from sloth_runner.plain import Any
from sloth_runner.state import edits
from sloth_runner.state.batch import Mutation
from sloth_runner.state.record import Record
from sloth_runner.state.state import State
from sloth_runner.state.value import decode

Handler = Callable[[Context, State, Sequence[object]], object]
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
        "stats": _stats,
        **{name: partial(_past, name) for name in ("history", "rollback", "diff", "tag", "verify")},
    }


def _past(name: str, context: Context, state: State, args: Sequence[object]) -> object:
    """One that most runs don't call: it is loaded with its first call."""
    from sloth_runner.engine import past_calls

    return past_calls.HANDLERS[name](context, state, args)


def edit_key(context: Context, state: State, key: str, edit: edits.Edit, *, clear: bool = False) -> object:
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


def read_key(context: Context, state: State, key: str) -> str:
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


def _is_clear(options: Mapping[str, Any]) -> bool:
    return options.get("sensitive") is False


def _set(context: Context, state: State, args: Sequence[object]) -> object:
    key, value, given = arg.take("state.set", args, 2, 3)
    found = _set_options("state.set", given)
    return edit_key(
        context, state, arg.key("state.set", key), edits.put(value, **found), clear=_is_clear(found)
    )


def _set_if_absent(context: Context, state: State, args: Sequence[object]) -> object:
    key, value, given = arg.take("state.set_if_absent", args, 2, 3)
    found = _set_options("state.set_if_absent", given)
    if "keep_ttl" in found:
        raise BadArgument("state.set_if_absent: there is no expiry to keep when the key is absent")
    edit = edits.put_if_absent(value, **found)
    return edit_key(context, state, arg.key("state.set_if_absent", key), edit, clear=_is_clear(found))


def _get(context: Context, state: State, args: Sequence[object]) -> object:
    if len(args) == 1:
        key = read_key(context, state, arg.key("state.get", args[0]))
        return context.ask(state, lambda view: view.get(key))
    key, default, given = arg.take("state.get", args, 1, 3)
    read_key(context, state, arg.key("state.get", key))
    found = arg.options("state.get", given, {"rev": int, "at": str})
    if not found:
        return context.ask(state, lambda view: view.get(key, default))
    if len(found) == 2:
        raise BadArgument("state.get: give rev or at, not both")
    moment = moment_of("state.get: at", state, found["at"]) if "at" in found else None

    def earlier(view: State) -> object:
        record = view.revision(key, found["rev"]) if moment is None else view.at(key, moment)
        return default if record is None or record.text is None else view.tell(decode(record.text), record)

    return context.ask(state, earlier)


def _exists(context: Context, state: State, args: Sequence[object]) -> object:
    key = read_key(context, state, arg.key("state.exists", *arg.take("state.exists", args, 1, 1)))
    return context.ask(state, lambda view: view.exists(key))


def _get_ttl(context: Context, state: State, args: Sequence[object]) -> object:
    key = read_key(context, state, arg.key("state.get_ttl", *arg.take("state.get_ttl", args, 1, 1)))
    return context.ask(state, lambda view: view.ttl(key))


def _delete(context: Context, state: State, args: Sequence[object]) -> object:
    (key,) = arg.take("state.delete", args, 1, 1)
    return edit_key(context, state, arg.key("state.delete", key), edits.delete)


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
    return edit_key(context, state, arg.key(name, key), edits.add(sign * amount))


def _swap(context: Context, state: State, args: Sequence[object]) -> object:
    key, old, new = arg.take("state.compare_and_swap", args, 1, 3)
    return edit_key(context, state, arg.key("state.compare_and_swap", key), edits.swap(old, new))


def _append(context: Context, state: State, args: Sequence[object]) -> object:
    key, text = arg.take("state.append", args, 2, 2)
    edit = edits.append(arg.string("state.append", "the text", text))
    return edit_key(context, state, arg.key("state.append", key), edit)


def _push(context: Context, state: State, args: Sequence[object]) -> object:
    key, value = arg.take("state.list_push", args, 2, 2)
    return edit_key(context, state, arg.key("state.list_push", key), edits.push(value))


def _pop(context: Context, state: State, args: Sequence[object]) -> object:
    key, end = arg.take("state.list_pop", args, 1, 2)
    edit = edits.pop("last" if end is None else arg.string("state.list_pop", "from", end))
    return edit_key(context, state, arg.key("state.list_pop", key), edit)


def _length(context: Context, state: State, args: Sequence[object]) -> object:
    (key,) = arg.take("state.list_length", args, 1, 1)
    read_key(context, state, arg.key("state.list_length", key))

    def length(view: State) -> int:
        row = view.row(key)
        live = row.record if row else None
        return len(edits.list_of(edits.Seen(key, live, live, 0.0)))

    return context.ask(state, length)


def _set_ttl(context: Context, state: State, args: Sequence[object]) -> object:
    key, ttl = arg.take("state.set_ttl", args, 1, 2)
    edit = edits.set_ttl(None if ttl is None else arg.duration("state.set_ttl", ttl))
    return edit_key(context, state, arg.key("state.set_ttl", key), edit)


def _stats(context: Context, state: State, args: Sequence[object]) -> object:
    arg.take("state.stats", args, 0, 0)

    def figures(view: State) -> dict[str, object]:
        return {name: value for name, value in view.stats()._asdict().items() if value is not None}

    return context.ask(state, figures)


def moment_of(what: str, state: State, given: object) -> float:
    """Seconds since the epoch: a number of them, an ISO time, or how long ago such as "2h"."""
    from sloth_runner.moments import parse_moment

    if not isinstance(given, str):
        return float(given)  # type: ignore[arg-type] # the options' kinds leave a number
    try:
        return parse_moment(given, state.writer.clock())
    except ValueError as error:
        raise BadArgument(f"{what}: {error}") from None
