"""Why: state tests want a State on a store of their own, with a clock that moves only when told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from sloth_runner.model import By
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.state import State
from sloth_runner.state.store import Store
from sloth_runner.state.writer import Writer

if TYPE_CHECKING:
    from sloth_runner.state.keyring import KeySource

BY = By("ann", "host1", 7, "run1", "task1")


class Clock:
    """Seconds that pass only by ``clock.now += …``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def ids() -> Callable[[], str]:
    """Write ids that count."""
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):032x}"


def key_source(number: int = 1) -> KeySource:
    """A key source that needs nothing; another number, another key."""
    from sloth_runner.secret import Secret
    from sloth_runner.state.keysources import from_key

    return from_key(lambda: Secret(bytes([0x80 + number]) * 32), f"the key {number}")


def memory(clock: Callable[[], float], *, sealed: bool) -> Store:
    """A new store in memory, sealed or not."""
    from sloth_runner.state.sealed import Sealed

    inner = MemoryStore(clock)
    return Sealed(inner, key_source()) if sealed else inner


def make_state(
    store: Store | None = None,
    clock: Clock | None = None,
    *,
    namespace: str = "local",
    retention: Retention | None = None,
) -> State:
    """A State on ``store`` (a new memory store if none)."""
    clock = clock or Clock()
    writer = Writer(store or MemoryStore(clock), clock, ids(), retention or Retention())
    return State(writer, namespace, BY)
