"""Why: where an operation is performed is no business of the one who asks for it."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result


def discard(stream: str, piece: bytes) -> None:
    """The Sink for output that nobody wants to hear."""


class Transport(Protocol):
    """The way to one machine."""

    @property
    def is_local(self) -> bool:
        """Whether it is the machine that the task file lies on, so that both share their folders."""
        ...

    def as_user(self, user: str | None) -> Transport:
        """The way to the same machine, to act there as a user (None: as the one who logs in)."""
        ...

    def at_once(self, op: Op) -> Result | None:
        """The result, if it can be had without waiting; else None, and nothing was done: use ``do``.
        Raises OpError."""
        ...

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """The result; ``on_output`` hears a program's output as it comes. Cancelling ends the program, and
        what it started, before it returns. Raises OpError, TimedOut, Unreachable."""
        ...

    async def ready(self) -> None:
        """Have the way open. Raises Unreachable."""
        ...

    async def aclose(self) -> None:
        """Give everything back."""
        ...
