"""Why: a connection belongs to the event loop it was opened on, so all that waits in one run waits on one loop."""

from __future__ import annotations

from collections.abc import Coroutine

from sloth_runner.plain import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


class Loop:
    """An event loop that is made when something waits for the first time, and stands still in between."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end."""
        if self._runner is None:
            import asyncio

            self._runner = asyncio.Runner()
        return self._runner.run(work)

    @property
    def used(self) -> bool:
        """Whether something has waited."""
        return self._runner is not None

    def close(self) -> None:
        """End what is left on it."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None
