"""Why: going back is shown before it is done, and is itself a change that can be undone."""

from __future__ import annotations

from sloth_runner import documents
from sloth_runner.cli import suggestions, text
from sloth_runner.cli.base import COUNT, complete_key, output_option, where_options, yes_option
from sloth_runner.cli.shell import Shell, Where, one_namespace
from sloth_runner.cli.state_keys import moment
from sloth_runner.cli.words import argument, command, option
from sloth_runner.documents import writes
from sloth_runner.documents.keys import flags
from sloth_runner.errors import UsageError
from sloth_runner.moments import exact, iso
from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.state.record import Record
    from sloth_runner.state.rollback import Step, Target
    from sloth_runner.state.state import State

SHOWN = 20
"""Keys that a question names before it says how many more there are."""
WIDE = 40
ROUNDED = 0.001
"""Seconds by which a moment may be rounded up, so that it includes a change."""


class Aim(NamedTuple):
    """What a whole namespace goes back to: the target, in words, and as options that mean the same later."""

    target: Target
    words: str
    options: str


@command("rollback")
@argument("key", required=False, complete=complete_key)
@option("--rev", type=COUNT, metavar="N", help="With KEY: the revision to go back to.")
@option(
    "--to-run",
    metavar="RUN",
    complete=suggestions.runs,
    help="The whole namespace, to how it was when RUN had ended: with all that it wrote, nothing later.",
)
@option("--to-time", metavar="TIME", help="The whole namespace, to how it was then: a time, or 2h ago.")
@option(
    "--to-tag",
    metavar="NAME",
    complete=suggestions.checkpoints,
    help="The whole namespace, to what the tag NAME recorded.",
)
@where_options()
@yes_option
@output_option
def rollback(
    shell: Shell,
    key: str | None,
    rev: int | None,
    to_run: str | None,
    to_time: str | None,
    to_tag: str | None,
    where: Where,
    yes: bool,
) -> None:
    """Make revision N of KEY the current one again; or take a whole namespace back. Nothing is erased.

    Going back makes new revisions, of what differs and nothing else, after showing the plan. It can be undone by
    going back again. Values are restored without expiry. Keys whose revision is compacted are named, and then
    nothing is changed.
    """
    view = shell.view(one_namespace(where, "one namespace is rolled back at a time"))
    whole = [option for option in (to_run, to_time, to_tag) if option is not None]
    if len(whole) + (key is not None) != 1 or (key is None) != (rev is None):
        raise UsageError(
            "give KEY and --rev, or one of --to-run, --to-time and --to-tag",
            unchanged=["nothing was changed"],
            next=["sloth-runner state rollback KEY --rev 3", "sloth-runner state rollback --to-run last"],
        )
    if key is not None and rev is not None:
        _one(shell, view, key, rev, yes=yes)
    else:
        _whole(shell, view, _aim(shell, view, to_run, to_time, to_tag), yes=yes)


def _one(shell: Shell, view: State, key: str, rev: int, *, yes: bool) -> None:
    target = view.revision(key, rev)
    row = view.row(key)
    now = documents.shown(row.record, reveal=False) if row else "(no value)"
    then = documents.shown(target, reveal=False) if target.text is not None else "(no value)"
    lines = [
        f"  now         {text.clip(text.pictures(now), 60)}",
        f"  revision {rev:<3}{text.clip(text.pictures(then), 60)}",
        f"{key} in {view.home(key)} of {shell.app().stores.name}",
    ]
    shell.confirm(lines, f"Go back to revision {rev}?", yes=yes)
    new = view.rollback(key, rev)
    if shell.structured:
        shell.document("state.rollback", writes.was_restored(shell.app(), view, key, rev, new))
    else:
        shell.print(
            f"{text.pictures(key)} in {view.home(key)} is as in revision {rev} again (revision {new})"
        )


def _aim(shell: Shell, view: State, run: str | None, time: str | None, tag: str | None) -> Aim:
    from sloth_runner.state import tags
    from sloth_runner.state.rollback import Target

    if time is not None:
        at = moment(shell, "--to-time", time)
        return Aim(Target(at), f"as it was at {iso(at)}", f"--to-time {exact(at)}")
    if tag is not None:
        found = tags.require(view.writer.store, view.namespace, tag)
        if found.status != tags.DONE:
            raise UsageError(
                f"the tag {tag!r} was never finished",
                unchanged=["nothing was changed"],
                next=[f"sloth-runner state tag {tag} makes it anew"],
            )
        return Aim(Target(found.time, tag=tag), f"as the tag {tag} recorded it", f"--to-tag {tag}")
    from sloth_runner.engine import records

    row = records.show_run(view.writer.store, run or "")
    name = str(row["run"])
    if row["status"] == "running":
        raise UsageError(
            f"when the run {name} ended is not known: it is still running, or its process died",
            unchanged=["nothing was changed"],
            next=[f"see what it wrote, and choose a time: sloth-runner state history --by {name}"],
        )
    ended = float(row["began"]) + float(row["seconds"])
    return Aim(Target(ended, run=name), f"as it was when the run {name} had ended", f"--to-run {name}")


def _whole(shell: Shell, view: State, aim: Aim, *, yes: bool) -> None:
    from sloth_runner.state import rollback as going

    store, namespace, clock = view.writer.store, view.namespace, view.writer.clock
    steps, newest = going.plan(store, namespace, aim.target, clock())
    _refuse_future(aim.target, max(clock(), newest))
    if steps:
        shell.confirm(_question(shell, view, aim, steps), "Go back?", yes=yes)
    changes = [_change(view, step) for step in steps] if shell.structured else []
    began = clock()
    commits = going.apply(view.writer, namespace, steps, view.by) if steps else 0
    undo = _undo(view, steps, newest, began)
    if shell.structured:
        body = {
            "store": shell.app().stores.name,
            "namespace": namespace,
            "to": {"time": iso(aim.target.moment), "run": aim.target.run, "tag": aim.target.tag},
            "count": len(steps),
            "commits": commits,
            "undo": undo,
            "changes": changes,
        }
        shell.document("state.rollback.list", body)
    elif not steps:
        shell.print(f"nothing to do: {namespace} is {aim.words}")
    else:
        new = text.count(len(steps), "new revision")
        shell.print(f"{namespace} is {aim.words} ({new}, {text.count(commits, 'commit')})")
        if undo is not None:
            shell.say(f"to undo: {undo}")


def _refuse_future(target: Target, last: float) -> None:
    """Refuse a time beyond ``last``: now, or the newest change, if it was made by a clock that is ahead."""
    if target.run is None and target.tag is None and target.moment > last + ROUNDED:
        raise UsageError(
            f"--to-time: {iso(target.moment)} lies in the future",
            unchanged=["nothing was changed"],
            next=[f"choose a time up to {iso(last)}, or how long ago: --to-time 2h"],
        )


def _question(shell: Shell, view: State, aim: Aim, steps: list[Step]) -> list[str]:
    from sloth_runner.state.rollback import commits

    namespace = view.namespace
    lines = [_line(view, step) for step in steps[:SHOWN]]
    if len(steps) > SHOWN:
        lines.append(f"  … and {len(steps) - SHOWN:,} more")
    lines.append(
        f"{text.count(len(steps), 'key')} of {namespace} in {shell.app().stores.name} would be {aim.words}"
    )
    parts = commits(view.writer, steps)
    if parts > 1:
        lines.append(
            f"that is more than one commit holds: it takes {parts}. If it is interrupted, this finishes it: "
            f"sloth-runner state rollback {aim.options}{flags(namespace)}"
        )
    return lines


def _undo(view: State, steps: list[Step], newest: float, began: float) -> str | None:
    """The command that undoes it: back to a moment after the newest change and before what was just written."""
    from sloth_runner.moments import parse_moment
    from sloth_runner.state.history import head

    written = [head(view.writer.store, view.namespace, step.key) for step in steps[:1]]
    for at in (began, newest):
        given = exact(at)
        if any(record is not None and parse_moment(given) < record.time for record in written):
            return f"sloth-runner state rollback --to-time {given}{flags(view.namespace)}"
    return None


def _line(view: State, step: Step) -> str:
    old, new, secret = _sides(view, step)
    return f"  {step.key}  {_shown(old, secret)} → {_shown(new, secret)}"


def _sides(view: State, step: Step) -> tuple[Record | None, Record | None, bool]:
    """What the key holds now, what it goes back to, and whether either is not to be shown."""
    from sloth_runner.state.rollback import value_of

    store, now = view.writer.store, view.writer.clock()
    last = value_of(store, view.namespace, step.key, step.now)
    new = value_of(store, view.namespace, step.key, step.to)
    row = view.row(step.key)
    secret = any(one is not None and one.sensitive for one in (last, new, row.record if row else None))
    return (last if row is not None and last is not None and row.record.live(now) else None), new, secret


def _shown(record: Record | None, secret: bool) -> str:
    if record is None:
        return "(no value)"
    if secret:
        return documents.HIDDEN
    return text.clip(text.pictures(documents.shown(record, reveal=True)), WIDE)


def _change(view: State, step: Step) -> dict[str, Any]:
    old, new, secret = _sides(view, step)
    sides = [None if one is None or secret else documents.value(one, reveal=True) for one in (old, new)]
    return {
        "key": step.key,
        "from": step.now,
        "to": step.to or None,
        "old": sides[0],
        "new": sides[1],
        "sensitive": secret,
    }
