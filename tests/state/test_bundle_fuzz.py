"""Whatever is given to the importer: no crash, no hang over a second of processor time, no memory over 512 MiB."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

COUNT = 300


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], check=False, capture_output=True, text=True)


def test_fuzz_in_little_memory_and_time(soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    done = run("-m", "tests.state.fuzzer", str(seed), str(COUNT * (100 if soak else 1)))
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert done.stdout.startswith("done")
    with capsys.disabled():
        print(f"\nfuzz of the importer (seed {seed}): {done.stdout.strip()}")


@pytest.mark.parametrize(
    ("work", "error"),
    [
        ("fuzzer.within(lambda: all(True for _ in iter(int, 1)), b'spins')", "Hang"),
        ("fuzzer.main(1, 0); bytearray(fuzzer.MEMORY)", "MemoryError"),
        ("fuzzer.within(lambda: 1 // 0, b'breaks')", "ZeroDivisionError"),
    ],
)
def test_what_it_looks_for_it_would_find(work: str, error: str) -> None:
    done = run("-c", f"from tests.state import fuzzer; {work}")
    assert done.returncode == 1 and error in done.stderr.splitlines()[-1]
