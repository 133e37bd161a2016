"""Why: looking at what the ledger knows, and undoing it, uses the kinds' steps without any task around them."""

from __future__ import annotations

from collections.abc import Generator

from sloth_runner.engine.drive import Desk, Drive, Skipped
from sloth_runner.errors import Bug
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.transport.base import discard

if TYPE_CHECKING:
    from sloth_runner.model import Outcome
    from sloth_runner.modules.base import Predict
    from sloth_runner.ops import Op
    from sloth_runner.transport.base import Transport
    from sloth_runner.transport.loop import Loop


def complete(transport: Transport, steps: Generator[Any, Any, Any], loop: Loop) -> Any:
    """Perform steps to their end; returns what they return. The loop is started only if something waits.

    Raises what the steps raise; an OpError that they let pass as TaskFailed; Skipped where a rehearsal ends them.
    """
    drive = Drive(steps, transport.at_once, Desk(_no, _no, _no, _no, _no, _foretold, _skipped))
    op = drive.advance()
    if op is not None:
        first = op

        async def wait() -> None:
            following: Op | None = first
            while following is not None:
                following = await drive.perform(transport, following, discard)

        loop.run(wait())
    return drive.outcome


def _skipped(prediction: Predict | None, skipped: Skipped) -> Outcome:
    raise skipped


def _foretold(prediction: Predict) -> Generator[Any, Any, None]:
    """What a change would bring along is of use to nobody here."""
    yield from ()


def _no(*args: object) -> Any:
    raise Bug("only operations on a machine are performed here")
