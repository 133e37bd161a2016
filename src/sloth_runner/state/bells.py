"""Why: each store has its own way to tell of changes; those that have none are looked at again and again.

``ring`` is a doorbell of any store. ``listening`` is one for who would rather wait than fail: a server that was there
before and is away just now is waited for as long as the handle's patience lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sloth_runner.errors import Busy, Forbidden, StoreDown
from sloth_runner.plain import TYPE_CHECKING, TypeVar
from sloth_runner.state.patience import CONTENTION, OUTAGE, Patience, Tries

if TYPE_CHECKING:
    from sloth_runner.state.store import Doorbell, Store

    T = TypeVar("T")

AGAIN = 1.0
"""Seconds after which a store that can't tell may have changed."""


@contextmanager
def ring(store: Store, prefix: str = "") -> Iterator[Doorbell]:
    """A doorbell of the keys that start with ``prefix``. Raises StoreDown."""
    watch = store.traits.watch
    if watch is None:
        yield _Maybe()
        return
    with watch(prefix) as bell:
        yield bell


@contextmanager
def listening(store: Store, prefix: str = "") -> Iterator[Doorbell]:
    """The same with the handle's patience: only a server that stays away for longer raises StoreDown, and what was
    told while it was away is unknown."""
    patience = store.traits.patience
    with ExitStack() as stack:
        bell, _ = _tried(patience, lambda: stack.enter_context(ring(store, prefix)))

        def patiently(seconds: float) -> Sequence[str] | None:
            heard, again = _tried(patience, lambda: bell(seconds))
            return None if again else heard

        yield patiently


def _tried(patience: Patience | None, work: Callable[[], T]) -> tuple[T, bool]:
    """What ``work`` gives, and whether it took more than one try."""
    try:
        return work(), False
    except StoreDown as error:
        failed = error
    tries: Tries | None = None
    while patience is not None and not isinstance(failed, Forbidden):
        # Counted from the first failure: a bell that had waited a while before was not away as long.
        tries = tries or Tries(patience, CONTENTION if isinstance(failed, Busy) else OUTAGE)
        if not tries.again(failed):
            break
        try:
            return work(), True
        except StoreDown as error:
            failed = error
    raise failed


class _Maybe:
    """Says every AGAIN seconds that something may have changed."""

    def __init__(self) -> None:
        self._due = time.monotonic() + AGAIN

    def __call__(self, seconds: float) -> Sequence[str] | None:
        left = self._due - time.monotonic()
        if left > seconds:
            time.sleep(seconds)
            return ()
        time.sleep(max(0.0, left))
        self._due = time.monotonic() + AGAIN
        return None
