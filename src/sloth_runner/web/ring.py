"""Why: each store has its own way to tell of changes; those that have none are looked at again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.store import Doorbell

AGAIN = 1.0
"""Seconds after which a store that can't tell may have changed."""


@contextmanager
def ring(app: App) -> Iterator[Doorbell]:
    """A doorbell of the whole store."""
    watch = app.store().traits.watch
    if watch is None:
        yield _Maybe()
        return
    with watch("") as bell:
        yield bell


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
