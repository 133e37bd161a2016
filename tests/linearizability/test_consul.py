"""Consul's store is linearizable while its server is killed and stopped, and its network fails."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.linearizability.clients import Profile
from tests.linearizability.far import Place
from tests.linearizability.faults import behind, kill_client, kill_server, network, stop_server
from tests.linearizability.real import Site
from tests.linearizability.suite import try_out
from tests.services import make, shared_url
from tests.services.base import Server

TIMEOUT = 0.8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    shared_url("consul")  # where that is missing, so is the program
    server = make("consul", tmp_path / "server")
    server.start()
    yield server
    server.stop()


def test_histories(server: Server, tmp_path: Path, soak: bool) -> None:
    with behind(server.url, random.Random()) as (url, proxies):
        faults = {
            "kill -9": (2, kill_server(server)),
            "SIGSTOP": (2, stop_server(server, 1.5 * TIMEOUT)),
            "kill -9 of a client": (3, kill_client),
            **network(proxies, TIMEOUT),
        }
        # A session may be reaped as late as after twice its time, and a server that was started again gives each its
        # whole time once more.
        profile = Profile(ttl=10.0, lag=60.0, slack=0.05, cut=False)
        try_out(Site(Place(f"{url}/lin", str(tmp_path), TIMEOUT, 10.0), profile, faults, far=2), soak)
