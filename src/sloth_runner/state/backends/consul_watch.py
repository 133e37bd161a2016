"""Why: changes below a prefix are told by Consul's blocking queries, on a connection of their own.

A query that names an index is answered once the prefix has a later one, or after a while. It brings the names of the
keys; what changed among them is read from one listing with values, if there are few. An index that goes back (a
snapshot was restored) is begun anew with. (developer.hashicorp.com/consul/api-docs/features/blocking.)
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sloth_runner.plain import Final
from sloth_runner.state.backends.consul_http import Http, Reply
from sloth_runner.state.backends.consul_keys import fitting, quoted, read

FEW: Final = 500
"""Keys of a prefix whose values are looked through for those that changed."""
LONGEST: Final = 30.0
"""Seconds that one query waits: so long a connection that is dead without a word goes unnoticed."""
JITTER: Final = 1 / 16
"""Of the time that was asked for, an agent may take more."""


class Bell:
    """A Doorbell for the Consul keys that start with ``path``, of which the first ``skip`` characters are not ours.
    ``http`` is the bell's own, and closed by whoever made it."""

    def __init__(self, http: Http, path: str, skip: int) -> None:
        self._http = http
        self._path = path
        self._target = f"kv/{quoted(fitting(path))}?consistent"
        self._skip = skip
        self._index = 0
        self._known: frozenset[str] | None = None
        """The keys at ``_index``; None: too many."""
        self._begin(self._asked("keys"))

    def __call__(self, seconds: float) -> Sequence[str] | None:
        """See Doorbell."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            reply = self._asked("keys", min(left, LONGEST) if left > 0 else 0.0)
            if reply.as_of != self._index:
                return self._rung(reply)
            if left <= 0:
                return ()

    def _rung(self, reply: Reply) -> Sequence[str] | None:
        before, known = self._index, self._known
        names = self._names(reply)
        if reply.as_of < before or known is None or len(names) > FEW:
            self._begin(reply)
            return None
        values = self._asked("recurse")
        rows = [row for row in values.body or () if row["Key"].startswith(self._path)]
        self._index = values.as_of
        self._known = frozenset(row["Key"] for row in rows) if len(rows) <= FEW else None
        if self._index < before or self._known is None:
            return None
        changed = {row["Key"] for row in rows if row["ModifyIndex"] > before} | (known - self._known)
        # Something that came and went between two looks leaves nothing but a later index.
        return tuple(read(name[self._skip :]) for name in sorted(changed)) or None

    def _begin(self, reply: Reply) -> None:
        names = self._names(reply)
        self._index = reply.as_of
        self._known = names if len(names) <= FEW else None

    def _names(self, reply: Reply) -> frozenset[str]:
        return frozenset(name for name in reply.body or () if name.startswith(self._path))

    def _asked(self, what: str, wait: float = 0.0) -> Reply:
        block = f"&index={self._index}&wait={max(1, round(wait * 1000))}ms" if wait > 0 else ""
        reply = self._http.read(f"{self._target}&{what}{block}", wait=wait * (1 + JITTER))
        self._http.listed(reply)
        return reply
