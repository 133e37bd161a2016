"""Why: start-up is a feature: what each command costs is measured against a bare interpreter.

Usage: python benchmarks/startup.py [repetitions]. Prints medians of processor time (user and system) of whole
processes, and the ratio to ``python -c pass``; compiled files are kept, as in an installation.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

BUDGET = 0.060
"""Seconds that a command may take on top of three bare interpreters."""
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "sloth-runner --help": ["-m", "sloth_runner", "--help"],
    "state list": ["-m", "sloth_runner", "state", "list"],
    "state show KEY": ["-m", "sloth_runner", "state", "show", "deployment:version"],
    "state get KEY": ["-m", "sloth_runner", "state", "get", "deployment:version"],
    "state set KEY VALUE": ["-m", "sloth_runner", "state", "set", "deployment:version", "v2"],
    "lock list": ["-m", "sloth_runner", "lock", "list"],
}


def processor_time(argv: Sequence[str], environ: dict[str, str]) -> float:
    """Seconds that one process and its children compute."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, env=environ, cwd="/", check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Measure, print, and fail if a command is over its budget."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("SLOTH_RUNNER_", "PYTHON"))}
        environ["SLOTH_RUNNER_HOME"] = str(Path(folder, "home"))
        # Compiled files of every version of the source go here, whatever the installation looks like.
        environ["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
        set_key = [sys.executable, "-m", "sloth_runner", "state", "set", "deployment:version", "v1"]
        subprocess.run(set_key, env=environ, cwd="/", check=True, stdout=subprocess.DEVNULL)
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for turn in range(repetitions + 1):  # the first compiles
            for name, argv in COMMANDS.items():
                seconds = processor_time([sys.executable, *argv], environ)
                if turn:
                    times[name].append(seconds)
    medians = {name: statistics.median(found) for name, found in times.items()}
    bare = medians["python -c pass"]
    worst = 0
    for name, median in medians.items():
        over = median > 3 * bare + BUDGET
        worst |= over
        print(f"{name:22} {median * 1000:6.1f} ms  {median / bare:5.2f} x{'  over budget' if over else ''}")
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
