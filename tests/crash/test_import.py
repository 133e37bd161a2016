"""``kill -9`` during an import: the namespace holds what it held, or all of the bundle; never something between."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sloth_runner.state import edits
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import HISTORY, prefix_of
from tests.crash.worker import open_state
from tests.state.bundle_kit import export_bytes

KEYS = 4000
ROUNDS = 12


def figures(folder: Path) -> tuple[int, int, object]:
    """Keys, revisions, and what one key holds. The file is sound."""
    state = open_state(str(folder))
    store = state.writer.store
    assert isinstance(store, SQLiteStore)
    assert store.integrity("local") == []
    revisions = sum(1 for _ in store.scan(prefix_of("local", HISTORY)))
    found = (len(state.keys()), revisions, state.get("k2000"))
    store.close()
    return found


def made(folder: Path, word: str) -> bytes:
    """A bundle of many keys."""
    state = open_state(str(folder))
    state.writer.apply([state.edit(f"k{i}", edits.put(f"{word}{i}" + "x" * 300)) for i in range(KEYS)])
    data = export_bytes(state)
    state.writer.store.close()
    return data


def test_kill_9_during_an_import(tmp_path: Path, soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    (tmp_path / "a.jsonl").write_bytes(made(tmp_path / "a", "a"))
    (tmp_path / "b.jsonl").write_bytes(made(tmp_path / "b", "b"))
    outcomes = {"before": 0, "after": 0}
    for number in range(ROUNDS * (20 if soak else 1)):
        home = tmp_path / f"home{number}"
        state = home / "state"
        before: tuple[int, int, object] = (0, 0, None)
        after = (KEYS, KEYS, "a2000" + "x" * 300)
        bundle = "a.jsonl"
        if number % 2:  # into something that is there
            _import(home, tmp_path / "a.jsonl")
            before, after, bundle = after, (KEYS, 2 * KEYS, "b2000" + "x" * 300), "b.jsonl"
        process = _start(home, tmp_path / bundle)
        try:
            process.wait(timeout=dice.uniform(0.1, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        found = figures(state)
        assert found in (before, after), f"seed {seed}, round {number}"
        outcomes["after" if found == after else "before"] += 1
        _import(home, tmp_path / bundle)
        assert figures(state) == after
    with capsys.disabled():
        print(f"\nkill -9 during imports: {outcomes} (seed {seed})")


def _start(home: Path, bundle: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash.importer", str(bundle)],
        env={**os.environ, "SLOTH_RUNNER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
    )


def _import(home: Path, bundle: Path) -> None:
    assert _start(home, bundle).wait() == 0
