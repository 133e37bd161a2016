"""Why: a plan takes no lock; it tells for which ones a run would wait, and goes on as if it had them."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.engine.holding import Holding
from sloth_runner.engine.lock_calls import Locker, Request, who
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import LEASE, store_key
from sloth_runner.state.locks import Info
from sloth_runner.state.store import Change

if TYPE_CHECKING:
    from sloth_runner.engine.context import Context


class NoRenewal:
    """Leases in an overlay don't end."""

    def add(self, holding: Holding) -> None:
        """Nothing to renew."""

    def remove(self, holding: Holding) -> None:
        """Nothing was renewed."""


class CheckLocker(Locker):
    """Locks over an overlay of the store: what others hold is passed over, after it was told."""

    def _wait_for(self, context: Context, request: Request, then: Callable[[Holding], object]) -> object:
        desk = context.desk
        found = desk.ask(self._taking(context, request, lambda found: found))
        if isinstance(found, Info):
            context.note("info", f"would wait for the lock {request.name!r}, held by {who(found)}")
            lease = store_key(request.namespace, LEASE, request.name)
            desk.store.commit([Change(lease, None)])
            found = desk.ask(self._taking(context, request, lambda found: found))
        assert isinstance(found, Holding)
        return then(found)
