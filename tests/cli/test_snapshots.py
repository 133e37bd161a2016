"""Why: how output looks is a promise; each command is shown here as a terminal and as a script see it."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from sloth_runner.cli.table import ROOT
from sloth_runner.cli.text import width
from tests.cli.kit import Cli

READ = {
    "list": ("state", "list"),
    "list-prefix": ("state", "list", "config"),
    "list-all": ("state", "list", "--all-agents"),
    "list-shared": ("state", "list", "--shared"),
    "list-page": ("state", "list", "--limit", "2"),
    "list-none": ("state", "list", "nothing:"),
    "show": ("state", "show", "deployment:version"),
    "show-table": ("state", "show", "config:limits"),
    "show-secret": ("state", "show", "db:password"),
    "show-lines": ("state", "show", "motd"),
    "show-rev": ("state", "show", "deployment:version", "--rev", "1"),
    "show-at": ("state", "show", "deployment:version", "--at", "2h30m"),
    "get": ("state", "get", "deployment:version"),
    "get-table": ("state", "get", "config:limits"),
    "get-secret": ("state", "get", "db:password"),
    "exists": ("state", "exists", "motd"),
    "exists-not": ("state", "exists", "modt"),
    "history": ("state", "history", "deployment:version"),
    "history-page": ("state", "history", "deployment:version", "--limit", "1"),
    "history-all": ("state", "history", "--limit", "4"),
    "history-prefix": ("state", "history", "--prefix", "deployment:", "--since", "2h30m"),
    "history-by": ("state", "history", "deployment:version", "--by", "bob"),
    "diff-times": ("state", "diff", "--from-time", "2h30m", "--to-time", "30m"),
    "tags": ("state", "tag"),
    "diff": ("state", "diff", "deployment:version@1", "deployment:version@2"),
    "diff-now": ("state", "diff", "deployment:version@2"),
    "diff-last": ("state", "diff", "deployment:version"),
    "stats": ("state", "stats"),
    "watch-nothing": ("state", "watch", "--timeout", "0.01"),
    "stats-all": ("state", "stats", "--all-agents"),
    "locks-none": ("lock", "list"),
    "runs-none": ("runs", "list"),
    "stacks-none": ("stack", "list"),
    "explain": ("explain", "E-KEY-MISSING"),
    "explain-all": ("explain",),
    "explain-module": ("explain", "file.absent"),
    "modules-one": ("modules", "file.write"),
    "modules-function": ("modules", "state.with_lock"),
    "modules-facts": ("modules", "facts.cpu"),
    "init": ("init", "project"),
    "types": ("types", "types"),
    "completion": ("completion", "fish"),
}
WRONG = {
    "no-key": ("state", "show", "deploymnt:version"),
    "no-agent": ("state", "list", "--agent", "web1"),
    "bad-agent": ("state", "list", "--agent", "../web1"),
    "no-command": ("state", "histry"),
    "later-command": ("plan", "x.sloth"),
    "no-option": ("state", "list", "--limt", "3"),
    "no-argument": ("state", "show"),
    "bad-number": ("state", "list", "--limit", "many"),
    "bad-duration": ("state", "set", "a", "b", "--ttl", "soon"),
    "bad-mode": ("state", "list", "-o", "xml"),
    "two-places": ("state", "list", "--agent", "local", "--shared"),
    "all-agents": ("state", "set", "a", "b", "--all-agents"),
    "no-value": ("state", "set", "a"),
    "bad-json": ("state", "set", "a", "--json", "{1}"),
    "half-character": ("state", "set", "a", "--json", '"\\ud800"'),
    "minus-value": ("state", "set", "a", "-1"),
    "no-number": ("state", "increment", "motd"),
    "bad-delta": ("state", "increment", "a", "much"),
    "no-revision": ("state", "show", "motd", "--rev", "9"),
    "bad-time": ("state", "show", "motd", "--at", "yesterday"),
    "no-lock": ("lock", "show", "deploy"),
    "no-run": ("runs", "show", "2026"),
    "no-stack": ("stack", "forget", "web"),
    "bad-code": ("explain", "E-KEY-MISING"),
    "bad-module": ("modules", "file.wrte"),
    "types-twice": ("types", "x", "--stdout"),
    "init-file": ("init", "/proc/self/environ"),
    "no-folder": ("-C", "nowhere", "state", "list"),
    "no-config": ("--config", "slot.toml", "state", "list"),
    "late-directory": ("state", "list", "-C", "/"),
    "dry-run": ("run", "x.sloth", "--dry-run"),
    "run-nothing": ("run",),
    "prune-nothing": ("prune",),
    "state-alone": ("state",),
    "delete-unasked": ("state", "delete", "motd"),
    "clear-unasked": ("state", "clear"),
    "rollback-nothing": ("state", "rollback"),
    "rollback-no-run": ("state", "rollback", "--to-run", "last"),
    "rollback-unasked": ("state", "rollback", "--to-time", "2h30m"),
    "verify-no-digest": ("state", "verify", "--head", "v1"),
    "verify-lost": ("state", "verify", "--head", "0" * 64),
    "tag-name": ("state", "tag", "../x"),
    "no-tag": ("state", "tag", "v2", "--delete"),
    "break-nothing": ("lock", "break", "deploy"),
}
GROUPS = {name: entry[0] for name, entry in ROOT.items() if not isinstance(entry[0], str)}
PATHS = [
    (),
    *((name,) for name in ROOT),
    *((group, name) for group, found in GROUPS.items() for name in found),
]


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", READ)
def test_on_a_terminal(filled: Cli, name: str, columns: int, snapshot: SnapshotAssertion) -> None:
    result = filled(*READ[name], tty=True, columns=columns)
    if READ[name][1:2] == ("list",) or READ[name][:2] == ("state", "stats"):
        lines = [line for line in result.out.splitlines() if "/TMP" not in line]
        rows = [
            line for line in lines if not line.startswith("  ")
        ]  # not the fields of one that stands alone
        assert all(width(line) <= columns for line in rows), result.out
    assert result.shown() == snapshot


@pytest.mark.parametrize("name", [*READ, "config"])
def test_in_a_pipe(filled: Cli, name: str, snapshot: SnapshotAssertion) -> None:
    assert filled(*READ.get(name, ("config", "show"))).shown() == snapshot


@pytest.mark.parametrize("name", WRONG)
def test_errors(filled: Cli, name: str, snapshot: SnapshotAssertion) -> None:
    assert filled(*WRONG[name]).shown() == snapshot


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: " ".join(path) or "alone")
def test_help(cli: Cli, path: tuple[str, ...], columns: int, snapshot: SnapshotAssertion) -> None:
    assert cli(*path, "--help", columns=columns).shown() == snapshot
