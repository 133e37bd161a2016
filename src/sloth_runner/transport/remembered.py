"""Why: who only looks at another machine asks it the same about many resources, and one question takes as long
as many.

As long as nothing is changed there, an answer counts for whoever asks again; and what will be asked is asked at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from sloth_runner.agent.perform import looks
from sloth_runner.ops import Batch
from sloth_runner.plain import TYPE_CHECKING, cast
from sloth_runner.transport.ahead import key_of
from sloth_runner.transport.base import discard

if TYPE_CHECKING:
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result
    from sloth_runner.transport.remote import Remote


class Remembered:
    """The way to another machine for someone who changes nothing, and who is done before others change much."""

    is_local = False

    def __init__(self, inner: Remote) -> None:
        self._inner = inner
        self._known: dict[object, Result] = {}
        self._others: dict[str, Remembered] = {}

    def as_user(self, user: str | None) -> Remembered:
        """See Transport."""
        if user is None:
            return self
        if user not in self._others:
            self._others[user] = Remembered(self._inner.as_user(user))
        return self._others[user]

    def at_once(self, op: Op) -> Result | None:
        """What is known."""
        known = self._recall(op)
        if known is None:
            known = self._inner.at_once(op)
            self._keep(op, known)
        return known

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """See Transport; of a Batch only what is not known is asked."""
        known = self._recall(op)
        if known is not None:
            return known
        if isinstance(op, Batch) and all(map(looks, op.ops)):
            await self.look_ahead(one for one in op.ops if key_of(one) not in self._known)
            known = self._recall(op)
            return known if known is not None else await self._inner.do(op, on_output)
        result = await self._inner.do(op, on_output)
        self._keep(op, result)
        return result

    async def look_ahead(self, ops: Iterable[Op]) -> list[tuple[Op, Result]]:
        """See Remote; these answers are good for more than one question."""
        wanted = list(ops)
        answers = await self._inner.look_ahead(wanted)
        for op, result in answers:
            self._keep(op, result)
        self._inner.ahead.forget(filter(looks, wanted))
        return answers

    async def ready(self) -> None:
        """See Transport."""
        await self._inner.ready()

    async def aclose(self) -> None:
        """The machine's own way stays open: its owner closes it."""

    def _keep(self, op: Op, result: Result | None) -> None:
        if isinstance(op, Batch) and result is not None:
            for one, answer in zip(op.ops, cast("tuple[Result, ...]", result), strict=True):
                self._keep(one, answer)
        elif result is not None and looks(op):
            self._known[key_of(op)] = result

    def _recall(self, op: Op) -> Result | None:
        """What is known; of a Batch, if all of it is."""
        if not isinstance(op, Batch):
            return self._known.get(key_of(op))
        found = [self._known.get(key_of(one)) for one in op.ops]
        return None if None in found else tuple(found)  # type: ignore[arg-type] # none is None
