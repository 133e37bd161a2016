"""``kill -9`` during an import: the namespace holds what it held, or all of the bundle; never something between; and
no byte in plaintext where the state is sealed, though its keys are turned over between two imports."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sloth_runner.state import edits, reseal
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.layout import HISTORY, KEYRING, prefix_of
from sloth_runner.state.sealed import Sealed
from tests.crash.worker import open_state
from tests.state.bundle_kit import export_bytes
from tests.state.kit import key_source, make_state

KEYS = 4000
ENCRYPTION = {
    "SLOTH_RUNNER_STATE__ENCRYPTION__SOURCE": "env",
    "SLOTH_RUNNER_STATE__ENCRYPTION__VARIABLE": "SLOTH_KEY",
    "SLOTH_KEY": "81" * 32,  # that of key_source
}
ROUNDS = 12


def figures(folder: Path, sealed: bool) -> tuple[int, int, object]:
    """Keys, revisions, and what one key holds. The file is sound."""
    inner = SQLiteStore(folder)
    store = Sealed(inner, key_source()) if sealed else inner
    state = make_state(store)
    assert inner.integrity("local") == []
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


def no_trace(folder: Path) -> None:
    """Of all that is in the bundles; and what is there is under one key."""
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"x" * 20 not in path.read_bytes(), path
    store = SQLiteStore(folder)
    assert reseal.status(store).plain == 0
    if store.get(KEYRING) is not None:
        reseal.rekey(Sealed(store, key_source()), os.urandom, lambda count: None)
        found = reseal.status(store)
        assert (found.left, len(found.counts)) == (0, 1)
    store.close()


@pytest.mark.parametrize("sealed", [False, True])
def test_kill_9_during_an_import(
    tmp_path: Path, sealed: bool, soak: bool, capsys: pytest.CaptureFixture[str]
) -> None:
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
            _import(home, tmp_path / "a.jsonl", sealed)
            before, after, bundle = after, (KEYS, 2 * KEYS, "b2000" + "x" * 300), "b.jsonl"
        process = _start(home, tmp_path / bundle, sealed)
        try:
            process.wait(timeout=dice.uniform(0.1, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if sealed:
            no_trace(state)
        found = figures(state, sealed)
        assert found in (before, after), f"seed {seed}, round {number}"
        outcomes["after" if found == after else "before"] += 1
        _import(home, tmp_path / bundle, sealed)
        assert figures(state, sealed) == after
        if sealed:
            no_trace(state)
    with capsys.disabled():
        print(f"\nkill -9 during {'sealed ' * sealed}imports: {outcomes} (seed {seed})")


def _start(home: Path, bundle: Path, sealed: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash.importer", str(bundle)],
        env={**os.environ, "SLOTH_RUNNER_HOME": str(home), **(ENCRYPTION if sealed else {})},
        stdout=subprocess.DEVNULL,
    )


def _import(home: Path, bundle: Path, sealed: bool) -> None:
    assert _start(home, bundle, sealed).wait() == 0
