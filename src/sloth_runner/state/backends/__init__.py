"""Why: a store is chosen by its URL, in one place; a scheme is a file beside this one, or an entry point."""

from __future__ import annotations

from pathlib import Path

from sloth_runner.errors import BadConfig
from sloth_runner.state.store import Store

GROUP = "sloth_runner.backends"
"""Entry points of this group add schemes: a function of (url, patience in seconds) that returns a Store."""
_LATER = ("postgres", "postgresql", "etcd", "consul", "s3")


def open_store(url: str, *, folder: Path, patience: float) -> Store:
    """The store that ``url`` names. ``sqlite`` keeps its files in ``folder`` (or in ``sqlite:///a/folder``).

    ``patience``: seconds that a commit may wait for other processes. Raises BadConfig for an unknown scheme.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        from sloth_runner.state.backends.sqlite import SQLiteStore

        return SQLiteStore(Path(rest) if rest else folder, patience=patience)
    if scheme == "memory":
        from sloth_runner.state.backends.memory import MemoryStore

        return MemoryStore()
    return _from_entry_point(scheme, url, patience)


def _from_entry_point(scheme: str, url: str, patience: float) -> Store:
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP, name=scheme):
        store: Store = point.load()(url, patience)
        return store
    why = "is not in this version" if scheme in _LATER else "is not known"
    raise BadConfig(
        f"the store {scheme!r} {why}; there are sqlite and memory, and what plug-ins add",
        unchanged=["nothing was read or written"],
        next=['[state] store = "sqlite"'],
    )
