"""Why: what a task pays for ``state`` is more than what the store costs: Lua, the bridge and the pump come on top.

    python -m benchmarks.lua [FOLDER]

Whole runs of a task file whose tasks write and read in a loop, alternating with raw apsw writing the rows that
the run before has written; prints medians, and the ratio.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import apsw

from benchmarks.store import open_raw, report, timed, write_raw

ROUNDS, WRITES, READS = 9, 1000, 20_000
FILE = """
task({{name = "write", run = function()
  for i = 1, {writes} do state.set("bench{number}", "written " .. i) end
end}})
task({{name = "read", depends_on = "write", run = function()
  for i = 1, {reads} do state.get("bench{number}") end
end}})
"""


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    ours, theirs, reads = [], [], []
    for number in range(ROUNDS):
        seconds = run(folder, number)
        ours.append(seconds["write"])
        reads.append(seconds["read"])
        # As a run does: the log of a file that nobody has open any more is gone, and grows anew.
        raw = open_raw(folder / f"raw{number}.db")
        theirs.append(timed(write_raw, raw, written(folder, number)))
        raw.close()
    report("state.set from Lua against raw apsw, identical rows", ours, theirs, WRITES)
    print(f"state.get from Lua: {sorted(reads)[ROUNDS // 2] / READS * 1e6:.1f} µs")


def run(folder: Path, number: int) -> dict[str, float]:
    """Run the file in a process of its own; seconds by task, as the run itself has measured them."""
    file = folder / "bench.sloth"
    file.write_text(FILE.format(number=number, writes=WRITES, reads=READS))
    command = [sys.executable, "-m", "sloth_runner", "run", str(file), "--quiet", "--output", "json"]
    environ = {**os.environ, "SLOTH_RUNNER_HOME": str(folder / "home")}
    out = subprocess.run(command, env=environ, cwd=folder, check=True, stdout=subprocess.PIPE).stdout
    return {task["name"]: task["seconds"] for task in json.loads(out)["tasks"]}


def written(folder: Path, number: int) -> list[list[tuple[str, bytes]]]:
    """The rows of each commit of a round: the key's revision, and its head, which is the same record."""
    file = apsw.Connection(str(folder / "home" / "state" / "local.db"), flags=apsw.SQLITE_OPEN_READONLY)
    key = f"bench{number}"
    found = file.execute(
        "SELECT key, value FROM entry WHERE key > ? AND key < ? ORDER BY key",
        (f"h\x1f{key}\x1f", f"h\x1f{key}\x20"),
    )
    rows: list[tuple[str, bytes]] = [(name, value) for name, value in found]
    file.close()
    assert len(rows) == WRITES, f"{len(rows)} revisions"
    return [[(f"k\x1f{key}", value), (name, value)] for name, value in rows]


if __name__ == "__main__":
    main()
