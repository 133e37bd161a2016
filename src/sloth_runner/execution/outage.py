"""Why: a store may be lost while a run goes on; the run then ends in order, says what is true, and leaves little
behind.

Nothing is asked of the store any more but once, at the very end, and not for long: if it is back, what could not be
recorded is, and the locks are released. If it is not, what was changed and not recorded is told. It is not unknown to
the next run, either: its intents were durable before anything was done.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.ledger_batch import write

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.engine.journal import Journal
    from sloth_runner.execution.bench import Bench
    from sloth_runner.execution.stack_lock import StackLock
    from sloth_runner.state.ledger import Ledger
    from sloth_runner.state.store import Store

Document = dict[str, Any]
LAST = 2.0
"""Seconds that the last try gives the server for an answer."""


class LastTry:
    """The end of a run whose store was lost, by ``error``."""

    def __init__(self, app: App, bench: Bench, lock: StackLock, journal: Journal, error: SlothError) -> None:
        self._app = app
        self._bench = bench
        self._lock = lock
        self._journal = journal
        self._error = error

    def end(self, status: str, code: int, traffic: Sequence[tuple[str, str, Document | None]]) -> Document:
        """Record and release what can be; the run's document, with what could not."""
        document = self._record(status, code, traffic)
        if document is None:
            ledgers = self._bench.ledgers.values()
            waiting = [
                f"{address} on {ledger.namespace}" for ledger in ledgers for address in ledger.unrecorded()
            ]
            held = [holding.lock.name for holding in self._bench.locker.unreleased]
            document = self._journal.end(
                status, code, traffic, self._lost(waiting, [*held, *self._lock.names()])
            )
        self._lock.abandon()
        self._journal.tell(document)
        return document

    def _record(
        self, status: str, code: int, traffic: Sequence[tuple[str, str, Document | None]]
    ) -> Document | None:
        """Write and release all that had to wait; None if the store is still away, or the lock lost."""
        store: Store | None = None
        try:
            store = self._app.fresh_store(0.0, LAST)
            for ledger in self._bench.ledgers.values():
                _flush(store, ledger)
            document = self._journal.end(status, code, traffic, self._lost([], []))
            self._journal.settle(store)
            self._bench.locker.release_left(store)
            self._lock.let_go(store)
        except SlothError:
            return None
        finally:
            if store is not None:
                store.close()
        self._bench.own.note("info", "the store answers again: what had to wait is recorded")
        return document

    def _lost(self, unrecorded: Sequence[str], held: Sequence[str]) -> Document:
        """What the document says of the outage."""
        why = "changed, and not recorded: the next run knows of it by its intent"
        return {
            "error": {
                **self._error.document(),
                "changed": [f"{what}: {why}" for what in unrecorded],
                "unchanged": ["what was acknowledged before is kept"],
            },
            "unrecorded": list(unrecorded),
            "locks": list(held),
        }


def _flush(store: Store, ledger: Ledger) -> None:
    batch = ledger.take()
    if batch is not None:
        try:
            ledger.wrote(write(store, ledger.namespace, batch))
        except SlothError:
            ledger.failed(batch)
            raise
