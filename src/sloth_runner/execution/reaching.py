"""Why: whether machines can be reached is asked of many at once, before a run finds out one by one; and so they are
told what they all have to know.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.engine.on_each import each
from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.ops import Result
    from sloth_runner.transport.base import Transport
    from sloth_runner.transports import Transports

Document = dict[str, Any]


def reach(app: App, agents: Sequence[str]) -> dict[str, Document]:
    """By agent: {"reachable", "seconds", "user", "version", "problem", "next"}, as found just now; of as many at once
    as a task runs on."""
    transports = app.transports()
    found: dict[str, Document] = {}
    ways: dict[str, Transport] = {}
    try:
        for agent in agents:
            try:
                ways[agent] = transports.to(agent)
            except SlothError as error:
                found[agent] = _row(problem=why(error), next=error.next)
        if ways:
            found |= transports.loop.run(_reach_all(transports, ways))
    finally:
        transports.close()
    return found


async def _reach_all(transports: Transports, ways: dict[str, Transport]) -> dict[str, Document]:
    async def one(agent: str) -> Document:
        try:
            return await _reach(transports, agent, ways[agent])
        finally:
            await ways[agent].aclose()

    return dict(zip(ways, await each(transports.app.settings.forks, one, ways), strict=True))


async def _reach(transports: Transports, agent: str, way: Transport) -> Document:
    import time

    from sloth_runner.ops import OpError, WhoAmI

    began = time.monotonic()
    try:
        await way.ready()
        result: Result = way.at_once(WhoAmI()) or await way.do(WhoAmI())
        seconds = round(time.monotonic() - began, 6)
        version = await _version(transports, agent)
    except SlothError as error:
        return _row(problem=why(error), next=error.next)
    except OpError as error:
        return _row(problem=str(error))
    return _row(reachable=True, seconds=seconds, user=getattr(result, "name", None), version=version)


async def _version(transports: Transports, agent: str) -> str | None:
    """The version of what performs operations there: a service has its own, everywhere else it is what we sent."""
    from sloth_runner import __version__

    url = transports.app.agent(agent).url
    if not url.startswith("grpc://"):
        return __version__
    from sloth_runner.rpc import load
    from sloth_runner.transport.grpc import Dialer, parse

    dialer = Dialer(load(transports.app.environ), parse(url), transports.access(agent))
    return version_in(await dialer.ask("Status", b""))


def version_in(status: bytes) -> str | None:
    """The version that an agent gives as its own; None: what it says can't be one. It is shown, so it is not believed
    to be short or harmless."""
    import json

    try:
        found = json.loads(status)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    good = isinstance(found, str) and 0 < len(found) <= 40 and found.isascii() and found.isprintable()
    return found if good else None


def spread(app: App) -> list[str]:
    """Bring the list of what is revoked to all enrolled agents, to as many at once as a task runs on; those that were
    not reached, by name."""
    from sloth_runner.rpc import load
    from sloth_runner.transport.grpc import Dialer, parse
    from sloth_runner.transport.loop import Loop
    from sloth_runner.transports import access

    rpc, authority, known = load(app.environ), app.authority(), app.inventory.agents
    enrolled = [row.name for row in authority.enrolled() if row.revoked is None and row.role == "agent"]

    async def missed(name: str) -> bool:
        entry = known.get(name)
        if entry is None or not entry.url.startswith("grpc://"):
            return True
        try:
            means = access(authority, name, app.settings.host)
            await Dialer(rpc, parse(entry.url), means).ask("Revoke", means.revocations)
        except SlothError:
            return True
        return False

    loop = Loop()
    try:
        found = loop.run(each(app.settings.forks, missed, enrolled))
    finally:
        loop.close()
    return sorted(name for name, lost in zip(enrolled, found, strict=True) if lost)


def _row(**known: object) -> Document:
    row: Document = {
        "reachable": False,
        "seconds": None,
        "user": None,
        "version": None,
        "problem": None,
        "next": [],
    }
    return {**row, **known}


def why(error: SlothError) -> str:
    """Why a machine can't be reached, in one line."""
    return error.message if error.system is None else f"{error.message} ({error.system.splitlines()[-1]})"


def gather(app: App, agent: str, sections: Sequence[str]) -> Document:
    """{"facts": section -> what it holds, "missing": section -> why the machine can't tell it}.

    Raises BadField for an unknown section, Unreachable."""
    from sloth_runner.errors import BadField
    from sloth_runner.modules.facts import SECTIONS
    from sloth_runner.names import did_you_mean

    for section in sections:
        if section not in SECTIONS:
            known = did_you_mean(section, SECTIONS) or [f"there are {', '.join(SECTIONS)}"]
            raise BadField(
                f"there is no section {section!r} of facts", unchanged=["nothing was asked"], next=known
            )
    transports = app.transports()
    try:
        return transports.loop.run(_gather(transports.to(agent), sections or SECTIONS))
    finally:
        transports.close()


async def _gather(way: Transport, sections: Sequence[str]) -> Document:
    import asyncio

    from sloth_runner.ops import Facts, Gathered, OpError

    found = await asyncio.gather(*(way.do(Facts(name)) for name in sections), return_exceptions=True)
    facts: Document = {}
    missing: dict[str, str] = {}
    for name, one in zip(sections, found, strict=True):
        if isinstance(one, OpError):
            missing[name] = str(one)
        elif isinstance(one, BaseException):
            raise one
        elif isinstance(one, Gathered):
            facts[name] = one.value
    return {"facts": facts, "missing": missing}
