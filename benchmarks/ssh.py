"""Why: what it costs to find that nothing has to be done on machines behind SSH, by the wire and by the clock.

    python -m benchmarks.ssh [20 | 1000 | ten | tree | 200 …]

Each is run twice through a real OpenSSH server on loopback: the first run makes the files, of the second the whole
command is timed, from its start to its end; then what was made is pruned. ``20`` and ``1000`` files go through a
proxy that takes 25 ms each way, and so does ``tree``, a folder with 300 files in 20 folders, in one call; ``ten`` are
ten hosts with ten files each without it. Printed are the agent's round trips as the run counts them, and what the
proxy saw: flights (how often the client spoke after the server had, SSH's own handshake included) and bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.services.sshd import SSHServer

from benchmarks.delay import Delay

ROUND_TRIP = 0.05
ROUNDS = 5
TASK = """
task({{ name = "files", {targets}, run = function(this)
  for i = 1, {count} do
    file.write({{ dest = "{root}/" .. this.agent .. "/" .. i, content = "number " .. i .. "\\n" }})
  end
end }})
"""
TREE = """
task({{ name = "files", {targets}, run = function(this)
  file.copy({{ src = "src", dest = "{root}/" .. this.agent }})
end }})
"""
NONE = 'task({{ name = "files", {targets}, run = function() file.directory("{root}") end }})'


def main(arguments: list[str]) -> None:
    """Run what was asked for."""
    folder = Path(tempfile.mkdtemp(prefix="sloth-bench-"))
    server = SSHServer(folder / "sshd")
    try:
        server.start()
        for word in arguments or ["20", "1000", "ten", "tree"]:
            bench(word, server, folder / word)
    finally:
        server.stop()
        shutil.rmtree(folder)


def bench(word: str, server: SSHServer, folder: Path) -> None:
    """One figure: its first run, and the best and the median of some second ones."""
    folder.mkdir()
    hosts, count = {"ten": (10, 10), "tree": (1, 300)}.get(word) or (1, int(word))
    delay = None if word == "ten" else Delay(server.port, ROUND_TRIP / 2)
    port = server.port if delay is None else delay.port
    known = server.home / ".ssh" / "known_hosts"
    host_key = " ".join((server.folder / "host_key.pub").read_text().split()[:2])
    known.write_text(known.read_text() + f"[127.0.0.1]:{port} {host_key}\n")
    names = [f"web{number}" for number in range(hosts)]
    url = f'url = "ssh://127.0.0.1:{port}"'
    lines = [f'{name} = {{ {url}, groups = ["web"] }}' for name in names]
    (folder / "sloth.toml").write_text("\n".join(["[agents]", *lines, ""]))
    for number in range(count if word == "tree" else 0):
        source = folder / "src" / f"{number % 20}" / f"{number}"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(f"number {number}\n" * 40)
    text = TREE if word == "tree" else TASK
    given = {"targets": 'delegate_to = "@web"', "count": count, "root": folder / "target"}
    (folder / "t.sloth").write_text(text.format(**given))
    for number in range(1 + ROUNDS):
        seconds, document = run(folder, server.home, "run", "t.sloth")
        traffic = [target["traffic"] for target in document["targets"]]
        line = f"{word:>5} {'first ' if number == 0 else 'second'} {seconds:6.2f} s"
        line += f"  round trips {max(one['round_trips'] for one in traffic)}"
        out, back = (sum(one[name] for one in traffic) for name in ("bytes_sent", "bytes_received"))
        line += f"  frames {out:,} B out {back:,} in"
        if delay is not None:
            seen = delay.taken()
            line += f"  wire: {seen.flights} flights, {seen.up:,} B out {seen.down:,} in"
        print(f"{line}  {document['summary']['changed']} changed", flush=True)
    (folder / "t.sloth").write_text(NONE.format(**given))
    seconds, document = run(folder, server.home, "prune", "t.sloth", "--yes")
    seen_too = "" if delay is None else f"  wire: {delay.taken().flights} flights"
    print(f"{word:>5} prune  {seconds:6.2f} s{seen_too}  {document['summary']['remove']} removed", flush=True)
    if delay is not None:
        delay.close()


def run(folder: Path, home: Path, *command: str) -> tuple[float, dict[str, Any]]:
    """The command's time, and its document."""
    env = {**os.environ, "HOME": str(home), "SLOTH_RUNNER_HOME": str(folder / "state")}
    env["PYTHONDONTWRITEBYTECODE"] = ""  # as installed
    argv = [str(Path(sys.executable).parent / "sloth-runner"), *command, "-o", "json"]
    began = time.monotonic()
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(done.stderr.decode())
    return seconds, json.loads(done.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
