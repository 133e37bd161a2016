"""The etcd store passes the suite: on one node, sealed, and the parts about several processes on a cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Store
from tests.conformance.suite import Conformance, Opener
from tests.services import shared_url
from tests.services.etcd import make_cluster
from tests.state.kit import key_source

TTL, LAG = 3.0, 2.0
"""Seconds: the shortest lease that is not rounded up, and how long etcd takes to notice that one has ended."""


def opener_of(url: str, folder: Path, *, sealed: bool = False) -> Opener:
    """Handles on a part of the cluster that is this test's own."""
    own = f"{url}/{uuid.uuid4().hex}"

    def opened() -> Store:
        store = open_store(own, Options(folder, 60.0))
        return Sealed(store, key_source()) if sealed else store

    return Opener(opened, time.sleep, f"sealed+{own}" if sealed else own, str(folder), ttl=TTL, lag=LAG)


class TestEtcd(Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(shared_url("etcd"), tmp_path)


class TestSealedEtcd(Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return opener_of(shared_url("etcd"), tmp_path, sealed=True)


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    shared_url("etcd")  # where that is missing, so is the program
    cluster = make_cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster.url
    cluster.stop()


class TestCluster:
    """What several handles and processes do on three nodes."""

    @pytest.fixture
    def opener(self, tmp_path: Path, cluster_url: str) -> Opener:
        return opener_of(cluster_url, tmp_path)

    store = Conformance.store
    test_expectations = Conformance.test_expectations
    test_handles_see_each_other_at_once = Conformance.test_handles_see_each_other_at_once
    test_processes_count_exactly = Conformance.test_processes_count_exactly
    test_checks_across_namespaces_leave_no_gap = Conformance.test_checks_across_namespaces_leave_no_gap
    test_a_reader_sees_commits_whole = Conformance.test_a_reader_sees_commits_whole
