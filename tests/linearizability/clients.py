"""Why: what clients ask for is drawn by a seed, out of what they have seen.

A ``Workload`` is one history's part: its keys, its model, and how each client thinks of its next request.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from sloth_runner.state.layout import store_key
from sloth_runner.state.locks import Held
from sloth_runner.state.store import ABSENT, ANY, PRESENT, Change, Check
from tests.linearizability.cells import Cells
from tests.linearizability.checker import Model, Request
from tests.linearizability.locked import Locked
from tests.linearizability.models import Records
from tests.linearizability.perform import LOCK, SPACES, Outcome


class Profile(NamedTuple):
    """What a store is like: ``ttl`` of a lease that is waited for, ``lag`` of its end, ``slack`` of its clock
    (seconds), and whether a scan with a limit is of one moment (``cut``), as one without always is."""

    ttl: float = 0.05
    lag: float = 0.0
    slack: float = 0.0
    cut: bool = True


class Client(Protocol):
    """One of the concurrent clients of a history."""

    def next(self) -> Request:
        """Its next request."""
        ...

    def saw(self, request: Request, outcome: Outcome) -> float:
        """What came of it. Seconds that it now takes to think."""
        ...


class Workload(NamedTuple):
    """``name``; the model; and what makes client number n."""

    name: str
    model: Model
    client: Callable[[int], Client]


class _Records:
    """Asks for entries in several ways; what it expects is mostly what it saw last."""

    def __init__(
        self, rng: random.Random, number: int, keys: list[str], prefixes: list[str], cut: bool
    ) -> None:
        self._rng = rng
        self._number = number
        self._keys = keys
        self._prefixes = prefixes
        self._cut = cut
        self._count = 0
        self._revs: dict[str, int] = {}

    def next(self) -> Request:
        """See Client."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.25:
            return ("entry", rng.choice(self._keys))
        if kind < 0.45 and self._prefixes:
            after = rng.choice(self._keys) if rng.random() < 0.2 else ""
            limit = rng.choice((None, None, None, 1, 2)) if self._cut else None
            return ("scan", rng.choice(self._prefixes), after, limit, rng.random() < 0.2)
        space = rng.choice(self._keys).partition("\x1f")[0]
        keys = rng.sample(self._keys, rng.choice((1, 1, 2, 3)) if len(self._keys) > 2 else 1)
        return ("commit", tuple(self._change(key, key.startswith(space + "\x1f")) for key in keys))

    def saw(self, request: Request, outcome: Outcome) -> float:
        """See Client."""
        if outcome.fate != "done":
            return 0.0
        if request[0] == "entry":
            self._revs[request[1]] = outcome.result[1] if outcome.result else ABSENT
        elif request[0] == "commit" and outcome.result[0] == "done":
            for change, rev in zip(request[1], outcome.result[1], strict=True):
                self._revs[change.key] = rev
        return 0.0

    def _change(self, key: str, may_write: bool) -> Change | Check:
        rng = self._rng
        expect = rng.choices((self._revs.get(key, ABSENT), ANY, ABSENT, PRESENT), (6, 3, 1, 1))[0]
        if not may_write or rng.random() < 0.15:
            return Check(key, expect)
        if rng.random() < 0.2:
            return Change(key, None, expect)
        self._count += 1
        return Change(key, f"{self._number}.{self._count}".encode(), expect)


class _Cells:
    """Asks for edits of State: verbs with their weights."""

    def __init__(self, rng: random.Random, number: int, keys: list[str], verbs: dict[str, int]) -> None:
        self._rng = rng
        self._number = number
        self._keys = keys
        self._verbs = verbs
        self._count = 0
        self._seen: dict[str, Any] = {}

    def next(self) -> Request:
        """See Client."""
        rng = self._rng
        verb = rng.choices(list(self._verbs), list(self._verbs.values()))[0]
        key = rng.choice(self._keys)
        self._count += 1
        new = f"{self._number}.{self._count}"
        if verb in ("set", "absent", "push"):
            return (verb, key, new)
        if verb == "swap":
            return (verb, key, self._seen.get(key), new)
        if verb == "add":
            return (verb, key, rng.choice((1, 1, 2, 5)))
        if verb == "pop":
            return (verb, key, rng.choice(("first", "last")))
        return (verb, key.rpartition(".")[0] + "." if verb == "rows" else key)

    def saw(self, request: Request, outcome: Outcome) -> float:
        """See Client."""
        verb, key, *args = request
        if outcome.fate == "done":
            if verb in ("get", "row"):
                self._seen[key] = outcome.result[0] if verb == "row" and outcome.result else outcome.result
            elif outcome.result and verb in ("set", "absent", "swap"):
                self._seen[key] = args[-1]
        return 0.0


class _Locked:
    """Takes a lock, works under it for a while, and lets go; or finds out who has it. It forgets nothing: what it
    does under a lock that it may have lost is what fences are for."""

    def __init__(self, rng: random.Random, number: int, name: str, ttls: list[float], waits: bool) -> None:
        self._rng = rng
        self._number = number
        self._name = name
        self._ttls = ttls
        self._waits = waits
        self._count = 0
        self._held: Held | None = None

    def next(self) -> Request:
        """See Client."""
        rng, name, held = self._rng, self._name, self._held
        self._count += 1
        if rng.random() < (0.6 if self._waits and held is None else 0.2):
            return (rng.choices(("read", "info", "break"), (5, 4, 1))[0], name)
        if held is None or rng.random() < 0.1:
            return ("acquire", name, f"{self._number}.{self._count}", rng.choice(self._ttls))
        verb = rng.choices(("write", "renew", "release"), (5, 2, 2))[0]
        if verb == "write":
            return (verb, name, held, f"{self._number}.{self._count}")
        return (verb, name, held, rng.choice(self._ttls)) if verb == "renew" else (verb, name, held)

    def saw(self, request: Request, outcome: Outcome) -> float:
        """See Client."""
        if outcome.extra is not None:
            self._held = outcome.extra
        elif request[0] == "release" and outcome.result:
            self._held = self._held if self._rng.random() < 0.2 else None
        elif request[0] in LOCK[1:4] and outcome.result is False:
            self._held = self._held if self._rng.random() < 0.5 else None
        if not self._waits or self._rng.random() > (0.1 if self._held is None else 0.4):
            return 0.0
        return min(self._ttls) * self._rng.uniform(0.5, 2.5)


KINDS = ("register", "records", "cell", "cells", "counter", "list", "lock", "lease")
"""What a history may be about: one entry; entries of two namespaces; a key; keys; a counter; a list; a lock that is
held for long, and one whose lease is allowed to end."""
_VERBS: dict[str, dict[str, int]] = {
    "cell": {"get": 2, "row": 3, "set": 4, "delete": 1, "swap": 3, "absent": 1},
    "cells": {"row": 2, "rows": 3, "set": 4, "delete": 1, "swap": 2, "absent": 1},
    "counter": {"get": 1, "row": 1, "add": 5},
    "list": {"get": 2, "row": 1, "push": 5, "pop": 1},
}


def workload(kind: str, name: str, rng: random.Random, profile: Profile) -> Workload:
    """A history's part: of a kind, its keys all its own by ``name``."""

    def seeded() -> random.Random:
        return random.Random(rng.random())

    if kind in ("register", "records"):
        a, b = SPACES
        keys = [store_key(a, "k", f"{name}.a")]
        prefixes = []
        if kind == "records":
            keys += [
                store_key(a, "k", f"{name}.b"),
                store_key(b, "k", f"{name}.c"),
                store_key(b, "k", f"{name}.d"),
            ]
            prefixes = [store_key(space, "k", f"{name}.") for space in SPACES]
        return Workload(kind, Records(keys), lambda n: _Records(seeded(), n, keys, prefixes, profile.cut))
    if kind in _VERBS:
        names = [f"{name}.a", f"{name}.b", f"{name}.c"] if kind == "cells" else [f"{name}.a"]
        return Workload(kind, Cells(names), lambda n: _Cells(seeded(), n, names, _VERBS[kind]))
    ttls = [profile.ttl, 2 * profile.ttl] if kind == "lease" else [600.0]
    return Workload(
        kind, Locked(profile.lag, profile.slack), lambda n: _Locked(seeded(), n, name, ttls, kind == "lease")
    )
