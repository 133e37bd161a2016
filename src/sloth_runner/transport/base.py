"""Why: where an operation is performed is no business of the one who asks for it."""

from __future__ import annotations

from typing import Protocol

from sloth_runner.model import Sink
from sloth_runner.ops import Op


def discard(stream: str, piece: bytes) -> None:
    """Hears output and forgets it."""


class Transport(Protocol):
    """The way to one machine."""

    is_local: bool
    """Whether it is the controller itself."""

    def at_once(self, op: Op) -> object | None:
        """The answer, if it can be had without waiting; else None, and ``do`` must be used. Raises OpError."""
        ...

    async def do(self, op: Op, on_output: Sink = discard) -> object:
        """The answer. Cancelling ends what runs (with what it started) before it returns. Raises OpError,
        Unreachable, TimedOut."""
        ...

    async def aclose(self) -> None:
        """Give everything back."""
        ...
