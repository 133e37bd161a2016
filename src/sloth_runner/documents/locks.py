"""Why: who holds what, and whether they still live, is told alike by the command line and the web."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sloth_runner import documents, processes
from sloth_runner.documents import Document
from sloth_runner.errors import KeyMissing
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state import locks
from sloth_runner.state.layout import SHARED

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.locks import Info
    from sloth_runner.state.state import State


def namespaces(app: App, view: State | None) -> list[str]:
    """Where to look for locks: a view's namespace and the shared one, or (None) everywhere."""
    if view is None:
        return sorted({SHARED, *app.namespaces()})
    return list(dict.fromkeys([view.namespace, SHARED]))


def held(app: App, names: Iterable[str]) -> Iterator[tuple[Info, bool]]:
    """The locks that are held in these namespaces, each with whether it is stale."""
    for namespace in names:
        for info in locks.held(app.store(), namespace):
            yield info, is_stale(app, info)


def one(app: App, view: State, name: str) -> Info:
    """The lock as it is held now. Raises KeyMissing, BadName."""
    info = locks.info(app.store(), view.home(locks.check_lock_name(name)), name)
    if info is None:
        home = view.home(name)
        last = locks.broken(app.store(), home, name)
        note = f"; it was {last.words} ({last.holder!r} held it)" if last else ""
        raise free(app, view, name, f"is not held in {home}{note}")
    return info


def free(app: App, view: State, name: str, why: str) -> KeyMissing:
    """The error for a lock that nobody (or somebody else) holds."""
    found = [info for info, _ in held(app, namespaces(app, view))]
    steps = did_you_mean(name, [info.name for info in found if info.name != name])
    if view.namespace != SHARED and any(info.name == name and info.namespace == SHARED for info in found):
        steps.append("it is held in the shared namespace: --shared")
    return KeyMissing(
        f"the lock {name!r} {why}",
        unchanged=["nothing was changed"],
        next=[*steps, "see all: sloth-runner lock list --all-agents"],
    )


def take_away(app: App, view: State, info: Info, reason: str) -> None:
    """Break a lock, as it was shown. Raises KeyMissing: its holder has changed meanwhile."""
    if not locks.break_lock(app.store(), info, app.by(), reason, app.clock()):
        raise free(app, view, info.name, "is no longer held by the holder that was shown")


def is_stale(app: App, info: Info) -> bool:
    """Whether its holder is a process of this host that is gone."""
    by = info.owner.by
    if by.host != app.by().host:
        return False
    return locks.is_stale(info, by.host, processes.identity()[0], processes.start_time(by.pid))


def listing(app: App, found: Iterable[tuple[Info, bool]]) -> Document:
    """``lock.list``."""
    return {"store": app.stores.name, "locks": [documents.lock(info, stale=stale) for info, stale in found]}


def shown(app: App, info: Info) -> Document:
    """``lock.show``."""
    return {"store": app.stores.name, "lock": documents.lock(info, stale=is_stale(app, info))}


def broken(app: App, info: Info, stale: bool, reason: str) -> Document:
    """``lock.break``."""
    return {"store": app.stores.name, "broken": documents.lock(info, stale=stale), "reason": reason}
