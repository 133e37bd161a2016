"""Why: a second run should cost what looking costs, and a first one what writing costs.

    python -m benchmarks.files [FILES] [ROUNDS] [FSYNC]

Second run: processor time of whole processes (user and system), beside a plain script that imports sqlite3, hashlib
and json and stats and hashes the same sources and targets, in alternation. First run: time on the clock, beside the
file part alone (the same writes, through the same transport, with every fsync) plus one commit for each resource. How
that ratio comes out is up to the disk: with FSYNC, strace makes every fsync of both last so many milliseconds longer
(a server's disk needs 0.1 to 10). Prints medians and ratios.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sloth_runner.agent.perform import perform
from sloth_runner.ops import Write
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.store import Change

TASK = """task({{name = "copy", run = function()
  for i = 0, {last} do
    file.copy({{src = "src/f" .. i, dest = "{target}/f" .. i, mode = "0640"}})
  end
end}})
"""
PLAIN = """
import hashlib, json, os, sqlite3, sys
count, source, target = int(sys.argv[1]), sys.argv[2], sys.argv[3]
for i in range(count):
    one, two = f"{source}/f{i}", f"{target}/f{i}"
    os.stat(one), os.stat(two)
    with open(one, "rb") as a, open(two, "rb") as b:
        assert hashlib.sha256(a.read()).digest() == hashlib.sha256(b.read()).digest()
"""


class Bench:
    """A folder with sources, a task file and a home."""

    def __init__(self, folder: Path, count: int, fsync: float = 0.0) -> None:
        self.folder = folder
        self.count = count
        self.slowed = _slowed(fsync) if fsync else []
        self.target = folder / "target"
        (folder / "src").mkdir()
        for i in range(count):
            (folder / "src" / f"f{i}").write_bytes((f"file {i} " * 200).encode()[:1024])
        self.file = folder / "copy.sloth"
        self.file.write_text(TASK.format(last=count - 1, target=self.target))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLOTH_RUNNER_", "PYTHON"))}
        self.environ = {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}

    def ours(self, home: str = "home") -> list[str]:
        """The command of a run."""
        self.environ["SLOTH_RUNNER_HOME"] = str(self.folder / home)
        return [str(Path(sys.executable).with_name("sloth-runner")), "run", str(self.file), "--quiet"]

    def plain(self) -> list[str]:
        """The command of the script."""
        return [sys.executable, "-c", PLAIN, str(self.count), str(self.folder / "src"), str(self.target)]

    def processor(self, argv: Sequence[str]) -> float:
        """Seconds that a process computes, user and system."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(argv, env=self.environ, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def cold(self, number: int) -> float:
        """Seconds of a first run, without the start of the program: targets and home are new."""
        self.target = self.folder / f"cold{number}"
        self.target.mkdir()
        self.file.write_text(TASK.format(last=self.count - 1, target=self.target))
        argv = [*self.slowed, *self.ours(f"home{number}"), "--output", "json"]
        done = subprocess.run(argv, env=self.environ, check=True, capture_output=True)
        return float(json.loads(done.stdout)["seconds"])

    def parts(self, number: int) -> float:
        """Seconds of the file part alone and one commit for each resource."""
        argv = [*self.slowed, sys.executable, "-m", "benchmarks.files", "parts"]
        argv += [str(self.folder), str(self.count), str(number)]
        return float(subprocess.run(argv, check=True, capture_output=True).stdout)


def _slowed(fsync: float) -> list[str]:
    """What a command begins with whose every fsync shall last so many milliseconds longer."""
    calls = "fsync,fdatasync"
    delay = f"inject={calls}:delay_exit={round(fsync * 1000)}"
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", delay]


def written(folder: Path, count: int, number: int) -> float:
    """Write the files and commit for each, as plainly as can be; the seconds."""
    target = folder / f"parts{number}"
    target.mkdir()
    store = SQLiteStore(folder / f"store{number}")
    value = b"x" * 600
    began = time.perf_counter()
    for i in range(count):
        content = (folder / "src" / f"f{i}").read_bytes()
        perform(Write(str(target / f"f{i}"), content, 0o640))
        store.commit([Change(f"local\x1fr\x1ff{i}", value, 0)])
    took = time.perf_counter() - began
    store.close()
    return took


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["parts"]:
        print(written(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    fsync = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), count, fsync)
        cold, parts = [], []
        for number in range(max(3, rounds // 3)):
            parts.append(bench.parts(number))
            cold.append(bench.cold(number))
        report(f"first run of {count} files, wall", cold, parts, "parts")
        bench.ours("home0")
        bench.target = bench.folder / "cold0"
        bench.file.write_text(TASK.format(last=count - 1, target=bench.target))
        second = [bench.processor(bench.ours("home0"))]
        report(f"second run of {count} files, processor", second, [bench.processor(bench.plain())], "script")
        ours, plain = [], []
        for _ in range(rounds):
            plain.append(bench.processor(bench.plain()))
            ours.append(bench.processor(bench.ours("home0")))
        report(f"later runs of {count} files, processor", ours, plain, "script")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"most memory of a process: {peak:.0f} MiB")


def report(what: str, ours: list[float], theirs: list[float], beside: str) -> None:
    """Medians in milliseconds and their ratio."""
    mine, other = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    print(f"{what}: {mine:.0f} ms; {beside} {other:.0f} ms; {mine / other:.2f} times")


if __name__ == "__main__":
    main()
