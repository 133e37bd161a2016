"""Why: one stack is worked on by one process at a time; its lock fences ledger, intents, handlers and run records."""

from __future__ import annotations

import time
from collections.abc import Callable

from sloth_runner import processes
from sloth_runner.durations import human
from sloth_runner.engine.holding import PATIENCE, Holding, Renewer
from sloth_runner.errors import Lost, SlothError, StackLocked
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state import locks
from sloth_runner.state.layout import SHARED

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.batch import Fence
    from sloth_runner.state.store import Store

LEASE = 60.0
"""Seconds that the lock outlives a killed process; it is renewed at a third."""
POLL = 0.1


class Purpose(NamedTuple):
    """What the lock is taken for: who holds it, what was not done without it, and how to get it."""

    holder: str
    undone: str
    wait: str


_DOING = {"prune": "being pruned by"}
RUN = Purpose("run", "nothing was run", "wait for it: --lock-timeout 5m")


class StackLock:
    """The lock of one stack, held and renewed between enter and exit. ``timeout``: seconds to wait for it.
    ``on_lost`` is called, in another thread, once when the lease is lost. A lock that the run ``resumed`` has left is
    waited for, until its lease has ended by itself; ``say`` tells that. ``purpose``: what it is taken for."""

    def __init__(
        self,
        app: App,
        stack: str,
        timeout: float,
        run: str | None = None,
        on_lost: Callable[[SlothError], None] | None = None,
        resumed: str | None = None,
        say: Callable[[str], None] = lambda text: None,
        purpose: Purpose = RUN,
    ) -> None:
        self._app = app
        self._stack = stack
        self._timeout = timeout
        self._run = run
        self._on_lost = on_lost
        self._resumed = resumed
        self._say = say
        self._purpose = purpose
        self._seen = 0.0
        self._renewer = Renewer(lambda seconds: app.fresh_store(PATIENCE, seconds), app.clock)
        self._held: Holding | None = None

    def fences(self) -> tuple[Fence, ...]:
        """What a write under the lock checks; nothing while it is not held."""
        return (self._held.fence,) if self._held is not None else ()

    def __enter__(self) -> StackLock:
        app, name = self._app, f"stack:{self._stack}"
        owner = app.owner(self._purpose.holder, app.new_id())
        owner = owner._replace(by=owner.by._replace(run=self._run))
        end = time.monotonic() + self._timeout
        while True:
            found = locks.acquire(app.store(), SHARED, name, owner, LEASE, app.clock())
            if isinstance(found, locks.Held):
                break
            left = max(end, self._wait_for_resumed(found)) - time.monotonic()
            if left <= 0:
                raise _locked(self._stack, found, app, self._timeout, self._purpose)
            time.sleep(min(POLL, left))
        self._held = Holding(found, keep=False, until=time.monotonic() + LEASE)
        self._held.on_lost = self._on_lost
        self._renewer.add(self._held)
        return self

    def _wait_for_resumed(self, found: locks.Info) -> float:
        """Until when the lease of the run that is to go on is waited for. A live one renews it, and is not."""
        if self._resumed is None or found.owner.by.run != self._resumed:
            return 0.0
        left = max(0.0, found.expires - self._app.clock())
        if self._seen == 0.0:
            self._say(
                f"waiting until the lock that run {self._resumed} has left ends by itself: {human(left)}"
            )
            self._seen = found.expires
        return 0.0 if found.expires > self._seen else time.monotonic() + left + LEASE

    def __exit__(self, *exc: object) -> None:
        held = self._held
        try:
            if held is not None:
                self.let_go(self._app.store())
        except Lost:
            self._held = None
            if exc[0] is None:
                raise
        finally:
            self._renewer.close()

    def let_go(self, store: Store) -> None:
        """Release it, by this handle. Raises what the store raises."""
        if self._held is not None:
            self._renewer.remove(self._held)
            locks.release(store, self._held.lock, self._app.clock())
            self._held = None

    def abandon(self) -> None:
        """The store is lost: let the lease end by itself."""
        if self._held is not None:
            self._renewer.remove(self._held)
            self._held = None

    def names(self) -> list[str]:
        """Its name, while it is held."""
        return [] if self._held is None else [self._held.lock.name]


def _locked(stack: str, found: locks.Info, app: App, waited: float, purpose: Purpose) -> StackLocked:
    by = found.owner.by
    boot, _ = processes.identity()
    stale = locks.is_stale(found, app.by().host, boot, processes.start_time(by.pid))
    left = max(0.0, found.expires - app.clock())
    note = f"; that process is gone, the lock ends by itself in {human(left)}" if stale else ""
    after = f" (waited {human(waited)})" if waited else ""
    doing = "being run by" if by.run else _DOING.get(found.owner.holder, f"held by {found.owner.holder!r},")
    run = f", run {by.run}" if by.run else ""
    return StackLocked(
        f"the stack {stack!r} is {doing} {by.user}@{by.host}, pid {by.pid}{run}{after}{note}",
        unchanged=[purpose.undone],
        next=[
            purpose.wait,
            *([f"take it away: sloth-runner lock break --shared stack:{stack}"] if stale else []),
        ],
    )
