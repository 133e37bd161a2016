"""Why: users outgrow a store; their state goes to another one whole, with all of its past, and lives in one place.

The source is *retired* first: from then on it refuses all commits, whoever makes them, so it can be read at leisure
and is of one moment. Everything but leases is copied as it is (below sealing: each store has its own keys), then both
are read again and compared. Only then is the source told that its state has moved, and after that the target that it
is complete. Every step looks at what is there, so the same call goes on where an earlier one was killed:

====================  ==================  ============================================================
note in the source    in the target       what that means
====================  ==================  ============================================================
none                  none                nothing was begun
moving                none or arriving    copying: what is missing is copied
moved                 arriving            copied and proved; the target is to be told
moved                 none                done
none                  arriving            given up: what was copied is taken up again, or thrown away
====================  ==================  ============================================================

A target that holds something else is refused; one that was this state's own home before (it says so itself) takes it
back. A fence's token is never lowered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sloth_runner.errors import Conflict, LockHeld, LockLost, Lost, SlothError, UsageError
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.state import locks, moved
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import ARRIVED, ARRIVING, STORE
from sloth_runner.state.marks import spaces
from sloth_runner.state.migrate_copy import Copying, Sum, alike, copy, erase, holds, total
from sloth_runner.state.moved import Note
from sloth_runner.state.store import ABSENT, Change

if TYPE_CHECKING:
    from sloth_runner.model import By
    from sloth_runner.state.locks import Held, Owner
    from sloth_runner.state.store import Store

LOCK: Final = "migrate"
TTL: Final = 120.0
"""Seconds that the target's lock outlives its holder."""
EMPTY, OURS, EARLIER = "empty", "ours", "earlier"
"""What a target holds: nothing; what was copied of this source; this state, from before it went."""
UNCHANGED: Final = ["nothing was changed"]


class Side(NamedTuple):
    """A store: sealed or not (``store``), what lies below sealing (``raw``; the same where nothing is sealed), and
    its URL as it may be shown."""

    store: Store
    raw: Store
    name: str


class Situation(NamedTuple):
    """How far it is. ``source`` and ``target``: the notes in both; ``holds``: of EMPTY, OURS, EARLIER."""

    source: Note | None
    target: Note | None
    holds: str

    @property
    def proved(self) -> bool:
        """Whether everything was copied and compared."""
        return self.source is not None and self.source.done

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.proved and self.target is None


class Order(NamedTuple):
    """A migration to be made, by whom. ``alive``: whether the process that a lock's record names may still run;
    ``progress`` hears how many records more were read."""

    by: By
    owner: Owner
    new_id: Callable[[], str]
    clock: Callable[[], float]
    alive: Callable[[locks.Info], bool]
    progress: Callable[[int], None]


def look(source: Side, target: Side) -> Situation:
    """How far a migration from one to the other is. Raises Moved, Conflict, UsageError: it can't be made."""
    if source.name == target.name:
        raise UsageError(f"{source.name} is both source and target", unchanged=UNCHANGED)
    for side in (source, target):
        if side.raw.traits.retire is None:
            raise UsageError(
                f"{side.name} ends with its process: it can't be moved from or to", unchanged=UNCHANGED
            )
    into_source = moved.coming(source.raw)
    if into_source is not None:
        raise moved.unfinished(into_source)
    gone, arriving, left = moved.left(source.raw), moved.coming(target.raw), moved.left(target.raw)
    if gone is not None and gone.target != target.name and (arriving is None or arriving.id != gone.id):
        raise moved.refusal(moved.encode(gone))
    if arriving is not None and arriving.source != source.name and (gone is None or arriving.id != gone.id):
        raise moved.unfinished(arriving)
    if left is not None:
        came = moved.came(source.raw)
        if came is None or came.id != left.id:
            raise moved.refusal(moved.encode(left))
    if left is not None or (gone is not None and gone.again):
        return Situation(gone, arriving, EARLIER)
    if gone is not None or arriving is not None:
        return Situation(gone, arriving, OURS)
    found = [name for name in spaces(target.raw) if holds(target.raw, name)]
    if found:
        raise Conflict(
            f"{target.name} holds a state already: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}",
            next=[
                "name another place (another schema, prefix or folder)",
                "to merge states: export and import",
            ],
        )
    return Situation(None, None, EMPTY)


def survey(source: Side, target: Side, progress: Callable[[int], None]) -> list[Sum]:
    """What there is to copy; all of it is read. Raises LockHeld (somebody works on it), TooLarge: it would not go."""
    refuse_held(source)
    most = target.store.traits.max_value
    sums = [total(source.store, name, progress, most=most) for name in spaces(source.raw)]
    return [one for one in sums if one.records]


def migrate(source: Side, target: Side, order: Order) -> list[Sum]:
    """Copy everything, prove it, retire the source: what is in the target then (nothing, if it was done already).

    On an error before it is proved the source takes writes again, and what was copied stays for the next try. Raises
    Moved, LockHeld, Conflict (others wrote into the target), TooLarge, StoreDown.
    """
    if look(source, target).done:
        return []
    with _alone(target, order) as renew:
        situation = look(source, target)
        sums = [] if situation.proved else _move(source, target, situation, order, renew)
        _arrived(source, target)
    return sums


def abort(source: Side, target: Side, order: Order) -> int:
    """Undo what was begun: the source takes writes again, what was copied is deleted (how many records).

    Raises Moved: it is done already; UsageError: nothing was begun.
    """
    situation = look(source, target)
    note = situation.source or situation.target
    if note is None:
        raise UsageError("no migration was begun between these two", unchanged=UNCHANGED)
    if situation.proved:
        raise moved.refusal(moved.encode(note))
    with _alone(target, order) as renew:
        if situation.source is not None:
            _retire(source, b"", moved.encode(situation.source))
        if note.again:
            _close_again(source, target)
            return 0
        deleted = sum(erase(target.store, name, renew) for name in spaces(target.raw))
        _forget(target)
    return deleted


def refuse_held(side: Side) -> None:
    """Raises LockHeld when somebody works on this state just now."""
    found = [
        f"{info.name!r} in {name}: {info.owner.holder} ({info.owner.by.user}@{info.owner.by.host})"
        for name in spaces(side.raw)
        for info in locks.held(side.store, name)
    ]
    if found:
        raise LockHeld(
            "\n".join([f"{side.name} is being worked on; held locks:", *found[:10]]),
            unchanged=UNCHANGED,
            next=["wait until these runs have ended", "see them: sloth-runner lock list --all-agents"],
        )


def _move(
    source: Side, target: Side, situation: Situation, order: Order, renew: Callable[[], None]
) -> list[Sum]:
    note = situation.source
    if note is None:
        refuse_held(source)
        again = situation.holds == EARLIER or (situation.target is not None and situation.target.again)
        note = Note(
            order.new_id(), source.name, target.name, order.by.user, order.by.host, order.clock(),
            again=again, fresh=situation.holds == EMPTY,
        )  # fmt: skip
    data = moved.encode(note)
    try:
        if situation.source is None:
            _retire(source, data, b"")  # what breaks off in the middle of it is given up, too
        _retire(source, data, data)  # everywhere, should that have broken off
        refuse_held(source)
        _expect(target, note)
        sums = _prove(source, target, Copying(order.progress, renew, strict=note.fresh))
        renew()
    except BaseException as error:
        _give_up(source, target, note, error, renew)
        raise
    _retire(source, moved.encode(note._replace(done=True)), moved.encode(note))
    return sums


def _prove(source: Side, target: Side, copying: Copying) -> list[Sum]:
    """Copy, then read both again: whatever a store may have made of it shows."""
    for name in sorted({*spaces(source.raw), *spaces(target.raw)}):
        copy(source.store, target.store, name, copying)
    sums: list[Sum] = []
    wrong: list[str] = []
    for name in sorted({*spaces(source.raw), *spaces(target.raw)}):
        ours, theirs = (
            total(side.store, name, copying.progress, renew=copying.renew) for side in (source, target)
        )
        sums.append(theirs)
        if not alike(ours, theirs):
            wrong.append(name)
    if wrong:
        raise Conflict(
            f"{target.name} does not hold what was copied there ({', '.join(wrong)}): others write into it",
            next=["find out who, then try again"],
        )
    return [one for one in sums if one.records]


def _give_up(source: Side, target: Side, note: Note, error: BaseException, renew: Callable[[], None]) -> None:
    """Let the source take writes again, unless somebody else may have taken over."""
    words = [f"{source.name} takes writes again; what was copied stays in {target.name} for the next try"]
    try:
        if isinstance(error, LockLost):
            raise error
        renew()
        _retire(source, b"", moved.encode(note))
    except Exception as worse:
        words = [f"{source.name} takes no writes until this is finished, or undone by --abort: {worse}"]
    if isinstance(error, SlothError):
        error.unchanged = [*error.unchanged, *words]


def _close_again(source: Side, target: Side) -> None:
    """The target was this state's home before: what is in it is nobody's, and it says again where the state is."""
    came = moved.came(source.raw)
    if came is not None and moved.left(target.raw) is None:
        _retire(target, moved.encode(came._replace(done=True)), b"")
    _forget(target)


def _expect(target: Side, note: Note) -> None:
    """Let the target say from where a state is coming; one that has a note of its own is opened after that."""
    entry, data = target.raw.get(ARRIVING), moved.encode(note)
    if entry is None or entry.value != data:
        settle(target.raw, [Change(ARRIVING, data, entry.rev if entry else ABSENT)])
    left = moved.left(target.raw)
    if left is not None:
        _retire(target, b"", moved.encode(left))


def _arrived(source: Side, target: Side) -> None:
    """The target is complete."""
    note, entry, before = moved.left(source.raw), target.raw.get(ARRIVING), target.raw.get(ARRIVED)
    if entry is None or note is None:
        return
    put = Change(ARRIVED, moved.encode(note), before.rev if before else ABSENT)
    settle(target.raw, [put, Change(ARRIVING, None, entry.rev)])


def _forget(target: Side) -> None:
    entry = target.raw.get(ARRIVING)
    if entry is not None:
        settle(target.raw, [Change(ARRIVING, None, entry.rev)])


def _retire(side: Side, new: bytes, old: bytes) -> None:
    retire = side.raw.traits.retire
    assert retire is not None
    retire(new, old)


@contextmanager
def _alone(target: Side, order: Order) -> Iterator[Callable[[], None]]:
    """Hold the target's lock; what is yielded renews it when it is time. Raises LockHeld, LockLost."""
    held = _acquired(target, order)
    last = order.clock()

    def renew() -> None:
        nonlocal held, last
        now = order.clock()
        if not 0 <= now - last < TTL / 4:
            held, last = locks.renew(target.raw, held, now), now

    try:
        yield renew
    finally:
        try:
            locks.release(target.raw, held, order.clock())
        except Lost:
            pass  # it ends by itself; what went wrong before is to be told


def _acquired(target: Side, order: Order) -> Held:
    found = locks.acquire(target.raw, STORE, LOCK, order.owner, TTL, order.clock())
    if isinstance(found, locks.Info) and not order.alive(found):
        locks.break_lock(target.raw, found, order.by, "its process has ended", order.clock())
        found = locks.acquire(target.raw, STORE, LOCK, order.owner, TTL, order.clock())
    if isinstance(found, locks.Info):
        by = found.owner.by
        raise LockHeld(
            f"{by.user}@{by.host} (process {by.pid}) is copying a state into {target.name}",
            unchanged=UNCHANGED,
            next=["wait until that is done"],
        )
    return found
