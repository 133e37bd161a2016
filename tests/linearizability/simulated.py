"""Why: a history of clients of one store in memory, its network's troubles included, comes of a seed alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.store import Store
from tests.linearizability.clients import KINDS, Profile, workload
from tests.linearizability.history import Found, Recorder
from tests.linearizability.perform import handles, perform
from tests.linearizability.sim import HOP, Network, Sim

CLIENTS = 8
EACH = 6
"""Requests of one client."""
HISTORIES = 200
PROFILE = Profile(ttl=12 * HOP, slack=1e-9)
WALL = 1_800_000_000.0

Maker = Callable[[Sim], Callable[[], Store]]
"""Given a world, makes a store in it: what opens a handle on it."""


class Effort(NamedTuple):
    """What a number of histories came to: how many, the operations in them, how many of those failed or are unknown;
    ``wrong``: the first history that is not linearizable, for people."""

    histories: int
    ops: int
    failed: int
    unknown: int
    wrong: str = ""


def sound(sim: Sim) -> Callable[[], Store]:
    """A store as it should be."""
    store = MemoryStore(sim.clock)
    return lambda: store


def history(seed: int, make: Maker, trouble: float = 0.1) -> Found:
    """One history, about one of KINDS in turn."""
    sim = Sim(seed)
    rng = random.Random(seed)
    part = workload(KINDS[seed % len(KINDS)], "h", rng, PROFILE)
    recorder = Recorder(part, sim.clock)
    opened = make(sim)

    def client(number: int) -> Callable[[], None]:
        mind = part.client(number)
        name = random.Random(f"{seed} {number}")
        on = handles(
            Network(opened(), sim, trouble if seed // len(KINDS) % 4 else 0.0),
            lambda: WALL + sim.now,
            lambda: f"{name.getrandbits(128):032x}",
        )

        def work() -> None:
            for _ in range(EACH):
                thinks = recorder.call(number, mind, lambda request: perform(on, request))
                sim.wait(thinks)
                sim.pause(4 * HOP if part.name in ("lock", "lease") else HOP / 4)

        return work

    for number in range(CLIENTS):
        sim.start(client(number))
    sim.run()
    return recorder.judge()


def histories(make: Maker, seeds: range) -> Effort:
    """As many histories as there are seeds, up to the first that is wrong."""
    ops = failed = unknown = 0
    for count, seed in enumerate(seeds, 1):
        found = history(seed, make)
        ops, failed, unknown = ops + found.ops, failed + found.failed, unknown + found.unknown
        if not found.good:
            return Effort(count, ops, failed, unknown, f"seed {seed}: {found.text}")
    return Effort(len(seeds), ops, failed, unknown)
