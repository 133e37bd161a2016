"""What a run leaves behind may be more than a server takes at once: on etcd (1.5 MiB) nothing fails for it."""

from __future__ import annotations

import base64
import os
import uuid
from pathlib import Path

from tests.program.kit import Home
from tests.services import shared_url

FILES = 4
SIZE = 900_000

TASKS = """
task({ name = "files", run = function()
  for i = 1, %d do file.write({ dest = "%s/f" .. i, content = string.rep("new\\n", 100000) }) end
end })
task({ name = "state", run = function()
  for i = 1, 12 do state.set("k" .. i, string.rep(tostring(i %% 10), 300000)) end
  for i = 1, 3000 do print(string.rep("x", 100)) end
end })
"""


def test_a_run_an_import_and_a_prune(tmp_path: Path) -> None:
    url = f"{shared_url('etcd')}/{uuid.uuid4().hex}"
    home = Home(tmp_path, {"SLOTH_RUNNER_STATE__STORE": url})
    before = [base64.b64encode(os.urandom(SIZE))[:SIZE] for _ in range(FILES)]
    for number, content in enumerate(before, 1):
        (tmp_path / f"f{number}").write_bytes(content)
    file = home.file("site.sloth", TASKS % (FILES, tmp_path))
    done = home.run("run", str(file), "-o", "json")
    assert len(done.json["tasks"][1]["state"][0]["new"]) == 300_000
    shown = home.run("runs", "show", "last", "-o", "json").json
    assert [task["status"] for task in shown["tasks"]] == ["changed", "ok"]
    assert shown["tasks"][1]["state"][0]["new"] == {"$cut": 300_002}
    home.run("run", str(file))

    home.file("site.sloth", 'task({ name = "other", run = function() end })\n')
    home.run("prune", str(file), "--yes")
    assert [(tmp_path / f"f{number}").read_bytes() for number in range(1, FILES + 1)] == before

    home.run("state", "export", "--all", "--with-history", "--output-file", "b")
    other = Home(tmp_path / "other", {"SLOTH_RUNNER_STATE__STORE": f"{url}-copy"})
    other.run("state", "import", str(home.cwd / "b"), "--yes")
    other.run("state", "verify")
    assert other.run("state", "get", "k7").out == "7" * 300_000 + "\n"
