"""Why: going back to an earlier moment concerns a whole namespace: what would change is known and shown first, then
written as new revisions, and nothing else is.

The plan names, for each key that differs, the revision it is at and the one it goes back to. Applying it holds each
key to that: a key changed meanwhile is a Conflict. As many keys as one commit can hold go in one; more go in several,
and since only what differs is planned, running it again finishes. Going back prunes nothing, so that what a second
try needs stays, and so does what undoes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial

from sloth_runner.errors import Compacted, Conflict, SlothError, TooLarge
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state import edits, history, tags
from sloth_runner.state.batch import KEEP_ALL, Batch, Mutation
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import HEAD, HISTORY, place, prefix_of, store_key
from sloth_runner.state.patience import CONTENTION, Tries
from sloth_runner.state.record import Record, decode_record
from sloth_runner.state.store import walk
from sloth_runner.state.writer import Writer, written

if TYPE_CHECKING:
    from sloth_runner.model import By
    from sloth_runner.state.store import Store

PER_KEY = 5
"""Changes that a key may need: head, revision, blob, and an expiry's own revision."""
NAMED = 20
"""Keys that an error names."""


class Target(NamedTuple):
    """Where to: what a reader saw at ``moment`` (seconds since the epoch; with ``run``, all that this run wrote
    counts as before it), or what a ``tag``, made at ``moment``, recorded."""

    moment: float = 0.0
    run: str | None = None
    tag: str | None = None


class Step(NamedTuple):
    """A key that differs: the revision it is at, and the one it goes back to (0: it was not there)."""

    key: str
    now: int
    to: int


def plan(store: Store, namespace: str, target: Target, now: float) -> tuple[list[Step], float]:
    """What going back would change, by key, and the moment of the newest change there is.

    Raises Compacted naming the keys whose revision is no longer kept.
    """
    steps: list[Step] = []
    lost: list[str] = []
    newest = 0.0
    for key, last, wanted in targets(store, namespace, target):
        newest = max(newest, last.time)
        if isinstance(wanted, Compacted):
            lost.append(key)
            continue
        if _value(last if last.live(now) else None) != _value(wanted):
            steps.append(Step(key, last.number, wanted.number if wanted else 0))
    if lost:
        more = f" and {len(lost) - NAMED:,} more" if len(lost) > NAMED else ""
        raise Compacted(
            f"what {len(lost):,} of the keys held then is compacted: {', '.join(lost[:NAMED])}{more}",
            unchanged=["nothing was changed"],
            next=[
                "choose a later moment, or go back key by key: sloth-runner state rollback KEY --rev N",
                "a tag keeps what it names: sloth-runner state tag NAME",
            ],
        )
    return steps, newest


def targets(
    store: Store, namespace: str, target: Target
) -> Iterator[tuple[str, Record, Record | Compacted | None]]:
    """Each key, its head, and the record to go back to (None: absent; Compacted: no longer kept). Long values are
    left in their blobs."""
    rows = None if target.tag is None else tags.rows(store, namespace, target.tag)
    row = None if rows is None else next(rows, None)
    for entry in walk(store, prefix_of(namespace, HEAD)):
        last, key = decode_record(entry.value), place(entry.key).name
        wanted: Record | Compacted | None
        try:
            if rows is None:
                wanted = history.in_force(store, namespace, key, last, target.moment, target.run)
            else:
                while row is not None and row.key < key:
                    row = next(rows, None)
                wanted = (
                    None
                    if row is None or row.key != key
                    else _kept(store, namespace, last, row, target.moment)
                )
        except Compacted as error:
            wanted = error
        yield key, last, wanted


def value_of(store: Store, namespace: str, key: str, number: int) -> Record | None:
    """The record that a step's number means, with its value."""
    if number == 0:
        return None
    return history.revision(store, namespace, key, number)


def commits(writer: Writer, steps: Sequence[Step]) -> int:
    """In how many commits these steps go, if no store refuses one as too large."""
    return -(-len(steps) // _at_once(writer))


def apply(writer: Writer, namespace: str, steps: Sequence[Step], by: By) -> int:
    """Go back, as new revisions; returns the number of commits.

    Raises Conflict (a key is no longer at the revision planned), Compacted and what the store raises. Each commit is
    all or nothing; ``changed`` of an error says how far it came.
    """
    all_kept = Writer(writer.store, writer.clock, writer.new_id, KEEP_ALL)
    done = count = 0
    queue = [list(steps[i : i + _at_once(writer)]) for i in range(0, len(steps), _at_once(writer))]
    queue.reverse()
    while queue:
        group = queue.pop()
        try:
            _together(all_kept, namespace, [_mutation(all_kept.store, namespace, step, by) for step in group])
        except TooLarge as error:
            if len(group) == 1:
                raise _so_far(error, done) from error
            half = len(group) // 2
            queue += [group[half:], group[:half]]
            continue
        except SlothError as error:
            raise _so_far(error, done) from error
        done += len(group)
        count += 1
    return count


def _at_once(writer: Writer) -> int:
    return max(1, writer.store.traits.max_changes // PER_KEY)


def _so_far(error: SlothError, done: int) -> SlothError:
    if done:
        error.changed.append(f"{done:,} keys went back before; run the same command again to finish")
        error.unchanged = []
    return error


def _mutation(store: Store, namespace: str, step: Step, by: By) -> Mutation:
    wanted = value_of(store, namespace, step.key, step.to)
    text, sensitive = (None, False) if wanted is None else (wanted.text, wanted.sensitive)
    back = edits.restore(text, sensitive)

    def edit(seen: edits.Seen) -> edits.Plan:
        if seen.last is None or seen.last.number != step.now:
            raise Conflict(
                f"{step.key!r} was changed by others since the plan was made",
                keys=[step.key],
                next=["run it again: it plans anew"],
            )
        return back(seen)

    return Mutation(namespace, step.key, edit, by)


def _together(writer: Writer, namespace: str, group: list[Mutation]) -> None:
    """All of the mutations in one commit, or none. Unlike ``Writer.apply`` none fails or succeeds alone."""
    traits = writer.store.traits
    with traits.exclusive([namespace]) if traits.exclusive else nullcontext():
        tries: Tries | None = None
        while True:
            batch = Batch(writer, guess=False)
            for mutation in group:
                batch.add(mutation)
            changes = batch.changes()
            try:
                settle(writer.store, changes, partial(written, writer.store, changes))
                return
            except Conflict as conflict:
                tries = tries or Tries(traits.patience, CONTENTION)
                if not tries.again(conflict):
                    raise Conflict(
                        f"keys of {namespace} were changed by others each time it was tried",
                        keys=conflict.keys,
                    ) from conflict


def _kept(store: Store, namespace: str, last: Record, row: tags.Row, moment: float) -> Record | None:
    if row.number == last.number:
        return history.seen(last, None, moment)
    found = history.revision(store, namespace, row.key, row.number)
    after = store.get(store_key(namespace, HISTORY, row.key, row.number + 1))
    return history.seen(found, None if after is None else decode_record(after.value), moment)


def _value(record: Record | None) -> tuple[str | None, str]:
    """What tells values apart: the text, or the digest of a long one."""
    if record is None:
        return (None, "")
    return (None, record.blob) if record.blob else (record.text, "")
