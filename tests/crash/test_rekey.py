"""``kill -9`` at random moments of ``rekey``, while another process counts under a lock: every value stays readable,
nobody loses a lock or a write, and in the end nothing is under an old key."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sloth_runner.state import reseal
from sloth_runner.state.layout import store_key
from sloth_runner.state.record import decode_record, digest
from sloth_runner.state.store import Change
from tests.crash.rekeyer import open_state, open_store

KILLS = 200


def start(work: str, folder: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.crash.rekeyer", work, folder]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def fill(folder: str) -> dict[str, str]:
    state = open_state(folder)
    model = {f"k{n}": f"value-{n}-" * 5 for n in range(300)} | {"big": "y" * 70_000}
    for key, value in model.items():
        state.set(key, 0)
        state.set(key, value)
    store = state.writer.store
    store.commit([Change(store_key("_shared", "n", f"run{n}"), b"{}") for n in range(20)])
    store.close()
    return model


def check(folder: str, model: dict[str, str]) -> None:
    """Everything is there, and each key's revisions form a chain."""
    state = open_state(folder)
    found = dict(state.items())
    assert {key: found.get(key) for key in model} == model
    store = state.writer.store
    assert sum(1 for _ in store.scan("_shared\x1fn")) == 20
    for key in random.sample(sorted(model), 10):
        first, second = store.scan(store_key("local", "h", key) + "\x1f")
        assert decode_record(second.value).previous == digest(decode_record(first.value))
    store.close()


def test_rekey_is_killed_at_random_points(
    tmp_path: Path, soak: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, kills = str(tmp_path / "state"), KILLS * (10 if soak else 1)
    model = fill(folder)
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    user = start("use", folder)
    assert user.stdout is not None and user.stdin is not None
    assert user.stdout.readline() == b"ready\n"
    turns = unfinished = 0
    for _ in range(kills):
        worker = start("rekey", folder)
        assert worker.stdout is not None and worker.stdin is not None
        try:
            worker.wait(timeout=0.12 + dice.uniform(0, 0.35))
        except subprocess.TimeoutExpired:
            worker.kill()
        turns += worker.stdout.read().count(b"done")
        worker.stdout.close()
        worker.stdin.close()
        assert worker.wait() == -9
        store = open_store(folder)
        unfinished += reseal.status(store.inner).busy
        store.close()
        check(folder, model)
    user.stdin.close()
    total = int(user.stdout.read())
    user.stdout.close()
    assert user.wait() == 0
    store = open_store(folder)
    done = reseal.rekey(store, os.urandom, lambda count: None)
    status = reseal.status(store.inner)
    assert (done.waiting, status.left, status.busy, status.plain) == ((), 0, False, 0)
    assert list(status.counts) == [status.current]
    store.close()
    check(folder, model)
    state = open_state(folder)
    assert state.get("counter") == total > 0
    state.writer.store.close()
    with capsys.disabled():
        print(
            f"\nrekey: {kills} kills, {unfinished} in the middle, {turns} whole turns meanwhile; {total} writes "
            f"under one lock; records by key id: {status.counts} (seed {seed})"
        )
    assert unfinished > kills // 4
