"""Why: two agents share what is the cluster's, by whatever way they are reached; exactly one of them leads."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from pwd import getpwuid
from typing import Any

import pytest

from sloth_runner.trust.authority import Authority
from sloth_runner.trust.folder import Folder
from tests.daemon.kit import new_id, serving
from tests.program.kit import Home
from tests.services.sshd import SSHServer

EXAMPLES = Path(__file__).resolve().parents[3] / "shared" / "spec" / "examples"
"""The page that users read; a user's clone has none beside it."""
AGENTS = ("agent1", "agent2")
ROUNDS = 5


class Cluster:
    """Two agents, and a project that knows them."""

    def __init__(self, home: Home, urls: list[str]) -> None:
        self.home = home
        self.remote = not urls[0].startswith("local://")
        lines = [f'{name} = "{url}"' for name, url in zip(AGENTS, urls, strict=True)]
        self._config = home.file("sloth.toml", "\n".join(["[agents]", *lines, ""]))

    def run(self, file: Path) -> dict[str, Any]:
        """The document of a run that must succeed."""
        argv = ("--config", str(self._config), "run", str(file), "-o", "json")
        found: dict[str, Any] = self.home.run(*argv).json
        for target in found["targets"]:
            assert (target["traffic"] is not None) is self.remote
        return found

    def values(self, key: str) -> list[Any]:
        """All values that a shared key has had."""
        rows = self.home.run("state", "history", key, "--shared", "-o", "json").json["revisions"]
        return [row["new"] for row in reversed(rows)]


def local(home: Home, folder: Path, held: ExitStack) -> list[str]:
    """This machine, under two names."""
    return ["local://", "local://"]


def ssh(home: Home, folder: Path, held: ExitStack) -> list[str]:
    """A server for each."""
    urls = []
    for name in AGENTS:
        server = SSHServer(folder / name)
        server.start()
        held.callback(server.stop)
        ssh = home.folder / ".ssh"
        known = (ssh / "known_hosts").read_text() if ssh.exists() else ""
        shutil.copytree(server.home / ".ssh", ssh, dirs_exist_ok=True)
        key = (ssh / "id_ed25519").rename(ssh / name)
        (ssh / "known_hosts").write_text(known + (ssh / "known_hosts").read_text())
        with (ssh / "config").open("a") as config:
            config.write(f"Host {name}\n HostName 127.0.0.1\n Port {server.port}\n")
            config.write(f" User {getpwuid(os.getuid()).pw_name}\n IdentityFile {key}\n")
        urls.append(f"ssh://{name}")
    return urls


def grpc(home: Home, folder: Path, held: ExitStack) -> list[str]:
    """A service for each, enrolled by hand."""
    home.run("agent", "ca", "init")
    authority = Authority(Folder(home.folder / ".sloth-runner" / "agents"), time.time, new_id)
    urls = []
    for name in AGENTS:
        own = folder / name / "agent"
        home.run("agent", "keygen", name, "--folder", str(own))
        home.run("agent", "sign", str(own / "agent.csr"))
        urls.append(held.enter_context(serving(own.parent, authority)).url)
    return urls


@pytest.fixture(scope="module", params=[local, ssh, grpc], ids=lambda way: str(way.__name__))
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two agents over that way."""
    folder = tmp_path_factory.mktemp("cluster")
    home = Home(folder / "home")
    with ExitStack() as held:
        yield Cluster(home, request.param(home, folder, held))


def forgotten(cluster: Cluster) -> None:
    """Nobody leads."""
    cluster.home.run("state", "clear", "--shared", "--yes", "--purge", code=None)


def texts(document: dict[str, Any]) -> list[tuple[str, str]]:
    """What was printed, by whom."""
    return [(task["agent"], line["text"]) for task in document["tasks"] for line in task["log"]]


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the page's examples are not beside this clone")
def test_the_pages_example_elects_one_leader(cluster: Cluster) -> None:
    forgotten(cluster)
    file = EXAMPLES / "leader-election.sloth"
    first, second = cluster.run(file), cluster.run(file)
    assert texts(first) == [("agent1", "Became cluster leader"), ("agent2", "Current leader: agent1")]
    assert texts(second) == [("agent2", "Current leader: agent1")]
    assert cluster.values("cluster:leader") == ["agent1"]


def test_of_agents_that_compete_one_leads(cluster: Cluster, tmp_path: Path) -> None:
    forgotten(cluster)
    file = cluster.home.file(
        "compete.sloth",
        """task({ name = "compete", delegate_to = { "agent1", "agent2" }, run = function(this)
          cmd({ command = "true", reads_only = true })
          if state.set_if_absent("cluster:leader", this.agent) then
            file.write({ dest = "%s/" .. this.agent, content = "leads\\n" })
          end
        end })"""
        % (tmp_path / "led"),
    )
    for number in range(ROUNDS):
        found = cluster.run(file)
        assert found["summary"]["ok"] + found["summary"]["changed"] == len(AGENTS)
        assert found["summary"]["changed"] == (1 if number == 0 else 0)
    assert cluster.values("cluster:leader") == [path.name for path in (tmp_path / "led").iterdir()]


def test_of_two_controllers_at_the_same_time_one_elects(cluster: Cluster) -> None:
    forgotten(cluster)
    text = """task({ name = "elect", delegate_to = "%s", run = function(this)
      cmd({ command = "true", reads_only = true })
      state.with_lock("cluster:election", function()
        if not state.exists("cluster:leader") then
          state.set("cluster:leader", this.agent)
          print("Became cluster leader")
        end
      end)
    end })"""
    files = [cluster.home.file(f"{name}.sloth", text % name) for name in AGENTS]
    both = [cluster.home.start("run", str(file), "-o", "json") for file in files]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    leaders = [name for name, (out, _) in zip(AGENTS, said, strict=True) if "Became cluster leader" in out]
    assert len(leaders) == 1 and cluster.values("cluster:leader") == leaders
