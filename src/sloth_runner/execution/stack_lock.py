"""Why: one stack is worked on by one process at a time; its lock fences ledger, intents, handlers and run records."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sloth_runner.durations import human
from sloth_runner.engine.holding import PATIENCE, Holding, Renewer
from sloth_runner.errors import SlothError, StackLocked
from sloth_runner.state import locks
from sloth_runner.state.layout import SHARED

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.writer import Fence

LEASE = 60.0
"""Seconds that the lock outlives a killed process; it is renewed at a third."""
POLL = 0.1


class StackLock:
    """The lock of one stack, held and renewed between enter and exit. ``timeout``: seconds to wait for it.
    ``on_lost`` is called, in another thread, once when the lease is lost."""

    def __init__(
        self,
        app: App,
        stack: str,
        timeout: float,
        run: str | None = None,
        on_lost: Callable[[SlothError], None] | None = None,
    ) -> None:
        self._app = app
        self._stack = stack
        self._timeout = timeout
        self._run = run
        self._on_lost = on_lost
        self._renewer = Renewer(lambda seconds: app.fresh_store(PATIENCE, seconds), app.clock)
        self._held: Holding | None = None

    def fences(self) -> tuple[Fence, ...]:
        """What a write under the lock checks; nothing while it is not held."""
        return (self._held.lock.fence,) if self._held is not None else ()

    def __enter__(self) -> StackLock:
        app, name = self._app, f"stack:{self._stack}"
        owner = app.owner("run", app.new_id())
        owner = owner._replace(by=owner.by._replace(run=self._run))
        end = time.monotonic() + self._timeout
        while True:
            found = locks.acquire(app.store(), SHARED, name, owner, LEASE, app.clock())
            if isinstance(found, locks.Held):
                break
            left = end - time.monotonic()
            if left <= 0:
                raise _locked(self._stack, found, app, self._timeout)
            time.sleep(min(POLL, left))
        self._held = Holding(found, keep=False, until=time.monotonic() + LEASE)
        self._held.on_lost = self._on_lost
        self._renewer.add(self._held)
        return self

    def __exit__(self, *exc: object) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._renewer.remove(held)
            locks.release(self._app.store(), held.lock, self._app.clock())
        self._renewer.close()


def _locked(stack: str, found: locks.Info, app: App, waited: float) -> StackLocked:
    by = found.owner.by
    boot, _ = app.process_identity()
    stale = locks.is_stale(found, app.by().host, boot, app.start_time(by.pid))
    left = max(0.0, found.expires - app.clock())
    note = f"; that process is gone, the lock ends by itself in {human(left)}" if stale else ""
    after = f" (waited {human(waited)})" if waited else ""
    return StackLocked(
        f"the stack {stack!r} is being run by {by.user}@{by.host}, pid {by.pid}, run {by.run}{after}{note}",
        unchanged=["nothing was run"],
        next=[
            "wait for it: --lock-timeout 5m",
            *([f"take it away: sloth-runner lock break --shared stack:{stack}"] if stale else []),
        ],
    )
