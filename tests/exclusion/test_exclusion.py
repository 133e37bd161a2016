"""64 contenders, stopped past their lease, some with clocks that are an hour off: no two write under one lock. And
without fencing the same contest finds that they do."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.exclusion.arena import Arena, Place
from tests.exclusion.contender import Contest
from tests.services import postgres, shared_url
from tests.services.s3 import part

FULL = 10_000


class Effort(NamedTuple):
    """``taken``: acquisitions of the short version; ``stops``: processes stopped past their lease, in it; ``ttl``,
    ``lag`` and ``wrong``: see Place."""

    ttl: float
    lag: float
    taken: int
    stops: int
    wrong: Mapping[int, int] = {1: 60, 2: -60, 3: 60}


STORES = {
    "sqlite": Effort(0.5, 0.0, 1000, 5),
    "postgres": Effort(0.5, 0.0, 500, 5),
    "etcd": Effort(3.0, 3.0, 300, 2),
    "consul": Effort(10.0, 12.0, 200, 1),
    # Requests are signed with the time: a machine whose clock is an hour off is refused, and gets no lock at all.
    "s3": Effort(2.0, 3.0, 100, 2, {1: 60, 2: -10, 3: 10}),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def place(store: str, tmp_path: Path) -> Iterator[Place]:
    """A part of the store that is this test's own."""
    if shutil.which("faketime") is None:
        if os.environ.get("CI"):
            pytest.fail("faketime is missing")
        pytest.skip("faketime is missing: apt-get install faketime")
    effort = STORES[store]
    with own(store) as url:
        yield Place(url, str(tmp_path / "state"), effort.ttl, effort.lag, effort.wrong)


@contextmanager
def own(store: str) -> Iterator[str]:
    """The URL of a part that nobody else has."""
    name = uuid.uuid4().hex
    if store == "postgres":
        with postgres.schema() as url:
            yield url
    elif store == "s3":
        yield part(shared_url(store), name)
    else:
        yield "sqlite" if store == "sqlite" else f"{shared_url(store)}/{name}"


@pytest.fixture
def arena(place: Place) -> Iterator[Arena]:
    arena = Arena(place)
    yield arena
    arena.close()


def test_no_two_write_under_one_lock_unless_fences_are_left_out(arena: Arena, store: str, soak: bool) -> None:
    effort = STORES[store]
    assert arena.wrong_clocks() == effort.wrong
    taken, stops = (FULL, 20) if soak else (effort.taken, effort.stops)
    refused = {1} if store == "s3" else set()
    turns = effort.wrong.keys() - refused
    outcome = arena.run(Contest("fenced", True, 1.5 * stops / taken), taken, stops, turns)
    print(outcome)
    assert outcome.overlaps == []
    assert outcome.missing == []
    # Those who were stopped tried to go on, and were refused; the others were not.
    assert 1.5 * outcome.taken < outcome.writes < 2 * outcome.taken
    assert {number for number, turns in outcome.by_wrong.items() if turns == 0} == refused

    outcome = arena.run(Contest("unfenced", False, 0.2), 5, 2)
    print(outcome)
    assert outcome.overlaps
