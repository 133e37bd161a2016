"""Law: what plan tells is what run does, action by action; then neither has anything to do; plan changes nothing.

Random short task files over a small tree, which holds something already.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import stat
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.program.kit import Home
from tests.program.test_prune_law import calls as others
from tests.program.test_prune_law import world

NAMES = ("a", "b", "d", "d/x", "d/e", "d/e/y", "l", "dl", "dl/x", "dl/e/y")
NOBODY = (', owner = "nosuch"', ', group = "nosuch"')
CONTENTS = ("", "one\n", "two\n")


def _options(draw: st.DrawFn, *, file: bool) -> str:
    out = ""
    mode = draw(st.sampled_from((None, "0600", "0644") if file else (None, "0700", "0755")))
    if mode is not None:
        out += f', mode = "{mode}"'
    return out + draw(
        st.sampled_from(("", "", f', owner = "{os.geteuid()}"', f', group = "{os.getegid()}"', *NOBODY))
    )


@st.composite
def calls(draw: st.DrawFn) -> str:
    """One module call, as a line of Lua."""
    name = draw(st.sampled_from(NAMES))
    kind = draw(
        st.sampled_from(
            ("write", "write", "copy", "template", "directory", "absent", "cmd", "state", "link", "line")
        )
    )
    more = (
        f", delegate_to = {json.dumps(draw(st.sampled_from(('here', 'local'))))}"
        if draw(st.booleans())
        else ""
    )
    if kind == "write":
        more += _options(draw, file=True)
        content = json.dumps(draw(st.sampled_from(CONTENTS)))
        return f'file.write({{dest = "ROOT/{name}", content = {content}{more}}})'
    if kind in ("copy", "template"):
        more += _options(draw, file=True)
        return f'file.{kind}({{dest = "ROOT/{name}", src = "src"{more}}})'
    if kind == "directory":
        return f'file.directory({{path = "ROOT/{name}"{more}{_options(draw, file=False)}}})'
    if kind == "absent":
        recursive = draw(st.sampled_from(("", ", recursive = true")))
        return f'file.absent({{path = "ROOT/{name}"{more}{recursive}}})'
    if kind == "link":
        target = draw(st.sampled_from(("a", "d", "ROOT/d", "e", "none")))
        return f'file.link({{path = "ROOT/{name}", target = "{target}", replace = true{more}}})'
    if kind == "line":
        return f'file.line({{path = "ROOT/{name}", line = "one", ignore_errors = true{more}}})'
    if kind == "cmd":
        path = f"ROOT/c/{len(name)}"
        return f'cmd({{command = "mkdir -p ROOT/c && touch {path}", creates = "{path}"{more}}})'
    return f'state.set("k", {json.dumps(name)})'


def tree(root: Path) -> dict[str, object]:
    """All that a look at a tree can tell, times of access apart."""
    found: dict[str, object] = {}
    for path in sorted([root, *root.rglob("*")]):
        if path.name.endswith(("-shm", "-wal")):
            continue
        status = path.lstat()
        content: object = str(path.readlink()) if path.is_symlink() else None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        moved = status.st_mtime_ns if not stat.S_ISDIR(status.st_mode) else 0
        found[str(path.relative_to(root))] = (status.st_mode, status.st_ino, moved, content)
    return found


def would(plan: Any) -> list[int]:
    """The lines of a plan that change something, each once."""
    changes = [a["line"] for task in plan["tasks"] for a in task["actions"] if a["action"] != "none"]
    return list(dict.fromkeys(changes))


def sure(plan: Any) -> list[int]:
    """The same, up to the first of which that is not known."""
    (task,) = plan["tasks"]
    known = list(takewhile(lambda action: action["action"] != "unknown", task["actions"]))
    return would({"tasks": [{"actions": known}]})


def check(home: Home, root: Path, lines: list[str]) -> None:
    body = "\n".join(lines)
    home.file("site.sloth", f'task({{name = "t", run = function()\n{body}\nend}})'.replace("ROOT", str(root)))
    before = tree(home.folder)
    said = home.run("plan", "site.sloth", "-o", "json", "--detailed-exitcode", code=None)
    assert tree(home.folder) == before, "plan changes nothing"
    plan = said.json
    ran = home.run("run", "site.sloth", "-o", "json", code=None)
    if said.code == 1:
        assert ran.code == 1, (plan, ran.out)
        return
    done = [call["line"] for task in ran.json["tasks"] for call in task["calls"] if call["changed"]]
    if not plan["complete"]:  # whatever a command that makes things would make
        assert said.code == 2
        assert done[: len(sure(plan))] == sure(plan)
        return
    assert ran.code == 0, (plan, ran.out)
    assert would(plan) == done, plan
    assert (said.code == 2) == bool(done or plan["summary"]["state"])


def test_plan_is_what_run_does(soak: bool) -> None:
    @settings(max_examples=300 if soak else 20)
    @given(st.lists(calls() | others(), min_size=1, max_size=5))
    def law(lines: list[str]) -> None:
        folder = Path(tempfile.mkdtemp())
        try:
            home = world(folder)
            root = home.cwd / "t"
            (root / "dl").symlink_to("d")
            home.file("sloth.toml", '[agents]\nhere = "local://"\n')
            check(home, root, lines)
            check(home, root, lines)
        finally:
            shutil.rmtree(folder)

    law()


def test_a_plan_knows_whose_things_are_that_are_made(tmp_path: Path) -> None:
    home = Home(tmp_path)
    root = home.cwd / "t"
    root.mkdir()
    home.file("sloth.toml", '[agents]\nhere = "local://"\n')
    user, group = pwd.getpwuid(os.geteuid()).pw_name, os.getegid()
    lines = [
        'file.write({dest = "ROOT/a", content = "one"})',
        f'file.write({{dest = "ROOT/a", content = "one", owner = "{os.geteuid()}", group = "{group}"}})',
        f'file.attributes({{path = "ROOT/a", owner = "{user}"}})',
        'file.directory({path = "ROOT/d"})',
        f'file.directory({{path = "ROOT/d", owner = "{user}", group = "{group}", delegate_to = "here"}})',
        'file.link({path = "ROOT/l", target = "a"})',
        f'file.link({{path = "ROOT/l", target = "a", owner = "{user}"}})',
    ]
    check(home, root, lines)


def test_an_owner_whom_a_command_may_make_before_is_not_known(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.file(
        "site.sloth",
        f'''task({{name = "t", run = function()
cmd({{command = "touch {home.cwd}/c", creates = "{home.cwd}/c"}})
file.write({{dest = "{home.cwd}/a", content = "", owner = "nosuch"}})
file.write({{dest = "{home.cwd}/b", content = ""}})
end}})''',
    )
    plan = home.run("plan", "site.sloth", "-o", "json").json
    _, owned, after = plan["tasks"][0]["actions"]
    assert (owned["action"], after["action"], plan["complete"]) == ("unknown", "create", False)
    assert owned["reason"].startswith("there is no user 'nosuch' on this machine, unless `touch ")
    assert home.run("run", "site.sloth", code=1)


def test_a_folder_of_which_the_mode_changes_first_holds_what_it_holds(tmp_path: Path) -> None:
    home = Home(tmp_path)
    root = home.cwd / "t"
    (root / "d").mkdir(parents=True)
    (home.cwd / "src").mkdir()
    (root / "d" / "theirs").touch()
    mode = 'file.directory({path = "ROOT/d", mode = "0700"})'
    for line in ('file.absent({path = "ROOT/d"})', 'file.copy({dest = "ROOT/d", src = "src", purge = true})'):
        (root / "d").chmod(0o755)
        check(home, root, [mode, line])
    assert not any((root / "d").iterdir())
