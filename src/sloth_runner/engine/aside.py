"""Why: what is left of a call that was answered is done by the same means as the call was, when its group ends."""

from __future__ import annotations

from collections.abc import Callable, Generator

from sloth_runner.engine.drive import Desk, Drive
from sloth_runner.engine.group import Group, Late
from sloth_runner.errors import Bug, SlothError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.agent.staging import Staged
    from sloth_runner.engine.lines import Line
    from sloth_runner.modules.base import Converged
    from sloth_runner.ops import Op, Result, Write
    from sloth_runner.transport.local import LocalTransport


class Aside:
    """One call's way into the group. ``told`` hears what has failed after the call was answered, whether that was its
    own failure, and what it had changed; ``met`` what was done after all, because others were quicker."""

    def __init__(
        self,
        group: Group,
        transport: LocalTransport,
        line: Line,
        desk: Desk,
        told: Callable[[SlothError, bool, list[str]], None],
        met: Callable[[Converged], None],
    ) -> None:
        self.met = met
        self._group = group
        self._strand = group.strand
        self._transport = transport
        self._line = line
        self._desk = desk
        self._told = told

    def stage(self, op: Write) -> Staged | None:
        """A new file that can wait; None: do it as ever."""
        group = self._group
        if group.strand is not self._strand or not group.takes(len(op.content)):
            return None
        staged = self._transport.stage(op)
        if staged is not None and not group.has_place(staged):
            staged.close()
            return None
        return staged

    def wait(
        self, staged: Staged, op: Write, steps: Generator[Any, Any, None], withdraw: Callable[[], None]
    ) -> None:
        """Have ``steps``, which begin with ``op``, done with the group; ``withdraw`` if it comes to nothing."""
        transport, told = self._transport, self._told

        def at_once(step: Op) -> Result | None:
            return transport.place(staged) if step is op else transport.in_place(step)

        drive = Drive(steps, at_once, self._desk)

        def finish() -> None:
            if drive.advance() is not None:
                raise Bug("what waits in a group has to wait for something else")

        def failed(error: SlothError, own: bool) -> None:
            drive.close()
            if not drive.mutations:
                withdraw()
            told(error, own, [*drive.mutations, *drive.attempts])

        self._group.add(Late(staged, self._line, len(op.content), finish, failed))

    def catch_up(self) -> bool:
        """See Group."""
        return self._group.catch_up(self._strand)

    def has_raised(self, error: SlothError) -> bool:
        """Whether an error is that of another call, which was answered before."""
        return error is self._group.error
