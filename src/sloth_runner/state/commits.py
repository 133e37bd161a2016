"""Why: a commit whose reply was lost was made or was not, and which of the two is found out in one place.

The very same commit is tried again: the same expectations, the same values. If it goes through, the first one had not
(or what it did is done once more in the same place: an expectation that has been met by a write no longer holds). If
it meets a Conflict, either our own first try is what it met, or somebody else's write, and then ours never was and
never will be. Only what was written can tell: so every commit writes something that no other would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sloth_runner.errors import Conflict, Indeterminate, StoreDown
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.patience import OUTAGE, Tries
from sloth_runner.state.store import Change, Check, Rev

if TYPE_CHECKING:
    from sloth_runner.state.store import Store


def settle(
    store: Store, changes: Sequence[Change | Check], applied: Callable[[], bool] | None = None
) -> list[Rev] | None:
    """``store.commit(changes)``, whose fate is found out if its reply is lost. None: it was made, Revs unknown.

    ``applied`` looks, after a Conflict, whether this very commit is what the store shows (else: ``as_left``); it
    raises Unknowable where that can't be told any more.

    Raises what ``commit`` raises; Indeterminate only when the store did not answer for as long as the handle's
    patience lasts (and once more after that), or when ``applied`` does.
    """
    patience = store.traits.patience
    begun = 0.0 if patience is None else patience.now()
    try:
        return store.commit(changes)
    except Indeterminate as error:
        unknown = error
    if patience is not None:
        patience.contact.reached = True
    tries = Tries(patience, OUTAGE, begun, grace=True)
    while tries.again(unknown):
        try:
            try:
                return store.commit(changes)
            except Conflict:
                if as_left(store, changes) if applied is None else applied():
                    return None
                raise
        except (Indeterminate, StoreDown) as error:
            if isinstance(error, Unknowable):
                raise
            continue  # of this try it may be known that nothing came of it; of the first one it is not
    raise unknown


class Unknowable(Indeterminate):
    """What became of a commit can't be found out, however often one asks: what it wrote has been overwritten."""


def as_left(store: Store, changes: Sequence[Change | Check]) -> bool:
    """Whether the store is as these changes leave it. That is proof where one of the values is nobody else's, and as
    good where what counts is what is there."""
    for change in changes:
        if isinstance(change, Change):
            entry = store.get(change.key)
            if (None if entry is None else entry.value) != change.value:
                return False
    return True
