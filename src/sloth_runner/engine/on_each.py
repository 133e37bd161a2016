"""Why: one call may mean many machines; it is made on as many of them at once as a task runs on, and
what came of each is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from sloth_runner.engine.pump import Wait
from sloth_runner.errors import SlothError, TaskFailed, Unreachable
from sloth_runner.model import Partial
from sloth_runner.plain import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def each(most: int, work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """What ``work`` makes of each, of at most ``most`` at once."""
    import asyncio

    room = asyncio.Semaphore(most)

    async def one(item: T) -> R:
        async with room:
            return await work(item)

    return await asyncio.gather(*map(one, items))


def on_each(name: str, agents: Sequence[str], most: int, begin: Callable[[str], object]) -> Wait:
    """The reply of a call on several machines, ``most`` at once. ``begin`` begins it on one, and gives its
    result, or a Wait for it."""

    async def one(agent: str) -> object:
        try:
            reply = begin(agent)
            return await reply.start() if isinstance(reply, Wait) else reply
        except SlothError as error:
            error.target = error.target or agent
            return error

    async def all_of_them() -> object:
        results = await each(most, one, agents)
        return _together(name, dict(zip(agents, results, strict=True)))

    return Wait(all_of_them, gentle=True)


def _together(name: str, results: Mapping[str, Any]) -> object:
    failed = {agent: one for agent, one in results.items() if isinstance(one, SlothError)}
    if failed:
        raise _failure(name, failed, len(results))
    if any(isinstance(one, Partial) for one in results.values()):
        return Partial({"message": f"on {', '.join(results)}"}, ("changed", "results"))
    said = [f"{agent}: {one['message']}" for agent, one in results.items() if one.get("message")]
    return {
        "changed": any(one["changed"] for one in results.values()),
        "message": "; ".join(said),
        "results": dict(results),
    }


def _failure(name: str, failed: Mapping[str, SlothError], count: int) -> SlothError:
    """One error for all; what is to be done, and what was changed, is that of each."""
    if len(failed) == 1 and count == 1:
        return next(iter(failed.values()))
    lost = all(isinstance(error, Unreachable) for error in failed.values())
    kind = Unreachable if lost else TaskFailed
    return kind(
        f"{name} failed on {len(failed)} of {count} agents: "
        + "; ".join(f"{agent}: {error.message}" for agent, error in failed.items()),
        target=", ".join(failed),
        operation=name,
        changed=[f"{agent}: {what}" for agent, error in failed.items() for what in error.changed],
        unchanged=[f"{agent}: {what}" for agent, error in failed.items() for what in error.unchanged],
        next=list(dict.fromkeys(step for error in failed.values() for step in error.next)),
    )
