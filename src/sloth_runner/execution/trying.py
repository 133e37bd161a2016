"""Why: what prune shows must be what it does then, so the code that does it is asked, in a rehearsal.

A kind may refuse: there is work in a checkout, a key can't be changed alone, what was replaced was not kept. Before
anything is done, such a refusal is no failure but a conflict: the resource is kept, and the kind's words say why.
"""

from __future__ import annotations

from sloth_runner.engine.drifting import look
from sloth_runner.engine.drive import Skipped
from sloth_runner.engine.solo import complete
from sloth_runner.errors import BadArgument, Conflict, TaskProblem, Unpredictable
from sloth_runner.execution.undoing import Undoing, undoing, words
from sloth_runner.modules.base import Change, Observed, Resource, differing
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from sloth_runner.engine.rehearsal import Rehearsal
    from sloth_runner.modules.base import Kind
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.state.ledger_records import Entry
    from sloth_runner.transport.loop import Loop

REMOVE, RESTORE, FORGET, KEEP = "remove", "restore", "forget", "keep"


class Trial(NamedTuple):
    """What becomes of a resource when it is undone, and why. ``change`` is what is done to it, if anything;
    ``program``: a program has a part in it, whose effects on others no rehearsal tells."""

    action: str
    reason: str
    change: Change | None = None
    program: bool = False


def attempt(
    entry: Entry,
    kind: Kind,
    ledger: Ledger,
    way: Rehearsal,
    loop: Loop,
    *,
    programs: Collection[str] = (),
    meanwhile: bool = False,
    masked: bool = False,
) -> Trial:
    """Undo our work on a resource, in a rehearsal. Raises Unreachable.

    ``programs`` are the kinds of resources that programs would undo before: by then others of these kinds may be
    different, and more folders empty. ``meanwhile``: such programs have run since this one was seen as we left it; if
    a program undoes it as well, they may be who changed it. ``masked``: see ``undoing``."""
    try:
        now: Observed = complete(way, kind.observe([look(entry, whole=True)]), loop)[0]
    except TaskProblem as error:
        return Trial(KEEP, f"it can't be looked at: {error.message}")
    undo = undoing(entry, now, kind, masked=masked)
    resumed = now.attributes is None and ledger.intent(entry.address) is not None
    conflict = ""
    if undo.theirs and not resumed:
        if entry.before is None and now.attributes is None:
            return Trial(FORGET, "it is gone already")
        if entry.before is not None and not entry.salt and not differing(now.attributes, undo.wanted):
            return Trial(FORGET, "it is as it was before already")
        conflict = f"it was changed by others since ({words(undo.theirs)}): a conflict"
    if conflict and not meanwhile:
        return Trial(KEEP, conflict)
    if entry.before is not None and not _can_restore(entry, kind, undo, now, ledger):
        return Trial(KEEP, "what was there before was not kept: can't restore")
    names = ", ".join(sorted(undo.lost))
    if undo.lost and not differing(now.attributes, undo.wanted):
        return Trial(KEEP, f"what was there before was not kept: can't restore its {names}")
    change = _change(entry, undo, now, ledger)
    done = _rehearsed(_inverse(entry, change, names), kind, way, loop, programs)
    return done if done.program or not conflict else Trial(KEEP, conflict)


def _inverse(entry: Entry, change: Change, lost: str) -> Trial:
    if entry.before is None:
        return Trial(REMOVE, "we created it", change)
    partly = f"; its {lost} stays as it is: the one before was not kept" if lost else ""
    return Trial(RESTORE, f"it existed before{partly}", change)


def _rehearsed(trial: Trial, kind: Kind, way: Rehearsal, loop: Loop, programs: Collection[str]) -> Trial:
    assert trial.change is not None
    try:
        complete(way, kind.converge([trial.change._replace(dry=True)]), loop)
    except Skipped:
        return trial._replace(program=True)
    except Unpredictable:  # by what was tried before: it is known only then
        return trial
    except (TaskProblem, BadArgument, Conflict) as error:
        # A folder, which a program may empty first.
        in_use = isinstance(error, Conflict) and kind.name == "file"
        unsure = kind.name in programs or (in_use and programs)
        return trial if unsure else Trial(KEEP, error.message)
    return trial


def _can_restore(entry: Entry, kind: Kind, undo: Undoing, now: Observed, ledger: Ledger) -> bool:
    """Whether what was there before is known. A kind that has no content to be kept says itself what it can't do."""
    if entry.salt or not undo.wanted:
        return False
    if kind.content is None:
        return True
    if undo.wanted.get("content") in (None, (now.attributes or {}).get("content")):
        return True
    return entry.before_content is not None and ledger.content(entry.before_content) is not None


def _change(entry: Entry, undo: Undoing, now: Observed, ledger: Ledger) -> Change:
    content = ledger.content(entry.before_content) if entry.before_content is not None else None
    resource = Resource(entry.kind, entry.id, entry.params)
    kept = {one: ledger.content(one) for one in entry.extra.get("contents", ())}
    contents = {one: data for one, data in kept.items() if data is not None}
    options = {"undo": True, "replace": True, "contents": contents}
    left = differing(now.attributes, undo.wanted)
    return Change(resource, now, undo.wanted, left, content, options, entry.extra)
