"""What tests of the S3 store have in common: parts of the shared server, replicas like those of other processes."""

from __future__ import annotations

import uuid
from pathlib import Path

from sloth_runner.state.backends import Options
from sloth_runner.state.backends.s3 import S3Store, make_replica, system_world
from sloth_runner.state.backends.s3_client import Objects, World
from sloth_runner.state.backends.s3_replica import Replica
from sloth_runner.state.backends.s3_segment import Sizes
from sloth_runner.state.layout import store_key
from tests.services import shared_url
from tests.services.s3 import part

SMALL = Sizes(60, 200, 4)
"""Checkpoints of many small parts."""


def own_url(**more: str) -> str:
    """A prefix of the shared server's bucket that is this test's own."""
    return part(shared_url("s3"), uuid.uuid4().hex, **more)


def key(name: str, namespace: str = "local") -> str:
    return store_key(namespace, "k", name)


def another(
    url: str,
    *,
    timeout: float = 10.0,
    patience: float = 60.0,
    world: World | None = None,
    grace: float = 0.0,
    sizes: Sizes = SMALL,
) -> S3Store:
    """A handle that shares nothing with others, as if it were another process's."""
    return S3Store(replica(url, timeout, world=world, grace=grace, sizes=sizes), patience)


def replica(
    url: str, timeout: float = 10.0, *, world: World | None = None, grace: float = 0.0, sizes: Sizes = SMALL
) -> Replica:
    options = Options(Path(), 60.0, timeout)
    return make_replica(url, options, world or system_world(), sizes=sizes, grace=grace)


def settled(store: S3Store) -> S3Store:
    """Wait for the checkpoint that its commits made due; it must have succeeded."""
    keeper = store.replica.keeper
    keeper.wait(None)
    assert keeper.trouble is None, keeper.trouble
    return store


def objects(store: S3Store) -> Objects:
    return store.replica.objects


def log_length(store: S3Store) -> int:
    """Log objects as the bucket lists them."""
    return sum(1 for _ in objects(store).list("log"))
