"""Why: what all requests share is in one place, made once and handed to each."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable
from threading import Lock

from sloth_runner.documents.past import since_run
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.history import Newest
from sloth_runner.state.layout import HEAD, store_key
from sloth_runner.web.checks import Checks

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.history import Filter, Mark
    from sloth_runner.state.store import Store
    from sloth_runner.web.desk import Desk
    from sloth_runner.web.doors import Doors
    from sloth_runner.web.hub import Hub
    from sloth_runner.web.index.index import Index
    from sloth_runner.web.index.pulse import Pulse
    from sloth_runner.web.options import Options


class House:
    """The server's lasting parts. ``clock``: seconds since the epoch; ``trouble``: why the store can't be watched
    just now; ``fault`` is told what nobody expected."""

    def __init__(
        self,
        options: Options,
        desk: Desk,
        doors: Doors,
        hub: Hub,
        index: Index,
        pulse: Pulse,
        clock: Callable[[], float],
    ) -> None:
        self.options = options
        self.desk = desk
        self.doors = doors
        self.hub = hub
        self.index = index
        self.pulse = pulse
        self.clock = clock
        self.checks = Checks()
        self.reached = Checks()
        self.trouble: Callable[[], str | None] = lambda: None
        self.fault: Callable[[Exception], None] = lambda error: None
        self.served: dict[tuple[str, int], int] = {}
        """Requests by method and status."""
        self._tasks: set[Task[None]] = set()
        self._guard = Lock()

    def wrote(self, app: App, namespace: str, key: str) -> None:
        """We changed a key ourselves: it is seen at once, not when the store tells of it."""
        shelf = self.index.find(namespace)
        if shelf is not None:
            self.pulse.add(shelf.look_at(app.store(), key, self.clock()))
        self.hub.tell(frozenset({"state"}))

    def keep(self, task: Task[None]) -> None:
        """Work that goes on after its request was answered."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def count(self, method: str, status: int) -> None:
        """A request was answered."""
        with self._guard:
            self.served[method, status] = self.served.get((method, status), 0) + 1

    def newest(
        self, store: Store, namespace: str, prefix: str, wanted: Filter, limit: int, after: Mark | None
    ) -> list[Mark]:
        """``history.latest``, looking only at keys of which something is new enough."""
        found = Newest(store, namespace, wanted, limit, after)
        begin = since_run(wanted.by) or 0.0
        for time, key in self.index.picture(namespace).newest_first(prefix):
            if time < begin or found.is_enough(time):
                break
            entry = store.get(store_key(namespace, HEAD, key))
            if entry is not None:
                found.look_at(entry)
        return found.marks()
