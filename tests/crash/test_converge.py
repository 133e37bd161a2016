"""``kill -9`` at random moments of runs and prunes: they converge, no handler is lost, and prune restores the tree of
before the first run byte for byte, with its modes.
"""

from __future__ import annotations

import os
import random
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.program.kit import Home

KILLS = 40
LANES = 2
TASKS = """
handler({name = "told", run = function() cmd("echo told >> LOG") end})
task({name = "files", run = function()
  file.directory({path = "ROOT/made/deep", mode = "0750"})
  for n = 1, 12 do
    file.write({dest = "ROOT/made/deep/" .. n, content = "new " .. n, mode = "0640", notify = "told"})
    file.write({dest = "ROOT/old/" .. n, content = "changed " .. n, mode = "0600", notify = "told"})
    file.write({dest = "ROOT/implied/" .. n .. "/x", content = "x"})
  end
  file.write({dest = "ROOT/old/link", content = "no link"})
end})
"""
GONE = 'task({name = "none", run = function() end})\n'


def tree(root: Path) -> dict[str, tuple[str, bytes]]:
    """All below ``root``: kind and mode, content."""
    found = {}
    for path in sorted(root.rglob("*")):
        link = os.fsencode(path.readlink()) if path.is_symlink() else b""
        content = path.read_bytes() if path.is_file() and not link else link
        found[str(path.relative_to(root))] = (stat.filemode(path.lstat().st_mode), content)
    return found


def prepare(folder: Path) -> tuple[Home, Path]:
    """A user, and the tree of before."""
    home = Home(folder)
    root = home.cwd / "t"
    (root / "old").mkdir(parents=True)
    for n in range(1, 13):
        (root / "old" / str(n)).write_text(f"old {n}")
        (root / "old" / str(n)).chmod(0o604)
    (root / "old" / "link").symlink_to("1")
    return home, root


class Killer:
    """Kills commands at random moments of the time that they take: on a quick machine as often as on a slow one."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.kills = 0
        self._lasting: dict[str, float] = {}

    def run(self, home: Home, command: str, *args: str) -> None:
        """Start the program and kill it, if it is still at it then."""
        lasting = self._lasting.get(command, 1.0)
        began = time.monotonic()
        with home.start(command, *args) as process:
            try:
                process.communicate(timeout=lasting * self.dice.uniform(0.3, 1.0))
                self._lasting[command] = time.monotonic() - began
            except subprocess.TimeoutExpired:
                self._lasting[command] = 1.1 * lasting
                process.kill()
                process.communicate()
        self.kills += process.returncode == -9
        home.run("lock", "break", "stack:site", "--shared", "--yes", "--reason", "it was killed", code=None)


def one_round(folder: Path, killer: Killer) -> None:
    """Kill a run or two, finish it; kill a prune or two, finish it."""
    home, root = prepare(folder)
    before = tree(root)
    log = folder / "log"
    home.file("site.sloth", TASKS.replace("ROOT", str(root)).replace("LOG", str(log)))
    for _ in range(killer.dice.choice((1, 2))):
        killer.run(home, "run", "site.sloth")
    home.run("run", "site.sloth")
    assert (root / "made/deep/12").read_text() == "new 12"
    assert log.exists(), "the handler was lost"
    assert home.run("plan", "site.sloth", "--detailed-exitcode", "--paranoid")
    assert home.run("drift", "--detailed-exitcode")
    home.file("site.sloth", GONE)
    for _ in range(killer.dice.choice((1, 2))):
        killer.run(home, "prune", "site.sloth", "--yes")
    said = home.run("prune", "site.sloth", "--yes", "-o", "json").json
    assert tree(root) == before, said
    assert home.run("resource", "list", "-o", "json").json["resources"] == []


def test_kill_9_while_files_are_converged_and_pruned(tmp_path: Path, soak: bool) -> None:
    wanted = KILLS // LANES * (20 if soak else 1)

    def lane(seed: int) -> None:
        killer, number = Killer(random.Random(seed)), 0
        while killer.kills < wanted:
            number += 1
            try:
                one_round(tmp_path / f"{seed}-{number}", killer)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}") from error

    with ThreadPoolExecutor(LANES) as pool:
        for done in [pool.submit(lane, random.randrange(1 << 32)) for _ in range(LANES)]:
            done.result()
