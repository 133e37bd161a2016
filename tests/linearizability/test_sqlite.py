"""SQLite's files are linearizable while the processes that use them are killed and stopped."""

from __future__ import annotations

from pathlib import Path

from tests.linearizability.clients import Profile
from tests.linearizability.far import Place
from tests.linearizability.faults import kill_client, stop_client
from tests.linearizability.real import CLIENTS, Site
from tests.linearizability.suite import try_out


def test_histories(tmp_path: Path, soak: bool) -> None:
    place = Place("sqlite", str(tmp_path / "state"), 10.0, 10.0)
    faults = {"kill -9 of a client": (3, kill_client), "SIGSTOP of a client": (1, stop_client)}
    profile = Profile(ttl=0.1, lag=0.0, slack=0.001)
    try_out(Site(place, profile, faults, far=CLIENTS), soak)
