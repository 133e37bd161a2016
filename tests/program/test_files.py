"""Why: parts of files are tried as users have them: set in Lua, changed by hand, dropped from the file, pruned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.archives import tar
from tests.modules.kit import make_tree, read_tree
from tests.program.kit import Home

SITE = """
task({name = "site", run = function()
  file.line({path = "ROOT/sshd", regexp = "^#?Port ", line = "Port 2222", backup = true})
  file.block({path = "ROOT/hosts", block = "10.0.0.1 a\\n10.0.0.2 b\\n", insert_before = "^# end"})
  file.set_key({path = "ROOT/app.toml", key = "server.port", value = 8080})
  file.set_key({path = "ROOT/app.yaml", key = {"a", "b.c"}, value = {x = {1, 2}}})
  file.replace({path = "ROOT/app.ini", regexp = "old", replacement = "new"})
  file.link({path = "ROOT/current", target = "releases/1"})
  file.copy({src = "tree", dest = "ROOT/tree", purge = true})
  archive({src = "app.tar", dest = "ROOT/app"})
  local seen = file.stat("ROOT/sshd")
  print(seen.type .. " " .. seen.mode .. " " .. file.checksum("ROOT/tree/a").checksum:sub(1, 4))
  file.fetch({src = "ROOT/hosts", dest = "fetched/hosts"})
end})
"""
SSHD, HOSTS, TOML, YAML = (
    "# ssh\n#Port 22\n",
    "127.0.0.1 localhost\n# end",
    "# app\n[server]\n",
    "# y\na: {z: 1}\n",
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A user with files that others made, too."""
    made = Home(tmp_path / "home")
    root = made.cwd / "t"
    for name, text in {
        "t/sshd": SSHD, "t/hosts": HOSTS, "t/app.toml": TOML, "t/app.yaml": YAML, "t/app.ini": "[a]\nx = old old\n",
        "t/tree/left": "over", "tree/a": "a", "tree/sub/b": "b",
    }.items():  # fmt: skip
        path = made.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (made.cwd / "app.tar").write_bytes(tar({"name": "bin/app", "content": "#!/bin/sh\n", "mode": 0o755}))
    made.file("site.sloth", SITE.replace("ROOT", str(root)))
    return made


def test_parts_of_files_from_plan_to_prune(home: Home) -> None:
    root = home.cwd / "t"
    plan = home.run("plan", "site.sloth", "-o", "json").json
    actions = {action["address"].replace(str(root), ""): action for action in plan["tasks"][0]["actions"]}
    assert "-#Port 22\n+Port 2222" in actions["file.line:/sshd#^#?Port "]["diff"]
    assert actions["file.key:/app.toml#server.port"]["action"] == "create"
    assert actions["file.purge:/tree"]["attributes"] == [{"name": "extra", "before": ["left"], "after": []}]
    assert (root / "sshd").read_text() == SSHD
    said = home.run("run", "site.sloth")
    assert "file 0644 ca97" in said.out + said.err
    assert (root / "sshd").read_text() == "# ssh\nPort 2222\n"
    assert (root / "hosts").read_text().splitlines()[1:5] == [
        "# BEGIN sloth-runner block", "10.0.0.1 a", "10.0.0.2 b", "# END sloth-runner block"
    ]  # fmt: skip
    assert (root / "app.toml").read_text() == "# app\n[server]\nport = 8080\n"
    assert (root / "app.yaml").read_text() == "# y\na: {z: 1, b.c: {x: [1, 2]}}\n"
    assert (root / "app.ini").read_text() == "[a]\nx = new new\n"
    assert sorted(p.name for p in (root / "tree").rglob("*")) == ["a", "b", "sub"]
    assert (root / "app/bin/app").stat().st_mode & 0o777 == 0o755
    assert (home.cwd / "fetched/hosts").read_text() == (root / "hosts").read_text()
    assert [p.read_text() for p in root.glob("sshd.*~")] == [SSHD]
    assert home.run("run", "site.sloth", "-o", "json").json["summary"]["changed"] == 0
    assert home.run("plan", "site.sloth", "--detailed-exitcode").code == 0
    assert home.run("drift", "--detailed-exitcode").code == 0

    (root / "sshd").write_text("# ssh\nPort 99\n# mine\n")
    (root / "tree/stray").write_text("")
    drift = home.run("drift", "--detailed-exitcode", "-o", "json", code=2).json
    rows = {r["address"].replace(str(root), ""): r for r in drift["resources"] if r["status"] != "ok"}
    assert rows["file.line:/sshd#^#?Port "]["attributes"] == [
        {"name": "line", "recorded": "Port 2222", "actual": "Port 99"}
    ]
    assert set(rows) == {"file.line:/sshd#^#?Port ", "file.purge:/tree"}
    home.run("run", "site.sloth")
    assert (root / "sshd").read_text() == "# ssh\nPort 2222\n# mine\n"

    home.file("site.sloth", 'task({name = "other", run = function() end})')
    home.run("prune", "site.sloth", "--yes")
    assert (root / "sshd").read_text() == "# ssh\n#Port 22\n# mine\n"
    assert (root / "hosts").read_text() == HOSTS
    assert (root / "app.toml").read_text() == TOML
    assert (root / "app.yaml").read_text() == YAML
    assert not (root / "current").is_symlink()
    assert not (root / "tree/a").exists()
    assert not (root / "tree/sub").exists()
    assert not (root / "app").exists()


def test_a_file_dropped_from_a_folder_is_pruned(home: Home) -> None:
    root = home.cwd / "t"
    home.file(
        "site.sloth",
        f'task({{name = "t", run = function() file.copy({{src = "tree", dest = "{root}/new"}}) end}})',
    )
    home.run("run", "site.sloth")
    (home.cwd / "tree/a").unlink()
    (root / "new/own").write_text("mine")
    home.run("run", "site.sloth")
    assert (root / "new/a").exists()
    home.run("prune", "site.sloth", "--yes")
    assert sorted(p.name for p in (root / "new").rglob("*")) == ["b", "own", "sub"]


def test_what_finds_nothing_to_do_is_still_wanted(home: Home) -> None:
    root = home.cwd / "t"
    home.file(
        "site.sloth",
        f'''task({{name = "t", run = function()
          for _, name in ipairs({{"one", "two"}}) do
            archive({{src = "app.tar", dest = "{root}/" .. name, creates = "{root}/" .. name .. "/bin/app"}})
          end
        end}})''',
    )
    home.run("run", "site.sloth")
    (root / "two/bin/app").unlink()
    home.run("prune", "site.sloth", "--yes")
    assert (root / "one/bin/app").exists()
    home.run("run", "site.sloth")
    assert (root / "two/bin/app").exists()


IGNORING = """
task({name = "t", run = function()
  local failed = file.write({dest = "ROOT/d", content = "x", ignore_errors = true})
  if failed.failed and failed.code == "E-TASK" then
    file.write({dest = "ROOT/d/x", content = failed.message})
  end
end})
"""


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_fault_in_a_template_names_its_line_there_and_the_call_in_the_task_file(
    home: Home, command: str
) -> None:
    (home.cwd / "page.tmpl").write_text("one\n{{ missing }}\n")
    home.file(
        "t.sloth",
        f'task({{name = "t", run = function()\n  file.write({{dest = "{home.cwd}/out", content = "x"}})\n'
        f'  file.template({{src = "page.tmpl", dest = "{home.cwd}/page"}})\nend}})',
    )
    said = home.run(command, "t.sloth", code=1).out
    assert f"--> {home.cwd}/page.tmpl:2" in said
    assert f"operation: file.template, called at {home.cwd}/t.sloth:3" in said
    assert "unchanged: this call changed nothing" in said


def test_a_failure_that_is_ignored_lets_a_plan_go_on_as_it_does_a_run(home: Home) -> None:
    root = home.cwd / "t"
    (root / "d").mkdir()
    home.file("site.sloth", IGNORING.replace("ROOT", str(root)))
    plan = home.run("plan", "site.sloth", "-o", "json", "--detailed-exitcode", code=2).json
    assert [action["address"] for action in plan["tasks"][0]["actions"]] == [f"file:{root}/d/x"]
    assert "is a folder" in plan["tasks"][0]["actions"][0]["diff"]
    home.run("run", "site.sloth")
    assert "is a folder" in (root / "d" / "x").read_text()
    assert home.run("plan", "site.sloth", "-o", "json", "--detailed-exitcode").json["summary"]["create"] == 0


def test_a_failure_that_cannot_be_foreseen_is_not_ignored(home: Home) -> None:
    """A command would come first, whose effect is not known: whether the call then fails isn't, either."""
    root = home.cwd / "t"
    (root / "d").mkdir()
    home.file(
        "site.sloth", IGNORING.replace("  local", '  cmd("rmdir ROOT/d")\n  local').replace("ROOT", str(root))
    )
    plan = home.run("plan", "site.sloth", "-o", "json", code=None).json
    assert plan["complete"] is False


LINKED: dict[str, tuple[dict[str, Any], str]] = {
    "a file through a link that is new": ({"r2/f": "x"}, """
        file.link({path = "ROOT/cur", target = "ROOT/r2"})
        file.absent("ROOT/cur/f")"""),
    "a line through a link that is new": ({"r2/g": "a\n"}, """
        file.link({path = "ROOT/c2", target = "r2"})
        file.line({path = "ROOT/c2/g", line = "a"})"""),
    "the same content through a link that is new": ({"real/x": "x"}, """
        file.link({path = "ROOT/lnk", target = "real"})
        file.write({dest = "ROOT/lnk/x", content = "x"})"""),
    "a folder in the place of a link": ({"real/x": "x", "lnk": {"link": "real"}}, """
        file.absent("ROOT/lnk")
        file.directory("ROOT/lnk")
        file.write({dest = "ROOT/lnk/x", content = "x"})"""),
    "a link that leads elsewhere then": ({"a/x": "x", "b": {"folder": "0755"}, "lnk": {"link": "a"}}, """
        file.link({path = "ROOT/lnk", target = "b"})
        file.write({dest = "ROOT/lnk/x", content = "x"})"""),
    "a link that leads nowhere": ({"lnk": {"link": "none"}}, """
        file.write({dest = "ROOT/lnk/x", content = "x"})"""),
    "nothing to remove below a link that leads nowhere": ({"lnk": {"link": "none"}}, """
        file.absent("ROOT/lnk/x")"""),
    "nothing to remove below a file": ({"file": "x"}, """
        file.absent("ROOT/file/none")
        file.absent("ROOT/file/none/more")"""),
    "what is made for a link": ({"lnk": {"link": "none"}}, """
        file.directory("ROOT/none")
        file.write({dest = "ROOT/lnk/x", content = "x"})
        file.write({dest = "ROOT/none/x", content = "x"})"""),
}  # fmt: skip


@pytest.mark.parametrize("what", LINKED)
def test_a_plan_goes_where_links_would_lead(home: Home, what: str) -> None:
    tree, calls = LINKED[what]
    root = home.cwd / "linked"
    root.mkdir()
    make_tree(root, tree)
    home.file("site.sloth", f'task({{name = "t", run = function() {calls} end}})'.replace("ROOT", str(root)))
    before = read_tree(root)
    plan = home.run("plan", "site.sloth", "-o", "json", code=None)
    assert read_tree(root) == before
    ran = home.run("run", "site.sloth", "-o", "json", code=None)
    assert plan.code == ran.code, (plan, ran)
    if ran.code == 1:
        assert "lnk is a symbolic link to none, where there is nothing" in plan.out
        assert "lnk is a symbolic link to none, where there is nothing" in ran.out
        assert read_tree(root) == before
        return
    actions = [action for task in plan.json["tasks"] for action in task["actions"]]
    done = [call for task in ran.json["tasks"] for call in task["calls"]]
    assert [one["action"] != "none" for one in actions] == [one["changed"] for one in done]


def test_a_plan_tells_whose_a_thing_would_be_that_goes_again(home: Home) -> None:
    home.file(
        "site.sloth",
        f"""task({{name = "t", run = function()
          file.write({{dest = "{home.cwd}/new", content = "x"}})
          file.absent("{home.cwd}/new")
        end}})""",
    )
    plan = home.run("plan", "site.sloth", "-o", "json").json
    told = {one["name"]: one["before"] for one in plan["tasks"][0]["actions"][1]["attributes"]}
    assert (told["uid"], told["gid"]) == (os.geteuid(), os.getegid())
