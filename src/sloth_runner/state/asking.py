"""Why: what is to be asked of a store is one thing; who asks it, when, and with which handle is another.

An embedded store answers at once, in the asker's own thread. A server is asked by a thread that has a handle of its
own, and the asker does something else meanwhile. An ``Ask`` fits both.
"""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.state.store import Store


class Ask(NamedTuple):
    """``work`` is done with some handle on the store, in any thread: it touches nothing but what it is given, and
    what nobody changes meanwhile. ``then`` makes the answer of its result, in the asker's own thread; it is called
    whether or not the asker still waits, for what was done is done."""

    work: Callable[[Store], Any]
    then: Callable[[Any], Any] | None = None

    def answered(self, store: Store) -> Any:
        """The answer, at once. Raises what the store raises."""
        result = self.work(store)
        return result if self.then is None else self.then(result)
