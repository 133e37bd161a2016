"""Why: every test of the command line has a home and a working folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.kit import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A command line with empty state."""
    return Cli(tmp_path)


@pytest.fixture
def filled(cli: Cli) -> Cli:
    """One with some state, made over three hours."""
    cli.ok("state", "set", "deployment:version", "v1.2.2")
    cli.now += 3600
    cli.ok("state", "set", "deployment:version", "v1.2.3")
    cli.ok("state", "increment", "config:version", "7")
    cli.ok(
        "state",
        "set",
        "config:limits",
        "--json",
        '{"cpu": [1, 2.5], "on": true, "name": "büro"}',
        "--ttl",
        "5h",
    )
    cli.now += 3600
    cli.ok("state", "set", "db:password", "--stdin", "--sensitive", stdin="correct horse\n")
    cli.ok("state", "set", "motd", "first line\nsecond\tline \x1b[31mred\\n")
    cli.ok("state", "set", "cluster:leader", "agent1")
    cli.ok("state", "set", "file:/etc/a-rather-long-name/that-goes-on/and-on.conf", "0123456789abcdef" * 8)
    cli.now += 3600
    return cli
