"""etcd's store is linearizable on a cluster of three while nodes are killed, stopped and cut off from the others, and
the network between them and the clients fails."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.linearizability.clients import Profile
from tests.linearizability.far import Place
from tests.linearizability.faults import behind, kill_client, network
from tests.linearizability.real import Around, Fault, Site
from tests.linearizability.suite import try_out
from tests.services import shared_url
from tests.services.base import Server
from tests.services.etcd import Cluster, make_cluster

TIMEOUT = 0.8


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    shared_url("etcd")  # where that is missing, so is the program
    cluster = make_cluster(tmp_path / "cluster", partitions=True)
    cluster.start()
    yield cluster
    cluster.stop()


def one_of(cluster: Cluster, around: Around) -> Server:
    """A node; every other time the one that leads."""
    return cluster.leader() if around.random.random() < 0.5 else around.random.choice(cluster.nodes)


def lose(cluster: Cluster) -> Fault:
    """kill -9 of a node; it comes back later."""

    def fault(around: Around) -> None:
        node = one_of(cluster, around)
        node.kill()
        around.during(30, 2.0)
        node.start()

    return fault


def lose_all(cluster: Cluster) -> Fault:
    """kill -9 of all nodes."""

    def fault(around: Around) -> None:
        for node in cluster.nodes:
            node.kill()
        cluster.start()

    return fault


def hold(cluster: Cluster) -> Fault:
    """SIGSTOP of a node."""

    def fault(around: Around) -> None:
        import signal

        node = one_of(cluster, around)
        node.signal(signal.SIGSTOP)
        around.during(30, 2.0)
        node.signal(signal.SIGCONT)

    return fault


def partition(cluster: Cluster) -> Fault:
    """A node does not hear the others, nor they it; clients reach all of them."""

    def fault(around: Around) -> None:
        cluster.cut_off(one_of(cluster, around))
        around.during(40, 2.5)
        cluster.mend()

    return fault


def test_histories(cluster: Cluster, tmp_path: Path, soak: bool) -> None:
    with behind(cluster.url, random.Random()) as (url, proxies):
        faults = {
            "loss of a node": (2, lose(cluster)),
            "loss of all nodes": (1, lose_all(cluster)),
            "SIGSTOP of a node": (2, hold(cluster)),
            "partition": (4, partition(cluster)),
            "kill -9 of a client": (3, kill_client),
            **network(proxies, TIMEOUT),
        }
        # A new leader gives every lease its whole time again, as often as there is one.
        profile = Profile(ttl=3.0, lag=60.0, slack=0.05)
        try_out(Site(Place(url, str(tmp_path), TIMEOUT, 10.0), profile, faults, far=2), soak)
