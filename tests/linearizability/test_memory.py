"""Stores in memory, in simulated worlds: the good one passes, and each broken one is caught, by the same checker and
within the effort that each real store gets."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from sloth_runner.state.store import Store
from tests.linearizability.broken import FAULTS, Broken, Shared
from tests.linearizability.sim import Sim
from tests.linearizability.simulated import HISTORIES, Maker, histories, sound

MANY = 20_000
"""Histories of the long version."""


def maker(fault: type[Broken]) -> Maker:
    """Makes a store with that fault in any world."""

    def make(sim: Sim) -> Callable[[], Store]:
        shared = Shared(sim)
        return lambda: fault(shared)

    return make


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_it_is_caught(fault: type[Broken]) -> None:
    effort = histories(maker(fault), range(HISTORIES))
    assert effort.wrong, f"{fault.__doc__} {effort.histories} histories found nothing wrong"
    print(f"caught by history {effort.histories} of {HISTORIES}, {effort.wrong}")


@pytest.mark.parametrize("make", [sound, maker(Broken)], ids=["memory", "without a fault"])
def test_what_is_not_broken_passes(make: Maker, soak: bool) -> None:
    first = random.randrange(1 << 32) if soak else 0
    effort = histories(make, range(first, first + (MANY if soak else HISTORIES)))
    print(effort)
    assert not effort.wrong, effort.wrong
    assert effort.unknown > effort.histories / 10  # replies were lost
    assert effort.failed > effort.histories
