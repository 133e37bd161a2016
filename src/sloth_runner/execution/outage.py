"""Why: a store may be lost while a run goes on, or the lock under which it writes; the run then ends in order, says
what is true, and leaves little behind.

Nothing is asked of the store any more but once, at the very end, and not for long: if it is back, what could not be
recorded is, and the locks are released. If it is not, what was changed and not recorded is told. It is not unknown to
the next run, either: its intents were durable before anything was done. Without the lock the ledger may be another's;
how the run ended is recorded all the same, since its records are its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.engine.store_desk import is_outage
from sloth_runner.errors import LockLost, SlothError
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
    """The end of a run that could not keep its account, because of ``error``."""

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
            held = [holding.lock.name for holding in self._bench.locker.unreleased]
            document = self._journal.end(status, code, traffic, self._lost([*held, *self._lock.names()]))
        self._lock.abandon()
        self._journal.tell(document)
        return document

    def _record(
        self, status: str, code: int, traffic: Sequence[tuple[str, str, Document | None]]
    ) -> Document | None:
        """Write and release all that had to wait; None if the store is still away."""
        store: Store | None = None
        try:
            store = self._app.fresh_store(0.0, LAST)
            for ledger in self._bench.ledgers.values():
                _flush(store, ledger)
            document = self._journal.end(status, code, traffic, self._lost([]))
            self._journal.settle(store, ())
            self._bench.locker.release_left(store)
            self._lock.let_go(store)
        except SlothError:
            return None
        finally:
            if store is not None:
                store.close()
        if is_outage(self._error):
            self._bench.own.note("info", "the store answers again: what had to wait is recorded")
        return document

    def _lost(self, held: Sequence[str]) -> Document:
        """What the document says of the outage, with what was not recorded."""
        ledgers = self._bench.ledgers.values()
        unrecorded = [
            f"{address} on {ledger.namespace}" for ledger in ledgers for address in ledger.unrecorded()
        ]
        why = "changed, and not recorded: the next run knows of it by its intent"
        return {
            "error": {
                **self._error.document(),
                "changed": [f"{what}: {why}" for what in unrecorded],
                "unchanged": ["what was acknowledged before is kept"],
            },
            "unrecorded": unrecorded,
            "locks": list(held),
        }


def _flush(store: Store, ledger: Ledger) -> None:
    """Write what a ledger holds back, unless another may have the stack now: then it stays unrecorded."""
    batch = ledger.take()
    if batch is not None:
        try:
            ledger.wrote(write(store, ledger.namespace, batch))
        except LockLost:
            ledger.failed(batch)
        except SlothError:
            ledger.failed(batch)
            raise
