"""Why: programs that change one account change the groups' file as well; the calls after them must be planned as they
will be met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scratch import Scratch, scratch_or_skip, sloth

LINES = """
group({name = "crew", members = {"games"}})
user({name = "ann", groups = {"crew"}, create_home = false})
group({name = "crew", members = {"ann", "games"}})
group({name = "ann"})
user({name = "bob", groups = {"crew"}, append = true, create_home = false})
group({name = "crew", members = {"ann", "bob", "games"}})
user({name = "old", state = "absent"})
group({name = "old", state = "absent"})
group({name = "team", members = {}})
group({name = "gone", state = "absent"})
group({name = "gone", gid = 4400})
user({name = "eve", groups = {"team"}})
group({name = "team", members = {"eve"}})
"""
CHANGED = [True, True, False, False, True, False, True, False, False, True, True, True, False]


@pytest.fixture
def machine(tmp_path: Path) -> Any:
    """A machine with some accounts."""
    with scratch_or_skip(tmp_path) as scratch:
        scratch.run("mkdir", "/run/home")
        yield scratch


def test_memberships_that_follow_from_earlier_calls_are_planned_as_they_are_met(machine: Scratch) -> None:
    machine.run("sh", "-c", "groupadd team; groupadd gone; useradd -G team old; useradd eve")
    before = machine.run("cat", "/etc/passwd", "/etc/group")
    text = f'task({{name = "t", run = function() {LINES} end}})'
    machine.run("sh", "-c", "cat >/run/home/site.sloth", stdin=text)
    plan = sloth(machine, "plan", "/run/home/site.sloth")
    planned = [
        (action["address"], action["action"])
        for task in plan["tasks"]
        for action in task["actions"]
        if action["action"] != "none"
    ]
    assert machine.run("cat", "/etc/passwd", "/etc/group") == before
    (task,) = sloth(machine, "run", "/run/home/site.sloth")["tasks"]
    assert [call["changed"] for call in task["calls"]] == CHANGED
    assert planned == [
        ("group:crew", "create"),
        ("user:ann", "create"),
        ("user:bob", "create"),
        ("group.member:crew/bob", "create"),
        ("user:old", "delete"),
        ("group:gone", "delete"),
        ("group:gone", "create"),
        ("user:eve", "update"),
    ]


MADE = """
group({name = "crew", gid = 4400})
user({name = "ann", group = "crew", uid = 4401})
file.write({dest = "/srv/a", content = "a", owner = "ann", group = "crew"})
file.attributes({path = "/srv/a", owner = "4401", group = "4400"})
ssh_key.authorized({account = "ann", key = "ssh-ed25519 KEY"})
""".replace("KEY", "AAAAC3NzaC1lZDI1NTE5AAAAIKq0mdAp1qJOJH3OUF0Dg2nkBwjI2qyn9Ihtbm0bNrqn a")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ('file.write({dest = "/srv/b", content = "b", owner = "anna"})', "there is no user 'anna'"),
        ('file.directory({path = "/srv", group = "old"})', "there is no group 'old'"),
        ('user({name = "bob", uid = 4401})', "the uid 4401 is that of ann already"),
        ('user({name = "bob", groups = {"crew", "crow"}})', "there is no group 'crow'"),
        ('group({name = "more", gid = 4400})', "the gid 4400 is that of crew already"),
        ('group({name = "crew", state = "absent"})', "it is the primary group of ann"),
        ('user({name = "ann", state = "absent"}) user({name = "ann", uid = 4401, group = "crew"})', ""),
    ],
)
def test_who_will_be_there_is_known_to_the_plan(machine: Scratch, lines: str, why: str) -> None:
    machine.run("sh", "-c", "groupadd old")
    text = f'task({{name = "t", run = function() {MADE} group({{name = "old", state = "absent"}})\n{lines} end}})'
    machine.run("sh", "-c", "cat >/run/home/site.sloth", stdin=text)
    (planned,) = sloth(machine, "plan", "/run/home/site.sloth", code=1 if why else 0)["tasks"]
    (ran,) = sloth(machine, "run", "/run/home/site.sloth", code=1 if why else 0)["tasks"]
    told = [one["line"] for one in planned["actions"] if one["action"] != "none"]
    assert told == [one["line"] for one in ran["calls"] if one["changed"]]
    if why:
        assert planned["error"]["message"] == ran["error"]["message"] and why in ran["error"]["message"]
