"""Why: whether machines can be reached is asked of all of them at once, before a run finds out one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sloth_runner.errors import SlothError

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.ops import Result
    from sloth_runner.transport.base import Transport

Document = dict[str, Any]


def reach(app: App, agents: Sequence[str]) -> dict[str, Document]:
    """By agent: {"reachable", "seconds", "user", "problem"}, as found just now."""
    transports = app.transports()
    found: dict[str, Document] = {}
    ways: dict[str, Transport] = {}
    try:
        for agent in agents:
            try:
                ways[agent] = transports.to(agent)
            except SlothError as error:
                found[agent] = _lost(error)
        if ways:
            found |= transports.loop.run(_reach_all(ways))
    finally:
        transports.close()
    return found


async def _reach_all(ways: dict[str, Transport]) -> dict[str, Document]:
    import asyncio

    rows = await asyncio.gather(*(_reach(way) for way in ways.values()))
    return dict(zip(ways, rows, strict=True))


async def _reach(way: Transport) -> Document:
    import time

    from sloth_runner.ops import OpError, WhoAmI

    began = time.monotonic()
    try:
        await way.ready()
        result: Result = way.at_once(WhoAmI()) or await way.do(WhoAmI())
    except SlothError as error:
        return _lost(error)
    except OpError as error:
        return {"reachable": False, "seconds": None, "user": None, "problem": str(error)}
    seconds = round(time.monotonic() - began, 6)
    return {"reachable": True, "seconds": seconds, "user": getattr(result, "name", None), "problem": None}


def _lost(error: SlothError) -> Document:
    return {"reachable": False, "seconds": None, "user": None, "problem": error.message}
