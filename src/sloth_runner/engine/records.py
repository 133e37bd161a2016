"""Why: what a run did must be found later, also after a crash: to show it, and to go on from there.

A run has one head record (written when it begins and when it ends) and one record for each task instance,
written as it ends, all in the shared namespace and under the stack's lock. Their form is the JSON document
of ``run``. A stack record maps a stack's name to an id, so that renaming keeps its runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sloth_runner.engine.fitting import Document, encode, fitted
from sloth_runner.errors import BadStack, Conflict, KeyMissing
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import (
    RUN,
    RUN_LIVE,
    RUN_TASK,
    SHARED,
    STACK,
    check_name,
    check_prefix,
    place,
    prefix_of,
    revisions_of,
    store_key,
)
from sloth_runner.state.lost_fences import tell_lost
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.store import ABSENT, Change, Check, Store, parts

if TYPE_CHECKING:
    from sloth_runner.state.batch import Fence

KEEP_DAYS = 90
CALLS = 500
"""Calls of one task that its record keeps; one that changed something always."""


def run_key(run: str) -> str:
    """The store key of a run's head record."""
    return store_key(SHARED, RUN, run)


def task_key(run: str, index: int) -> str:
    """The store key of the record of a run's ``index``-th task instance."""
    return store_key(SHARED, RUN_TASK, run, index)


def live_key(run: str) -> str:
    """The store key of what a run's tasks say while they are under way."""
    return store_key(SHARED, RUN_LIVE, run)


def write(store: Store, rows: Sequence[tuple[str, Document | None]], fences: Sequence[Fence] = ()) -> None:
    """Commit records, new or again (None: deleted), under the stack's lock. Raises LockLost when that was lost."""
    checks = [check for fence in fences for check in fence.checks]
    tries: Tries | None = None
    while True:
        changes: list[Change | Check] = []
        for key, document in rows:
            entry = store.get(key)
            if document is not None or entry is not None:
                data = None if document is None else fitted(document, store.traits.max_value)
                changes.append(Change(key, data, entry.rev if entry else ABSENT))
        try:
            for part in parts(changes, store.traits, beside=len(checks)):
                settle(store, [*part, *checks])
            return
        except Conflict as conflict:
            tell_lost(store, conflict, checks, "how the run goes on is not recorded")
            # Records of a run are its own: what moved them is a migration of the store, which keeps their content.
            tries = tries or Tries(store.traits.patience, CONTENTION)
            if not conflict.keys <= {key for key, _ in rows} or not tries.again(conflict):
                raise


def list_runs(store: Store, *, stack: str | None = None, limit: int | None = None) -> list[Document]:
    """The heads of runs, newest first; of one ``stack``, or of forgotten ones of that name, if there is none now."""
    names = _stack_names(store)
    there = stack in names.values()
    found: list[Document] = []
    for head in _heads(store):
        head["stack"] = names.get(head["stack_id"], head["stack"])
        if stack is None or (head["stack"] == stack and there == (head["stack_id"] in names)):
            found.append(head)
            if limit is not None and len(found) >= limit:
                break
    return found


def show_run(store: Store, run: str) -> Document:
    """The whole document of a run; ``last`` is the newest. Raises BadName, KeyMissing with suggestions."""
    check_prefix(run, "the name of a run")
    if run == "last":
        newest = list_runs(store, limit=1)
        if not newest:
            raise KeyMissing("there are no runs yet")
        run = str(newest[0]["run"])
    entry = store.get(run_key(run))
    if entry is None:
        known = [str(head["run"]) for head in list_runs(store, limit=200)]
        matching = [name for name in known if name.startswith(run)] if run else []
        if len(matching) == 1:
            return show_run(store, matching[0])
        raise KeyMissing(
            f"there is no run {run!r}",
            next=[*did_you_mean(run, known), "see them all: sloth-runner runs list"],
        )
    document: Document = json.loads(entry.value)
    document["stack"] = _stack_names(store).get(document["stack_id"], document["stack"])
    document["tasks"] = [json.loads(row.value) for row in store.scan(revisions_of(SHARED, RUN_TASK, run))]
    document["tasks"] += _under_way(store, run, document["tasks"])
    return document


def find_end(store: Store, run: str) -> Document | None:
    """How a run ended, in its head's fields: status, exit_code, seconds, summary. None: it did not."""
    entry = store.get(run_key(run))
    head: Document = {} if entry is None else json.loads(entry.value)
    if head.get("status", "running") == "running":
        return None
    return {name: head[name] for name in ("status", "exit_code", "seconds", "summary")}


def forget_expired(store: Store, now: float) -> None:
    """Delete the records of the oldest runs, if they are beyond what is kept; some at a time."""
    gone = expired(store, now, min(20, store.traits.max_changes // 2))
    try:
        if gone:
            settle(store, gone)
    except Conflict:
        pass  # another run is at it, too


def expired(store: Store, now: float, most: int = 20) -> list[Change]:
    """Deletions of the oldest runs' records, those beyond what is kept: about ``most``, or of one run twice as many,
    its head last."""
    horizon = now - KEEP_DAYS * 86400
    out: list[Change] = []
    for entry in store.scan(prefix_of(SHARED, RUN), limit=most):
        if len(out) >= most or json.loads(entry.value)["began"] > horizon:
            break
        room = 2 * most - len(out)
        tasks = list(store.scan(revisions_of(SHARED, RUN_TASK, place(entry.key).name), limit=room))
        out.extend(Change(task.key, None, task.rev) for task in tasks)
        if len(tasks) == room:
            break
        live = store.get(live_key(place(entry.key).name))
        if live is not None:
            out.append(Change(live.key, None, live.rev))
        out.append(Change(entry.key, None, entry.rev))
    return out


def list_stacks(store: Store) -> list[Document]:
    """All stacks, by name: {"stack", "id", "file", "last_run", "last_status", "runs"}."""
    return [{"stack": place(e.key).name, **json.loads(e.value)} for e in store.scan(prefix_of(SHARED, STACK))]


def find_stack(store: Store, name: str) -> tuple[Document, int] | None:
    """A stack's record and its store revision. Raises BadName."""
    check_name(name, "the name of a stack")
    entry = store.get(store_key(SHARED, STACK, name))
    return None if entry is None else (json.loads(entry.value), entry.rev)


def known_stack(store: Store, name: str, undone: str) -> tuple[Document, int]:
    """A stack's record and its store revision. Raises BadStack; ``undone`` is what was not done without it."""
    found = find_stack(store, name)
    if found is None:
        known = [str(row["stack"]) for row in list_stacks(store)]
        raise BadStack(f"there is no stack {name!r}", unchanged=[undone], next=did_you_mean(name, known))
    return found


def renamable(store: Store, old: str, new: str) -> tuple[Document, int]:
    """The record of the stack ``old``, if it can be named ``new``. Raises BadStack."""
    undone = "nothing was renamed"
    found = known_stack(store, old, undone)
    if find_stack(store, new) is not None:
        raise BadStack(
            f"there is a stack {new!r} already",
            unchanged=[undone],
            next=["choose another name, or forget that one first"],
        )
    return found


def rename_stack(store: Store, old: str, new: str, fences: Sequence[Fence]) -> None:
    """Give a stack another name; its runs go with it. ``fences``: the locks of both. Raises BadStack, Conflict."""
    document, rev = renamable(store, old, new)
    changes = [
        Change(store_key(SHARED, STACK, new), encode(document), ABSENT),
        Change(store_key(SHARED, STACK, old), None, rev),
    ]
    settle(store, [*changes, *(check for fence in fences for check in fence.checks)])


def forget_stack(store: Store, name: str, fences: Sequence[Fence]) -> None:
    """Forget a stack; the records of its runs stay, and keep the name that it had. ``fences``: its lock. Raises
    BadStack, Conflict."""
    document, rev = known_stack(store, name, "nothing was forgotten")
    checks = [check for fence in fences for check in fence.checks]
    changes: list[Change | Check] = []
    for entry in store.scan(prefix_of(SHARED, RUN)):
        head: Document = json.loads(entry.value)
        if head["stack_id"] == document["id"] and head["stack"] != name:
            head["stack"] = name
            changes.append(Change(entry.key, fitted(head, store.traits.max_value), entry.rev))
    changes.append(Change(store_key(SHARED, STACK, name), None, rev))
    for part in parts(changes, store.traits, beside=len(checks)):
        settle(store, [*part, *checks])


def cut_calls(calls: list[Document]) -> list[Document]:
    """A task's calls: all that changed something or failed, and of the others the first, up to ``CALLS`` in all."""
    room = CALLS - sum(map(_counts, calls))
    kept: list[Document] = []
    for call in calls:
        if not _counts(call):
            room -= 1
            if room < 0:
                continue
        kept.append(call)
    return kept


def _counts(call: Document) -> bool:
    return bool(call["changed"] or call.get("failed"))


def _stack_names(store: Store) -> dict[str, str]:
    """The names of stacks by their ids: a run's head has the name that its stack had then."""
    return {row["id"]: row["stack"] for row in list_stacks(store)}


def _under_way(store: Store, run: str, ended: list[Document]) -> list[Document]:
    """The tasks of a run that have no record yet: those under way, then those that wait."""
    entry = store.get(live_key(run))
    if entry is None:
        return []
    known = {(task["name"], task["agent"]) for task in ended}
    return [task for task in json.loads(entry.value)["tasks"] if (task["name"], task["agent"]) not in known]


def _heads(store: Store) -> Iterator[Document]:
    for entry in store.scan(prefix_of(SHARED, RUN), reverse=True):
        head: Document = json.loads(entry.value)
        head.pop("began", None)
        yield head
