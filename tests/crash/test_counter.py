"""Eight processes × 1,000 increments of one key of one file end at exactly 8,000; the slowest wait is reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.worker import open_state

PROCESSES, ROUNDS = 8, 1000


def test_eight_processes_count_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "state")
    argv = [sys.executable, "-m", "tests.crash.counter", folder, str(ROUNDS)]
    processes = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    reports = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    for process in processes:
        assert process.stdout is not None
        reports.append(json.loads(process.stdout.read()))
        process.stdout.close()
        assert process.wait() == 0
    state = open_state(folder)
    assert state.get("counter") == PROCESSES * ROUNDS
    assert state.history("counter", limit=1)[0].record.number == PROCESSES * ROUNDS
    state.writer.store.close()
    worst = max(report["worst"] for report in reports)
    rate = PROCESSES * ROUNDS / max(report["seconds"] for report in reports)
    with capsys.disabled():
        print(f"\n8 × 1000 increments: exactly 8000; worst single wait {worst * 1000:.0f} ms; {rate:.0f}/s")
