"""Why: a list of machines is kept by commands, by hand and by programs; each finds what the others wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.agents_file import added, removed
from sloth_runner.errors import BadConfig
from tests.cli.kit import Cli
from tests.cli.schema import check

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True)
TABLES = st.fixed_dictionaries(
    {"url": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)},
    optional={
        "groups": st.lists(NAMES, max_size=3),
        "values": st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5),
            st.recursive(
                st.booleans()
                | st.integers(-(1 << 60), 1 << 60)
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), inner
                    )
                ),
                max_leaves=4,
            ),
            max_size=3,
        ),
    },
)


@given(st.dictionaries(NAMES, TABLES, max_size=4), st.data())
def test_what_is_added_is_there_and_what_is_removed_is_not(
    agents: dict[str, Any], data: st.DataObject
) -> None:
    text = ""
    for name, table in agents.items():
        text = added(text, name, table)
    assert tomllib.loads(text).get("agents", {}) == agents
    if agents:
        gone = data.draw(st.sampled_from(sorted(agents)))
        assert tomllib.loads(removed(text, gone)).get("agents", {}) == {
            name: table for name, table in agents.items() if name != gone
        }


def test_lines_of_others_stay() -> None:
    text = (
        '# mine\n[agents]\nweb1 = "ssh://web1" # the old one\ndb = { url = "ssh://db" }\n\n'
        "[groups.web]\nvalues = { a = 1 }\n"
    )
    made = added(text, "web2", {"url": "ssh://web2"})
    assert made.startswith(text)
    assert removed(made, "web2").rstrip() == text.rstrip()
    assert removed(text, "web1") == text.replace('web1 = "ssh://web1" # the old one\n', "")


def test_a_form_that_is_not_understood_is_left_alone() -> None:
    with pytest.raises(BadConfig, match="can't be changed by a command"):
        removed('agents = { web1 = "ssh://web1", web2 = "ssh://web2" }\n', "web1")


def document(cli: Cli, *argv: str, code: int = 0) -> dict[str, Any]:
    result = cli(*argv, "-o", "json")
    assert result.code == code, result.shown()
    found: dict[str, Any] = json.loads(result.out)
    check(found)
    return found


def test_add_show_list_remove(cli: Cli) -> None:
    cli.file(
        "sloth.toml",
        '[agents]\ndb = { url = "ssh://db.example", groups = ["eu"] }\n[groups.eu]\nvalues = {z = 1}\n',
    )
    added_ = document(
        cli,
        "agent",
        "add",
        "web1",
        "ssh://me@web1:2222",
        "--group",
        "eu",
        "--tag",
        "canary",
        "--set",
        "a.b=5",
    )
    assert added_["file"].endswith("/work/agents.toml")
    shown = document(cli, "agent", "show", "web1")
    assert shown["values"] == {"z": 1, "a": {"b": 5}} and shown["tags"] == ["canary"]
    assert "agents.toml:" in shown["origin"]
    rows = {row["name"]: row for row in document(cli, "agent", "list")["agents"]}
    assert sorted(rows) == ["db", "local", "web1"] and rows["web1"]["url"] == "ssh://me@web1:2222"
    again = cli("agent", "add", "web1", "ssh://other")
    assert again.code == 5 and "there is an agent 'web1' already" in again.err
    assert cli("agent", "add", "x", "smoke://x").code == 5
    assert cli("agent", "add", "Bad Name", "ssh://x").code in (5, 64)
    assert cli("agent", "remove", "db").code == 64, "it stands in sloth.toml"
    assert cli("agent", "remove", "web1").code == 8, "it asks first"
    assert document(cli, "agent", "remove", "web1", "--yes")["name"] == "web1"
    assert cli("agent", "show", "web1").code == 4
    document(cli, "agent", "add", "everywhere", "ssh://e", "--home")
    assert (cli.home / "agents.toml").exists()


def test_groups_tags_and_patterns_choose(cli: Cli) -> None:
    cli.file(
        "agents.toml",
        '[agents]\nw1 = { url = "local://", groups = ["web"], tags = ["canary"] }\n'
        'w2 = { url = "local://", groups = ["web"] }\nd1 = "local://"\n',
    )
    cli.file("t.sloth", 'task({name = "t", run = function(this) print("on " .. this.agent) end})')

    def on(*argv: str) -> list[str]:
        return [
            line.rpartition("on ")[2]
            for line in cli.ok("run", "t.sloth", *argv).splitlines()
            if "| on " in line
        ]

    assert on("--delegate-to", "@web") == ["w1", "w2"]
    assert on("--delegate-to", "@canary,d1") == ["w1", "d1"]
    assert on("--delegate-to", "*,!@canary") == ["d1", "w2"]
    assert on("--delegate-to", "*", "--limit", "@web") == ["w1", "w2"]
    assert on("--delegate-to", "*", "--limit", "w1,w2,!w1") == ["w2"]
    nothing = cli("run", "t.sloth", "--delegate-to", "*", "--limit", "@web,!w*")
    for words in (("--limit", "web"), ("--delegate-to", "canary")):
        named = cli("run", "t.sloth", "--delegate-to", "*", *words)
        assert f"did you mean '@{words[1]}'?" in named.err, named.shown()
    assert nothing.code == 64 and "--limit leaves no agent: '@web,!w*'" in nothing.err


def test_a_command_may_list_agents_once_it_is_trusted(cli: Cli) -> None:
    listed = {
        "agents": {"w1": {"url": "local://", "groups": ["web"]}},
        "groups": {"web": {"values": {"port": 80}}},
    }
    cli.file("list.json", json.dumps(listed))
    cli.file("sloth.toml", '[inventory]\ncommand = "cat list.json"\n')
    cli.file(
        "t.sloth",
        'task({name = "t", delegate_to = "@web", run = function(this) print(this.agent, values.port) end})',
    )
    refused = cli("run", "t.sloth")
    assert refused.code == 5 and "was not trusted yet" in refused.err and "sloth.toml:2" in refused.err
    cli.ok("config", "trust", "--inventory", "--yes")
    assert "| w1  80" in cli.ok("run", "t.sloth")
    assert [row["name"] for row in document(cli, "agent", "list")["agents"]] == ["local", "w1"]
    cli.file("list.json", "{}}")
    assert "prints no JSON" in cli("run", "t.sloth").err
    cli.file("sloth.toml", '[inventory]\ncommand = "echo no >&2; exit 3"\n')
    cli.ok("config", "trust", "--inventory", "--yes")
    failed = cli("run", "t.sloth")
    assert "ended with status 3" in failed.err and "no" in failed.err
    cli.file(
        "agents.toml",
        '[agents]\nown = {url = "local://", groups = ["near"]}\n[groups.near.values]\nport = 1\n',
    )
    task = 'task({name = "t", delegate_to = "own", run = function(this) print(this.agent, values.port) end})'
    cli.file("own.sloth", task)
    assert "| own 1" in cli.ok("run", "own.sloth")
    assert document(cli, "agent", "ping", "own")["agents"][0]["reachable"] is True


@pytest.mark.parametrize("command", [("ping",), ("list", "--check")])
def test_why_an_agent_is_not_reached_is_not_cut_on_a_terminal(cli: Cli, command: tuple[str, ...]) -> None:
    name = "a-machine-with-a-name-that-takes-most-of-the-line"
    cli.file("agents.toml", f'[agents]\n{name} = "ssh://ann@127.0.0.1:1"\n')
    seen = cli("agent", *command, tty=True, columns=80)
    assert seen.code == 6 and f"{name}: ssh://ann@127.0.0.1:1: refuses the connection" in seen.err
    assert "refuses" not in seen.out
    assert "refuses the connection" in cli("agent", *command).out


def test_ping_and_facts(cli: Cli) -> None:
    cli.file("agents.toml", '[agents]\nhere = "local://"\nthere = "ssh://127.0.0.1:1"\n')
    found = document(cli, "agent", "ping", code=6)
    rows = {row["agent"]: row for row in found["agents"]}
    assert rows["here"]["reachable"] is True
    assert "refuses the connection" in rows["there"]["problem"] and rows["there"]["next"]
    assert document(cli, "agent", "ping", "here")["agents"][0]["user"]
    facts = document(cli, "agent", "facts", "here", "os", "cpu")
    assert set(facts["facts"]) == {"os", "cpu"}
    assert cli("agent", "facts", "here", "oss").code == 5
    assert cli("agent", "facts", "there").code == 6


def test_not_more_machines_are_asked_at_once_than_a_task_runs_on(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    proxy = tmp_path / "proxy"
    proxy.write_text(f"echo began >> {log}; od -N 4 /dev/zero > /dev/null; echo ended >> {log}\n")
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "config").write_text(f"Host *\n  ProxyCommand sh {proxy}\n")
    cli.file("agents.toml", "[agents]\n" + "".join(f'w{n} = "ssh://w{n}"\n' for n in range(6)))
    found = subprocess.run(
        [sys.executable, "-m", "sloth_runner", "agent", "ping", "-o", "json"],
        env={**os.environ, **cli.environ, "HOME": str(tmp_path / "home"), "SLOTH_RUNNER_RUN__FORKS": "2"},
        cwd=cli.work, stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert found.returncode == 6 and len(json.loads(found.stdout)["agents"]) == 6
    steps = [1 if line == "began" else -1 for line in log.read_text().split()]
    assert len(steps) >= 12 and max(accumulate(steps)) <= 2


def test_a_password_in_an_address_is_shown_nowhere(cli: Cli) -> None:
    for url in ("ssh://u:hunter2@h", "ssh://u:hunter2@h:99999"):
        cli.file("agents.toml", f'[agents]\na = "{url}"\nb = "{url}"\n')
        cli.file("t.sloth", 'task({name = "t", delegate_to = "a", run = function() end})')
        for words in (
            ("agent", "ping"), ("agent", "list"), ("agent", "show", "a"), ("agent", "add", "a", "ssh://h"),
            ("agent", "remove", "a"), ("run", "t.sloth"), ("plan", "t.sloth"), ("agent", "list", "--check"),
        ):  # fmt: skip
            said = cli(*words)
            assert "hunter2" not in said.out + said.err, said.shown()


def test_a_name_with_dots_and_a_group_of_nobody_are_told(cli: Cli) -> None:
    cli.file("agents.toml", '[agents]\nweb1.example.com = "ssh://h"\n')
    said = cli("agent", "list").err
    assert "unknown key" not in said or 'stands in quotes: "web1.example.com" = …' in said
    cli.file(
        "agents.toml", '[groups.webs.values]\na = 1\n[agents]\nw = {url = "local://", groups = ["web"]}\n'
    )
    said = cli("agent", "list").err
    assert "no agent is in the group 'webs'" in said and "did you mean 'web'?" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("web1.example.org", 'add to sloth.toml under [agents]: "web1.example.org" = "ssh://user@host"'),
        ("web1.example.org", "an address is named as ssh://web1.example.org"),
        ("root@10.0.0.5", "an address is named as ssh://root@10.0.0.5"),
        ("web_1", 'add to sloth.toml under [agents]: web_1 = "ssh://user@host"'),
    ],
)
def test_a_machine_that_is_not_known_says_how_to_name_it(cli: Cli, name: str, said: str) -> None:
    cli.file("a.sloth", 'task({ name = "a", run = function() end })')
    assert said in cli("run", "a.sloth", "--delegate-to", name).err


@pytest.mark.parametrize(
    ("other", "one"),
    [
        ("ssh://root@web.example:22/", True),
        ("ssh://root@Web.example", True),
        ("ssh://deploy@web.example", False),
        ("ssh://web.example", False),
        ("ssh://root@web.example:2222", False),
        ("ssh://root@web.example.org", False),
        ("grpc://web.example:7443", False),
    ],
)
def test_two_names_for_one_machine_are_told(cli: Cli, other: str, one: bool) -> None:
    cli.file("agents.toml", '[agents]\na = "ssh://root@web.example"\n')
    told = [cli("agent", "add", "b", other), cli("agent", "list"), cli("agent", "list", "-o", "json")]
    assert [("a and b are one machine" in result.err) for result in told] == [one] * 3
    cli.file("t.sloth", 'task({name = "t", run_if = function() return false end, run = function() end})')
    assert document(cli, "plan", "t.sloth")["warnings"] == [], "only what a plan is of is looked at"


def test_this_machine_may_have_several_names_and_one_may_be_in_a_place_of_its_own(cli: Cli) -> None:
    host = 'host = "ssh://h"\nbox = {url = "ssh://h", python = "/box/python"}\n'
    cli.file("agents.toml", f'[agents]\nhere = "local://"\nthere = "local://"\n{host}')
    assert "one machine" not in cli("agent", "list").err


def test_a_run_and_a_plan_tell_of_another_name_of_their_target(cli: Cli) -> None:
    cli.file(
        "agents.toml",
        '[agents]\na = "ssh://127.0.0.1:1"\nb = "ssh://127.0.0.1:1/"\nc = "ssh://127.0.0.1:2"\n',
    )
    cli.file("t.sloth", 'task({name = "t", run = function() end})')
    (said,) = document(cli, "plan", "t.sloth", "--delegate-to", "a", code=1)["warnings"]
    assert said.startswith("a and b are one machine (ssh://127.0.0.1:1)")
    assert said in cli("run", "t.sloth", "--delegate-to", "b").out
    assert document(cli, "plan", "t.sloth", "--delegate-to", "c", code=1)["warnings"] == []
    assert "[a] t" in cli("run", "t.sloth", "--delegate-to", "ssh://127.0.0.1:1/").out


def test_another_name_of_the_machine_of_one_call_is_told_once(cli: Cli) -> None:
    cli.file("agents.toml", '[agents]\na = "chroot:///no"\nb = "chroot:///no/"\n')
    call = 'cmd({command = "x", delegate_to = "%s", ignore_errors = true}) '
    body = (call % "a") + (call % "b")
    cli.file("t.sloth", f'task({{name = "t", run = function() {body} end}})')
    for command in ("run", "plan"):
        log = document(cli, command, "t.sloth")["tasks"][0]["log"]
        (said,) = [line["text"] for line in log if "one machine" in line["text"]]
        assert said.startswith("a and b are one machine (chroot:///no)")
    cli("run", "t.sloth", "--delegate-to", "b")
    assert cli("run", "t.sloth", "--delegate-to", "b").out.count("one machine") == 1


def test_a_plan_tells_what_is_amiss_beside_its_tasks(cli: Cli) -> None:
    cli.file("t.sloth", "local x = unset_thing")
    warnings = document(cli, "plan", "t.sloth")["warnings"]
    assert [text.split()[0] for text in warnings] == ["unset_thing", "the"] and "no task" in warnings[1]
    assert "no task" in cli("plan", "t.sloth").err
