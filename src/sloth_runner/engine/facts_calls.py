"""Why: what a target is like is asked once for each section and run, whoever reads it and however often."""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.engine.pump import Wait
from sloth_runner.errors import BadField, TaskFailed
from sloth_runner.ops import Facts, Gathered, OpError
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from sloth_runner.engine.context import Context
    from sloth_runner.model import Call
    from sloth_runner.transport.base import Transport


class FactsCalls:
    """Answers ``facts``: without an argument the names of all sections, with one what that section holds, or an error
    if the target can't tell (with true as a second argument: nil). ``transport`` gives the way to an agent."""

    def __init__(self, transport: Callable[[str], Transport]) -> None:
        self._transport = transport
        self._known: dict[tuple[str, str], object] = {}
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}

    def call(self, context: Context, call: Call) -> object:
        """One section of the facts of the task's agent. Raises BadField, TaskFailed, Unreachable."""
        if not call.args:
            from sloth_runner.modules.facts import SECTIONS

            return list(SECTIONS)
        section, lenient = _section(call.args[0]), call.args[1:] == (True,)
        key = (context.agent, section)
        if key in self._known:
            return self._known[key]
        transport = self._transport(context.agent)
        try:
            result = transport.at_once(Facts(section))
        except OpError as error:
            _tell(key, error, lenient)
            return None
        if result is not None:
            return self._keep(key, result)
        return Wait(lambda: self._gather(key, transport, lenient), gentle=True)

    async def _gather(self, key: tuple[str, str], transport: Transport, lenient: bool) -> object:
        """Ask, unless another task has done so meanwhile."""
        import asyncio

        async with self._turns.setdefault(key, asyncio.Lock()):
            if key not in self._known:
                try:
                    self._keep(key, await transport.do(Facts(key[1])))
                except OpError as error:
                    _tell(key, error, lenient)
                    return None
        return self._known[key]

    def _keep(self, key: tuple[str, str], result: object) -> object:
        assert isinstance(result, Gathered)
        self._known[key] = result.value
        return result.value


def _section(given: object) -> str:
    from sloth_runner.modules.facts import SECTIONS
    from sloth_runner.names import did_you_mean

    if isinstance(given, str) and given in SECTIONS:
        return given
    raise BadField(
        f"there is no fact {given!r}; there are {', '.join(SECTIONS)}",
        next=did_you_mean(str(given), SECTIONS),
    )


def _tell(key: tuple[str, str], error: OpError, lenient: bool) -> None:
    """What can't be gathered is an error, unless it is only that this system can't tell and that is fine."""
    agent, section = key
    if lenient and error.kind == "not-found":
        return
    raise TaskFailed(
        f"facts.{section} can't be gathered on {agent}: {error}",
        target=agent,
        operation=f"facts.{section}",
        system=error.reason,
        unchanged=["nothing was changed"],
    ) from error
