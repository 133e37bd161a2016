"""Why: which rows of a file a scan goes through is decided by four arguments, and is the same for every file."""

from __future__ import annotations

from sloth_runner.state.layout import SEP
from sloth_runner.state.store import beyond


def select(namespace: str, prefix: str, after: str, *, reverse: bool) -> tuple[str, tuple[str, ...]] | None:
    """The statement and its bindings for those of a namespace's rows that a scan means, in its order; None: it means
    none. Both ``prefix`` and ``after`` are of store keys, rows have names without the namespace."""
    start = namespace + SEP
    inside = prefix[len(start) :] if prefix.startswith(start) else ""
    # One bound at each end: of two, SQLite seeks by one and then steps over all that the other excludes.
    low, high = ("key >= ?", inside), ("key < ?", beyond(inside)) if inside else None
    if after:
        if not after.startswith(start):
            if (after > start) != reverse:
                return None
        elif not reverse and after[len(start) :] >= inside:
            low = ("key > ?", after[len(start) :])
        elif reverse and (high is None or after[len(start) :] < high[1]):
            high = ("key < ?", after[len(start) :])
    where, bindings = zip(*(bound for bound in (low, high) if bound is not None), strict=True)
    sql = (
        f"SELECT key, rev, value, lease_boot, lease_until FROM entry WHERE {' AND '.join(where)} "  # noqa: S608 - fixed parts
        f"ORDER BY key{' DESC' if reverse else ''}"
    )
    return sql, bindings
