"""``kill -9`` at random moments of runs and prunes: they converge, no handler is lost, and prune restores the tree of
before the first run byte for byte, with its modes.
"""

from __future__ import annotations

import os
import random
import stat
import subprocess
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


def killed(home: Home, dice: random.Random, *args: str) -> bool:
    """Start the program and kill it; whether it was still at it."""
    with home.start(*args) as process:
        try:
            process.communicate(timeout=dice.uniform(0.15, 0.6))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    home.run("lock", "break", "stack:site", "--shared", "--yes", "--reason", "it was killed", code=None)
    return process.returncode == -9


def one_round(folder: Path, dice: random.Random) -> int:
    """Kill a run or two, finish it; kill a prune or two, finish it. How many were killed."""
    home, root = prepare(folder)
    before = tree(root)
    log = folder / "log"
    home.file("site.sloth", TASKS.replace("ROOT", str(root)).replace("LOG", str(log)))
    kills = sum(killed(home, dice, "run", "site.sloth") for _ in range(dice.choice((1, 2))))
    home.run("run", "site.sloth")
    assert (root / "made/deep/12").read_text() == "new 12"
    assert log.exists(), "the handler was lost"
    assert home.run("plan", "site.sloth", "--detailed-exitcode", "--paranoid")
    assert home.run("drift", "--detailed-exitcode")
    home.file("site.sloth", GONE)
    kills += sum(killed(home, dice, "prune", "site.sloth", "--yes") for _ in range(dice.choice((1, 2))))
    said = home.run("prune", "site.sloth", "--yes", "-o", "json").json
    assert tree(root) == before, said
    assert home.run("resource", "list", "-o", "json").json["resources"] == []
    return kills


def test_kill_9_while_files_are_converged_and_pruned(tmp_path: Path, soak: bool) -> None:
    wanted = KILLS // LANES * (20 if soak else 1)

    def lane(seed: int) -> None:
        dice = random.Random(seed)
        kills, number = 0, 0
        while kills < wanted:
            number += 1
            try:
                kills += one_round(tmp_path / f"{seed}-{number}", dice)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}") from error

    with ThreadPoolExecutor(LANES) as pool:
        for done in [pool.submit(lane, random.randrange(1 << 32)) for _ in range(LANES)]:
            done.result()
