"""Why: a task on other machines is a task: it looks, changes, records and tells as it does here, of that machine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.kit import Cli
from tests.cli.schema import check
from tests.services.base import free_port
from tests.services.sshd import SSHServer


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
    """The machine behind all names."""
    server = SSHServer(Path(tmp_path_factory.mktemp("sshd")))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def site(sshd: SSHServer, tmp_path: Path) -> Cli:
    """A project with two web servers, and one that is down."""
    made = Cli(tmp_path)
    made.environ["HOME"] = str(sshd.home)
    made.file(
        "sloth.toml",
        f'[agents]\nweb1 = {{ url = "{sshd.url}", groups = ["web"], values = {{ port = 1 }} }}\n'
        f'web2 = {{ url = "ssh://root@127.0.0.1:{sshd.port}", groups = ["web"] }}\n'
        f'down = {{ url = "ssh://127.0.0.1:{free_port()}", groups = ["all"] }}\n'
        "[groups.web]\nvalues = { port = 80 }\n",
    )
    return made


def document(cli: Cli, *argv: str, code: int = 0) -> dict[str, Any]:
    result = cli(*argv, "-o", "json")
    assert result.code == code, result.shown()
    found: dict[str, Any] = json.loads(result.out)
    check(found)
    return found


def root(tmp_path: Path) -> Path:
    return tmp_path / "target"


def test_a_run_a_second_run_drift_plan_and_prune(site: Cli, tmp_path: Path) -> None:
    site.file("a.txt", "hello\n")
    calls = f"""
      file.copy({{src = "a.txt", dest = "{root(tmp_path)}/" .. this.agent .. "/a.txt", mode = "0640"}})
      file.write({{dest = "{root(tmp_path)}/" .. this.agent .. "/port", content = "port " .. values.port .. "\\n"}})
      state.set("agent", this.agent)
      print(cmd({{command = "pwd", reads_only = true}}).stdout)"""
    site.file("t.sloth", f'task({{name = "t", delegate_to = "@web", run = function(this) {calls} end}})')
    planned = document(site, "plan", "t.sloth")
    assert planned["summary"]["create"] == 4 and not root(tmp_path).exists()
    first = document(site, "run", "t.sloth")
    assert first["summary"] == {"ok": 0, "changed": 2, "failed": 0, "skipped": 0, "state_writes": 2}
    assert (root(tmp_path) / "web1" / "port").read_text() == "port 1\n"
    assert (root(tmp_path) / "web2" / "port").read_text() == "port 80\n"
    assert (root(tmp_path) / "web2" / "a.txt").stat().st_mode & 0o777 == 0o640
    second = document(site, "run", "t.sloth")
    assert second["summary"]["changed"] == 0 and second["summary"]["ok"] == 2
    assert all(target["traffic"]["round_trips"] <= 4 for target in second["targets"]), second["targets"]
    logged = [line["text"].strip() for task in second["tasks"] for line in task["log"]]
    assert logged and all("there" in line for line in logged if line), "cmd starts in the login's home"
    assert site.ok("state", "get", "agent", "--agent", "web2").strip() == "web2"
    assert document(site, "plan", "t.sloth")["summary"]["create"] == 0
    (root(tmp_path) / "web1" / "port").write_text("other\n")
    drifted = document(site, "drift")
    assert [(row["agent"], row["status"]) for row in drifted["resources"] if row["status"] != "ok"] == [
        ("web1", "drifted")
    ]
    document(site, "run", "t.sloth")
    site.file("t.sloth", 'task({name = "other", delegate_to = "@web", run = function() end})')
    pruned = document(site, "prune", "t.sloth", "--yes")
    assert pruned["summary"]["remove"] == 4
    assert not root(tmp_path).exists() or list(root(tmp_path).rglob("*.txt")) == []


def test_one_that_is_down_holds_only_itself(site: Cli) -> None:
    site.file(
        "t.sloth",
        'task({name = "a", delegate_to = {"web1", "down", "web2"}, run = function(this) print(facts.os.id) end})\n'
        'task({name = "b", depends_on = "a", delegate_to = {"web1", "down", "web2"}, run = function() end})',
    )
    found = document(site, "run", "t.sloth", code=6)
    assert [(task["name"], task["agent"], task["status"]) for task in found["tasks"]] == [
        ("a", "web1", "ok"), ("a", "down", "unreachable"), ("a", "web2", "ok"),
        ("b", "web1", "ok"), ("b", "down", "skipped"), ("b", "web2", "ok"),
    ]  # fmt: skip
    assert found["tasks"][1]["error"]["code"] == "E-UNREACHABLE"
    targets = {target["agent"]: target for target in found["targets"]}
    assert targets["down"]["unreachable"] and not targets["web1"]["unreachable"]
    assert targets["web2"]["summary"]["ok"] == 2


def test_a_call_may_go_elsewhere_and_to_many(site: Cli, tmp_path: Path) -> None:
    path = f"{root(tmp_path)}/x"
    site.file(
        "t.sloth",
        f"""task({{name = "t", run = function(this)
          local one = cmd({{command = "echo here", delegate_to = "web1", reads_only = true}})
          print(this.agent, one.stdout)
          local all = file.write({{dest = "{path}", content = "x", delegate_to = "@web"}})
          print(all.changed, all.results.web1.changed or all.results.web2.changed)
          local failed = cmd({{command = "exit 3", delegate_to = {{"web1", "web2"}}, ignore_errors = true}})
          print(failed.results.web1.failed, failed.results.web2.code)
          local ok, err = pcall(cmd, {{command = "true", delegate_to = {{"web1", "down"}}}})
          print(ok, err.message)
        end}})""",
    )
    out = site.ok("run", "t.sloth")
    assert "local   here" in out and "true    true" in out and "true    E-CMD-EXIT" in out
    assert "cmd failed on 1 of 2 agents: down: ssh://root@127.0.0.1" in out, out
    assert (root(tmp_path) / "x").read_text() == "x"
    assert document(site, "plan", "t.sloth")["tasks"][0]["status"] in ("planned", "unknown")


def test_an_address_will_do(site: Cli, sshd: SSHServer) -> None:
    site.file(
        "t.sloth",
        f'task({{name = "t", delegate_to = "ssh://root@127.0.0.1:{sshd.port}", run = function() end}})',
    )
    assert document(site, "run", "t.sloth")["tasks"][0]["agent"] == "web2", "it has a name"
    site.file("sloth.toml", "")
    assert document(site, "run", "t.sloth")["tasks"][0]["agent"] == f"127.0.0.1-{sshd.port}"


def test_a_host_key_that_is_not_known_is_told_in_full(site: Cli, sshd: SSHServer, tmp_path: Path) -> None:
    shutil.copytree(sshd.home, tmp_path / "stranger")
    (tmp_path / "stranger" / ".ssh" / "known_hosts").unlink()
    site.environ["HOME"] = str(tmp_path / "stranger")
    site.file("t.sloth", 'task({name = "t", delegate_to = "web1", run = function() end})')
    result = site("run", "t.sloth")
    assert result.code == 6 and "its host key is not known: SHA256:" in result.err + result.out
    assert ">> " in result.err + result.out


def test_drift_says_why_a_machine_was_not_looked_at(site: Cli, sshd: SSHServer, tmp_path: Path) -> None:
    call = f'file.write({{dest = "{tmp_path}/f", content = "1"}})'
    site.file("t.sloth", f'task({{name = "t", delegate_to = "web1", run = function() {call} end}})')
    document(site, "run", "t.sloth")
    site.environ["HOME"] = str(tmp_path)
    found = document(site, "drift", code=6)
    (problem,) = found["problems"]
    assert found["unreachable"] == [problem["agent"]] == ["web1"]
    assert "its host key is not known" in problem["problem"]
    shown = site("drift").out
    assert problem["problem"] in shown and all(line in shown for line in problem["next"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act in another root")
def test_a_system_in_a_folder(site: Cli) -> None:
    site.file("sloth.toml", '[agents]\nimage = "chroot:///"\n')
    assert "the absolute path of a folder is needed" in site("agent", "ping").out
    site.file("sloth.toml", '[agents]\nimage = "chroot:///proc/self/root"\nnone = "chroot:///no/such"\n')
    site.file(
        "t.sloth", 'task({name = "t", delegate_to = "image", run = function() print(cmd("pwd").stdout) end})'
    )
    assert "| /root" in site.ok("run", "t.sloth")
    assert "there is no such folder" in site("agent", "ping", "none").out


def test_a_task_knows_where_its_commands_start_and_a_workflow_how_all_ended(
    site: Cli, tmp_path: Path
) -> None:
    site.file(
        "t.sloth",
        f"""
        local function here(this)
          state.set("start", cmd({{command = "pwd -P", reads_only = true}}).stdout)
          state.set("said", cmd({{command = "cd " .. this.workdir .. " && pwd -P", reads_only = true}}).stdout)
        end
        task({{name = "near", run = here}})
        task({{name = "far", delegate_to = "web1", run = here}})
        task({{name = "told", delegate_to = "web1", workdir = "{tmp_path}", run = here}})
        task({{name = "both", delegate_to = "@web", depends_on = {{"near", "far", "told"}}, run = function() end}})
        workflow.define("w", {{on_complete = function(ok, ended)
          print(json.encode(ended))
        end}})
        """,
    )
    for name, agent in (("near", "local"), ("far", "web1"), ("told", "web1")):
        assert site("run", "t.sloth", "--task", name).code == 0
        start, said = (site.ok("state", "get", key, "--agent", agent) for key in ("start", "said"))
        assert start == said
    assert start.strip() == "/TMP"
    lines = [line for line in site.ok("run", "t.sloth").splitlines() if "{" in line]
    ended = {"both": {"web1": "ok", "web2": "ok"}, "far": "ok", "near": "ok", "told": "ok"}
    assert [json.loads(line[line.index("{") :]) for line in lines] == [ended]


def test_more_machines_than_a_shell_lets_files_be_open(site: Cli, sshd: SSHServer) -> None:
    agents = "".join(
        f'n{n} = {{url = "ssh://127.0.0.1:{sshd.port}", python = "{"/." * n}{sys.executable}", groups = ["all"]}}\n'
        for n in range(20)
    )
    site.file("sloth.toml", f"[agents]\n{agents}")
    site.file("t.sloth", 'task({name = "t", delegate_to = "@all", run = function() end})')
    words = shlex.join([sys.executable, "-m", "sloth_runner", "run", "-q", str(site.work / "t.sloth")])

    found = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -Sn 32; exec {words}"],
        env={**os.environ, **site.environ}, cwd=site.work, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.stdout.startswith("20 ok, 0 changed, 0 failed"), found
