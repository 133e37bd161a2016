"""Why: several controllers may change parts of one file at one moment; no lock is held by all of them."""

from __future__ import annotations

import time
from pathlib import Path

from tests.program.kit import Home

TASK = """
task({{name = "add", run = function()
  file.write({{dest = "{ready}", content = ""}})
  wait_for({{path = "{gate}", interval = 0.01, timeout = "60s"}})
  for i = 1, 40 do file.line({{path = "{file}", line = "{name} " .. i, create = true}}) end
end}})
"""


def test_lines_that_several_controllers_add_are_all_there(tmp_path: Path) -> None:
    file, gate = tmp_path / "lines", tmp_path / "gate"
    homes = {name: Home(tmp_path / name) for name in ("ann", "bob", "eve")}
    for name, home in homes.items():
        text = TASK.format(ready=tmp_path / f"{name}.ready", gate=gate, file=file, name=name)
        home.file("site.sloth", text)
    running = [home.start("run", "site.sloth") for home in homes.values()]
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("*.ready"))) < len(homes) and time.monotonic() < end:
        time.sleep(0.01)
    gate.touch()
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    wanted = [f"{name} {number}" for name in homes for number in range(1, 41)]
    assert sorted(file.read_text().splitlines()) == sorted(wanted)
