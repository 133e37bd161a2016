"""Why: what many agents cost a controller: seconds and memory of one run on all, and who is told of when one is lost.

    python -m benchmarks.agents [200]

So many agents (``agent serve``, each a process with a key and a certificate of its own) listen on loopback. Printed
are, for the whole command from its start to its end: seconds, CPU seconds of the controller and of all agents
together, and the most memory that the controller took. In ``new`` runs the task writes a file on each machine, in
``same`` runs nothing is left to do, in ``program`` runs it runs a program there. In the last run one agent is killed
(SIGKILL) while its program runs: printed is when that was told, and that the others' tasks ended well.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.daemon.kit import Agent, many

ROUNDS = 5
TASKS = {
    "same": 'file.write({ dest = "ROOT/" .. this.agent, content = "same\\n" })',
    "new": 'file.write({ dest = "ROOT/" .. this.agent, content = values.number .. "\\n" })',
    "program": 'cmd({ command = "true", reads_only = true })',
    "lost": 'cmd({ command = "touch ROOT/begun." .. this.agent .. "; sleep 2", timeout = "5s" })',
}


class Took(NamedTuple):
    """A command: seconds, its own CPU seconds, the agents' CPU seconds, bytes of memory at most; its document."""

    seconds: float
    cpu: float
    agents: float
    memory: int
    document: dict[str, Any]


def main(arguments: list[str]) -> None:
    """Print the figures."""
    count = int(arguments[0]) if arguments else 200
    folder = Path(tempfile.mkdtemp(prefix="sloth-bench-"))
    try:
        began = time.monotonic()
        with many(folder, count) as agents:
            print(f"{count} agents, started in {time.monotonic() - began:.0f} s: {memory(agents)}")
            for word in ("new", "same", "program"):
                bench(word, folder, agents)
            lose(folder, agents)
    finally:
        shutil.rmtree(folder)


def bench(word: str, folder: Path, agents: Sequence[Agent]) -> None:
    """Some runs, and their medians."""
    first, *rest = [run(word, folder, agents, number) for number in range(1 + ROUNDS)]
    for name, found in (("first", [first]), ("median", rest)):
        middle = [statistics.median(one) for one in zip(*(took[:4] for took in found), strict=True)]
        best = min(took.seconds for took in found)
        print(
            f"{word:>8} {name:>6} {middle[0]:5.2f} s (best {best:.2f})  CPU {middle[1]:.2f} s here,"
            f" {middle[2]:.2f} s of all agents  memory {middle[3] / (1 << 20):.0f} MiB"
            f"  {found[-1].document['summary']['ok']} ok, {found[-1].document['summary']['changed']} changed",
            flush=True,
        )


def run(
    word: str,
    folder: Path,
    agents: Sequence[Agent],
    number: int = 0,
    during: Callable[[], None] | None = None,
) -> Took:
    """One run on all agents."""
    lines = [f'{agent.name} = {{ url = "{agent.url}", groups = ["all"] }}' for agent in agents]
    (folder / "sloth.toml").write_text("\n".join(["[agents]", *lines, ""]))
    body = TASKS[word].replace("ROOT", str(folder / "target"))
    text = f'task({{ name = "{word}", delegate_to = "@all", run = function(this) {body} end }})\n'
    (folder / "t.sloth").write_text(text)
    before = sum(map(cpu, agents))
    argv = [str(Path(sys.executable).parent / "sloth-runner"), "run", "t.sloth", "-o", "json"]
    argv += ["--forks", str(len(agents)), "--set", f"number={number}", "-k"]
    env = {**os.environ, "SLOTH_RUNNER_HOME": str(folder / "home"), "PYTHONDONTWRITEBYTECODE": ""}
    began = time.monotonic()
    with subprocess.Popen(
        argv, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        if during is not None:
            threading.Thread(target=during, daemon=True).start()
        assert process.stdout is not None
        out = process.stdout.read()
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = 0
    spent = sum(map(cpu, agents)) - before
    document = json.loads(out)
    if word != "lost":
        for task in document["tasks"]:
            assert task["status"] in ("ok", "changed"), task
    return Took(seconds, used.ru_utime + used.ru_stime, spent, used.ru_maxrss << 10, document)


def lose(folder: Path, agents: Sequence[Agent]) -> None:
    """Kill one agent in the middle of its task."""
    gone = agents[len(agents) // 2]

    def kill() -> None:
        while not (folder / "target" / f"begun.{gone.name}").exists():
            time.sleep(0.01)
        os.kill(gone.pid, signal.SIGKILL)

    took = run("lost", folder, agents, during=kill)
    tasks = {task["agent"]: task for task in took.document["tasks"]}
    failed = [name for name, task in tasks.items() if task["status"] not in ("ok", "changed")]
    lost = tasks[gone.name]
    print(
        f"    lost {took.seconds:5.2f} s, of which {gone.name} took {lost['seconds']:.1f} s to be given up;",
        end="",
    )
    print(f" failed: {failed} ({lost['error']['code']})")


def cpu(agent: Agent) -> float:
    """CPU seconds that an agent has taken."""
    try:
        fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(agents: Sequence[Agent]) -> str:
    """What the agents take: the proportional share is what they take together."""
    share = 0
    for agent in agents:
        lines = Path(f"/proc/{agent.pid}/smaps_rollup").read_text().splitlines()
        share += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return f"{share / len(agents) / 1024:.0f} MiB of memory each, {share >> 10:,} MiB together"


if __name__ == "__main__":
    main(sys.argv[1:])
