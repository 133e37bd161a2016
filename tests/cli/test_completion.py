"""Shells are told what may stand at the cursor: what is there, by the words before it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.cli.kit import Cli

SITE = """
print("said while loading")
task({name = "install", tags = {"web", "slow"}, run = function() state.with_lock("deploy", function() end) end})
task({name = "inspect", tags = {"web"}, run = function() file.write({dest = "PLACE", content = "x"}) end})
workflow.define("w", {})
"""
AGENTS = """
[agents]
web1 = "local://"
[agents.db1]
url = "local://"
groups = ["databases"]
"""


def answers(cli: Cli, shell: str, words: str, at: str) -> list[str]:
    """What the program tells a shell that asks."""
    environ = {"_SLOTH_RUNNER_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": at}
    return cli(environ=environ).out.splitlines()


def plain(cli: Cli, *words: str) -> list[str]:
    """What zsh is offered for the last of these words; "FILES": names of files."""
    line = " ".join(("sloth-runner", *words))
    found = answers(cli, "zsh", line, str(len(words)))
    return ["FILES" if kind == "file" else value for kind, value in zip(found[::3], found[1::3], strict=True)]


@pytest.fixture
def used(cli: Cli) -> Cli:
    """After a run of SITE."""
    cli.file("site.sloth", SITE.replace("PLACE", str(cli.folder / "made")))
    cli.file("sloth.toml", AGENTS)
    cli.ok("run", "site.sloth")
    return cli


def test_completion_knows_keys_and_agents(filled: Cli) -> None:
    filled.ok("state", "set", "a", "1", "--shared")
    assert answers(filled, "bash", "sloth-runner sta", "1") == ["plain,state", "plain,stack"]
    assert answers(filled, "bash", "sloth-runner state show dep", "3") == ["plain,deployment:version"]
    assert answers(filled, "bash", "sloth-runner state show deployment : ve", "5") == ["plain,version"]
    assert answers(filled, "fish", "sloth-runner state get config", "config")[0] == "plain,config:limits"
    assert answers(filled, "zsh", "sloth-runner state list --agent l", "4")[1] == "local"
    for shell in ("bash", "zsh", "fish"):
        assert "_SLOTH_RUNNER_COMPLETE" in filled.ok("completion", shell)


@pytest.mark.parametrize("command", ["run", "plan", "prune"])
def test_a_task_file_is_a_file_until_one_is_given(used: Cli, command: str) -> None:
    assert plain(used, command, "si") == ["FILES"]
    assert plain(used, command, "--file", "site.sloth", "") == ["w"]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["run", "site.sloth", "--task", "in"], ["install", "inspect"]),
        (["run", "--file", "site.sloth", "--task", "ins"], ["install", "inspect"]),
        (["plan", "site.sloth", "--tags", ""], ["slow", "web"]),
        (["plan", "site.sloth", "--skip-tags", "web,s"], ["web,slow"]),
        (["run", "site.sloth", "--limit", ""], ["local", "db1", "web1", "@databases"]),
        (["run", "site.sloth", "--delegate-to", "@"], ["@databases"]),
        (["run", "--task", "in"], []),
        (["run", "missing.sloth", "--task", "in"], []),
        (["stack", "graph", ""], ["w"]),
        (["runs", "list", "--stack", ""], ["w"]),
        (["drift", "fi"], ["file:/TMP/made"]),
        (["resource", "show", "f"], ["file:/TMP/made"]),
        (["explain", "E-LOCK-H"], ["E-LOCK-HELD"]),
    ],
)
def test_what_is_there_is_offered(used: Cli, words: Sequence[str], wanted: list[str]) -> None:
    assert plain(used, *words) == wanted


@pytest.mark.parametrize("words", [["runs", "show"], ["runs", "logs"], ["run", "site.sloth", "--resume"]])
def test_runs_are_offered_the_newest_first(used: Cli, words: list[str]) -> None:
    found = plain(used, *words, "")
    assert found[0] == "last"
    assert [json.loads(used.ok("runs", "list", "-o", "json"))["runs"][0]["run"]] == found[1:]


def test_locks_and_checkpoints_are_offered(used: Cli) -> None:
    used.ok("state", "set", "a", "1")
    used.ok("state", "tag", "monday")
    assert plain(used, "state", "tag", "m") == ["monday"]
    assert plain(used, "state", "rollback", "--to-tag", "") == ["monday"]
    assert plain(used, "lock", "show", "") == []
    script = 'task({name = "t", run = function() state.lock("held", "me", "1h", {keep = true}) end})'
    used.file("lock.sloth", script)
    used.ok("run", "lock.sloth")
    assert plain(used, "lock", "show", "") == ["held"]
    assert plain(used, "lock", "break", "h") == ["held"]


def test_loading_a_file_to_answer_says_nothing(used: Cli) -> None:
    used.file("broken.sloth", "task({name = ")
    for name in ("site.sloth", "broken.sloth"):
        environ = {
            "_SLOTH_RUNNER_COMPLETE": "zsh_complete",
            "COMP_WORDS": f"sloth-runner run {name} --task x",
            "COMP_CWORD": "4",
        }
        result = used(environ=environ)
        assert (result.code, result.out, result.err) == (0, "", "")
