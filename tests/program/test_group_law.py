"""Law: that new files wait for each other shows in nothing but time. The same task file does the same, call by call,
where none of them may wait, since the process may have too few files open: results, output, tree, ledger.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.plain import Any
from sloth_runner.state.layout import LEDGER, prefix_of
from sloth_runner.state.ledger_records import decode
from tests.program.kit import PROGRAM, Home, Said

NAMES = ("a", "b", "c", "d/x", "d/y", "dl/x", "l", "new/x", "a/x", "d")
FEW = 31
"""Files that a process may have open in which no file waits."""


def _path(name: str) -> str:
    return json.dumps(f"ROOT/{name}")


names = st.sampled_from(NAMES).map(_path)
modes = st.sampled_from(("", ', mode = "0600"', ', mode = "0644"', ", follow = true", ', notify = "told"'))
contents = st.sampled_from(("", "one\n", "two\n")).map(json.dumps)
sources = st.sampled_from(('"src"', '"tree"', *map(_path, ("a", "d/x", "d"))))
writes = st.builds("file.write({{dest = {}, content = {}{}}})".format, names, contents, modes)
copies = st.builds("file.copy({{dest = {}, src = {}{}}})".format, names, sources, modes)
others = st.one_of(
    st.builds("file.line({{path = {}, line = 'one'}})".format, names),
    st.builds("file.absent({{path = {}, recursive = true}})".format, names),
    st.builds("file.stat({{path = {}}})".format, names),
    st.builds("file.template({{dest = {}, src = 'src'}})".format, names),
    st.builds('cmd({{command = "cat " .. {} .. " 2>/dev/null", check = false}})'.format, names),
    st.builds("file.directory({{path = {}}})".format, names),
)
calls = st.one_of(writes, writes, copies, others)
steps = st.one_of(
    calls.map("said({0})".format),
    calls.map("said(({0}))".format),
    calls.map("tried(function() return {0} end)".format),
    names.map("looked({0})".format),
    st.just('state.set("k", 1)'),
    st.just('error("stop")'),
    st.builds(
        "parallel({{function() said({}) said({}) end, function() said({}) end}})".format,
        writes,
        writes,
        writes,
    ),
)
TASKS = """
handler({ name = "told", run = function() print("told") end })
local function said(result)
  print(result.changed, result.message, result.stdout, result.exists, result.backup)
end
local function tried(call)
  local ok, result = pcall(call)
  if ok then said(result) else print("failed", result.code, result.message) end
end
local function looked(path)
  local file = io.open(path)
  if file then print(path, file:read("a")) file:close() else print(path, "nothing") end
end
task({ name = "t", run = function()
STEPS
end })
"""


def few(home: Home, *args: str) -> Said:
    """Run the program where no file waits."""
    argv = ["sh", "-c", f'ulimit -n {FEW}; exec "$@"', "sh", *PROGRAM, *args]
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=home.env,
        cwd=home.cwd,
        timeout=120,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def tree(root: Path) -> dict[str, object]:
    """What is there: kinds, modes, contents, where links lead."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = str(path.readlink()) if path.is_symlink() else None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), content)
    return found


def ledger(home: Home) -> list[str]:
    """What is remembered, but for times and names of runs, and what only makes looking cheaper: whether a stamp can
    be trusted yet is a matter of time, and so is which of two calls of the same is the last that was recorded."""
    app = home.app()
    try:
        entries = [decode(entry.value) for entry in app.store().scan(prefix_of("local", LEDGER))]
    finally:
        app.close()
    ranks = {order: rank for rank, order in enumerate(sorted(entry.order for entry in entries))}
    plain = [
        entry._replace(
            stack="",
            time=0.0,
            by=("", "", 0, "", entry.by[4]),
            order=float(ranks[entry.order]),
            seen="",
            call="",
            site=(),
            line=None,
        )
        for entry in entries
    ]
    return [repr(entry) for entry in plain]


def told(said: Said) -> Any:
    """What a run says of its calls, in order: branches of parallel may take turns otherwise."""
    document = said.json
    rows: list[Any] = []
    for task in document["tasks"]:
        error = task["error"] or {}
        rows.append((task["status"], error.get("code"), error.get("message"), error.get("line")))
        rows += sorted((c["line"], c["module"], c["changed"], c["message"], c["diff"]) for c in task["calls"])
        rows += sorted(line["text"] for line in task["log"])
    return said.code, document["summary"], rows


def twin(folder: Path, text: str) -> tuple[Home, Path]:
    home = Home(folder)
    root = home.cwd / "t"
    (root / "d").mkdir(parents=True)
    (root / "dl").symlink_to("d")
    (root / "l").symlink_to("c")
    (root / "b").write_text("one\n")
    home.file("src", "source\n")
    (home.cwd / "tree").mkdir()
    (home.cwd / "tree" / "x").write_text("in the tree\n")
    home.file("site.sloth", text.replace("ROOT", str(root)))
    return home, root


def check(folder: Path, text: str) -> None:
    (one, root), (other, there) = twin(folder / "1", text), twin(folder / "2", text)
    for _ in range(2):
        waited = one.run("run", "site.sloth", "-o", "json", code=None)
        direct = few(other, "run", "site.sloth", "-o", "json")
        assert _plain(told(waited), root) == _plain(told(direct), there), text
        assert tree(root) == tree(there), text
        assert _plain(ledger(one), root) == _plain(ledger(other), there), text


def _plain(found: Any, root: Path) -> Any:
    return json.loads(re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", "RUN", json.dumps(found).replace(str(root), "ROOT")))


def test_that_files_wait_shows_in_nothing_but_time(soak: bool) -> None:
    @settings(max_examples=300 if soak else 15)
    @given(st.lists(steps, min_size=2, max_size=8))
    def law(lines: list[str]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            check(folder, TASKS.replace("STEPS", "\n".join(lines)))
        finally:
            shutil.rmtree(folder)

    law()


def test_others_see_what_was_made_while_its_task_computes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = home.cwd / "made"
    body = f'file.write({{dest = "{made}", content = "x"}}) while true do end'
    home.file("t.sloth", f'task({{name = "t", run = function() {body} end}})')
    with home.start("run", "t.sloth") as process:
        while not made.exists() and process.poll() is None:
            os.sched_yield()
        assert process.poll() is None and made.read_text() == "x"
        process.kill()
        process.communicate()
