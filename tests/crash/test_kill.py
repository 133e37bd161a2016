"""``kill -9`` at random moments: no acknowledged write is missing, the file is sound, revisions only grow.

Two processes write to one state at a time, so that the dead one's turn, its half-made transaction and its write-ahead
log are left to a living one.
"""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.state import State
from tests.crash.worker import open_state

KILLS = 320
LANES = 2


class Acknowledged(NamedTuple):
    """The last of each kind of line that a killed worker had written."""

    number: int
    total: int
    long: int | None


def parse(name: str, output: bytes) -> Acknowledged:
    number, total, long = 0, 0, None
    for line in output.decode().splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        word, value = line.split()
        if word == "set":
            number = int(value)
        elif word == "sum":
            total = int(value)
        elif word == "long":
            long = int(value)
        else:
            long = None
    return Acknowledged(number, total, long)


def one_round(folder: str, dice: random.Random) -> dict[str, Acknowledged]:
    """Start two writers, kill both at moments of their own; what they had acknowledged."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-m", "tests.crash.worker", folder, name], stdout=subprocess.PIPE
        )
        for name in ("w0", "w1")
    }
    found: dict[str, Acknowledged] = {}
    for name, process in processes.items():
        assert process.stdout is not None
        early = dice.random() < 0.2  # while it opens, or makes, its files
        first = b"" if early else process.stdout.readline()
        try:
            process.wait(timeout=dice.uniform(0, 0.15 if early else 0.06))
        except subprocess.TimeoutExpired:
            process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        assert process.wait() == -9
        found[name] = parse(name, first + rest)
    return found


def check(state: State, acknowledged: dict[str, Acknowledged], before: dict[str, int]) -> dict[str, int]:
    """The state holds at least what was acknowledged; the last numbers of revisions."""
    store = state.writer.store
    assert isinstance(store, SQLiteStore)
    assert store.integrity("local") == []
    for name, ack in acknowledged.items():
        assert state.get(name, 0) in (ack.number, ack.number + 1) or ack.number == 0
        assert state.get("shared", 0) >= ack.total
        if ack.long is not None:
            # the one write that was not acknowledged any more may be a newer value, or the deletion
            long = state.get(f"{name}:long")
            newer = long is not None and int(long.lstrip("x")) >= ack.long
            assert newer or (long is None and ack.number % 7 == 0)
    now: dict[str, int] = {}
    for key in ("w0", "w1", "shared", "w0:long", "w1:long"):
        numbers = [r.record.number for r in state.history(key)]
        assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1)) if numbers else True
        now[key] = numbers[0] if numbers else 0
        assert now[key] >= before.get(key, 0)
    return now


def lane(folder: str, seed: int, rounds: int) -> int:
    dice = random.Random(seed)
    before: dict[str, int] = {}
    for _ in range(rounds):
        acknowledged = one_round(folder, dice)
        state = open_state(folder)
        before = check(state, acknowledged, before)
        state.writer.store.close()
    total = open_state(folder)
    assert total.get("shared") == before["shared"]
    total.writer.store.close()
    return rounds * 2


def test_kill_9_at_random_moments(tmp_path: Path, soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    kills = KILLS * (20 if soak else 1)
    with ThreadPoolExecutor(LANES) as pool:
        rounds = kills // 2 // LANES
        done = list(pool.map(lambda i: lane(str(tmp_path / str(i)), seed + i, rounds), range(LANES)))
    with capsys.disabled():
        print(f"\nkill -9: {sum(done)} kills, nothing acknowledged was lost (seed {seed})")
    assert sum(done) >= 300
