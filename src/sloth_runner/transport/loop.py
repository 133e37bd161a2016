"""Why: a connection belongs to the event loop it was opened on, so all that waits in one run waits on one loop."""

from __future__ import annotations

from collections.abc import Coroutine

from sloth_runner.plain import TYPE_CHECKING, Any, TypeVar
from sloth_runner.room import require_files

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


FILES = 3
"""Files that an event loop has open."""


class Loop:
    """An event loop that is made when something waits for the first time, and stands still in between."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end."""
        if self._runner is None:
            self._runner = _made(work)
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


def _made(work: Coroutine[Any, Any, Any]) -> asyncio.Runner:
    """A runner. Raises OSError where not as many files may be open, while that can be told: asyncio leaves a loop
    that is half made behind, and Python tells of that, too."""
    try:
        import asyncio

        require_files(FILES)
        return asyncio.Runner()
    except BaseException:
        work.close()
        raise
