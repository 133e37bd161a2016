"""Why: what a call does rests on what the calls before it have done: programs that change one account change the file
of groups as well, a source brings packages, a package units. All must be planned as they will be met."""

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


SOURCE = 'file.write({dest = "/etc/apt/sources.list.d/own.list", content = "deb [trusted=yes] file:/srv/own ./\\n"})'
OWN = """
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
mkdir -p /srv/own /run/own/DEBIAN /var/lib/apt/periodic
printf 'Package: sloth-own\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: nobody\\nDescription: test\\n' \
    >/run/own/DEBIAN/control
echo level=1 >/run/own/own.conf
dpkg-deb --root-owner-group -b /run/own /srv/own/own.deb >/dev/null
cd /srv/own
apt-ftparchive packages . >Packages
apt-get -qq update
touch /var/lib/apt/periodic/update-success-stamp
"""


def put(machine: Scratch, lines: str, more: str = "") -> None:
    text = f'task({{name = "t", run = function()\n{lines}\nend}})\n{more}\n'
    machine.run("sh", "-c", "cat >/run/home/site.sloth", stdin=text)


def test_a_package_may_be_in_a_source_that_is_added_before(machine: Scratch) -> None:
    machine.run("sh", "-ec", OWN)
    for lines in (
        'pkg({update_cache = true})\npkg("sloth-own")',
        'pkg({name = "sloth-own", update_cache = true, state = "latest"})',
        'pkg({name = "sloth-own", update_cache = true})',
    ):
        put(machine, f"{SOURCE}\n{lines}")
        (planned,) = sloth(machine, "plan", "/run/home/site.sloth")["tasks"]
        assert planned["error"] is None and planned["stopped_at"] is None
        told = [one["line"] for one in planned["actions"] if one["action"] != "none"]
        assert told == list(range(2, 3 + len(lines.splitlines()))), planned["actions"]
    (ran,) = sloth(machine, "run", "/run/home/site.sloth")["tasks"]
    assert told == [one["line"] for one in ran["calls"] if one["changed"]]


BEHIND = """
timezone("Asia/Tokyo")
local own = pkg("sloth-own")
file.line({path = "/own.conf", line = "level=2"})
service({name = "own", state = "stopped", notify = "told"})
file.write({dest = "/srv/mine", content = "mine"})
if WHAT then file.touch("/srv/never") end
"""


def test_what_rests_on_a_package_is_left_open_and_what_does_not_is_planned(machine: Scratch) -> None:
    here = "echo 'deb [trusted=yes] file:/srv/own ./' >/etc/apt/sources.list; apt-get -qq update"
    machine.run("sh", "-ec", f"{OWN}\n{here}")
    for what, ends in (
        ("own.changed", ""),
        ('service({name = "own", enabled = true}).changed', "its changed is not known"),
        (
            'file.line({path = "/own.conf", line = "x", ignore_errors = true}).failed',
            "its failed is not known",
        ),
        ('pcall(service, {name = "own", enabled = true})', ""),
    ):
        told = 'handler({name = "told", run = function() print("told") end})'
        put(machine, BEHIND.replace("WHAT", what), told)
        planned, *handlers = sloth(machine, "plan", "/run/home/site.sloth")["tasks"]
        assert [one["name"] for one in handlers] == ([] if ends else ["told"])
        assert [(one["address"], one["action"]) for one in planned["actions"]][:5] == [
            ("timezone:machine", "update"),
            ("pkg:sloth-own", "create"),
            ("file.line:/own.conf#level=2", "unknown"),
            ("service:own.service", "unknown"),
            ("file:/srv/mine", "create"),
        ]
        assert planned["actions"][2]["reason"] == (
            "it may depend on pkg:sloth-own, which would be done first: there is no file /own.conf"
        )
        assert ends in (planned["stopped_at"] or {"reason": ""})["reason"]
        assert (planned["stopped_at"] is not None) is bool(ends)


def test_what_fails_for_another_reason_is_not_left_open(machine: Scratch) -> None:
    put(machine, 'timezone("Asia/Tokyo")\nfile.line({path = "/own.conf", line = "level=2"})')
    (planned,) = sloth(machine, "plan", "/run/home/site.sloth", code=1)["tasks"]
    assert planned["error"]["message"] == "there is no file /own.conf"


CHECKED_OUT = """
git({repo = "file:///srv/repo", dest = "/srv/app"})
file.write({dest = "/srv/app/local", content = "x"})
cmd({command = "cp a /srv/built", cwd = "/srv/app", inputs = {"a"}, outputs = {"/srv/built"}})
file.line({path = "/srv/app/b", line = "b", validate = "true %s"})
"""


def test_what_git_would_fetch_is_not_taken_for_what_is_there(machine: Scratch) -> None:
    commit = "git -c user.name=a -c user.email=a@example.org -C /srv/repo commit -qam"
    machine.run(
        "sh", "-ec", f"git init -q /srv/repo; cd /srv/repo; echo 1 >a; echo b >b; git add .; {commit} 1"
    )
    put(machine, CHECKED_OUT)
    sloth(machine, "run", "/run/home/site.sloth")
    machine.run("sh", "-ec", f"cd /srv/repo; echo 2 >a; {commit} 2")
    (planned,) = sloth(machine, "plan", "/run/home/site.sloth")["tasks"]
    told = [one["line"] for one in planned["actions"] if one["action"] != "none"]
    assert told == [3, 5, 6] and [one["action"] for one in planned["actions"]][2:] == ["unknown", "unknown"]
    (ran,) = sloth(machine, "run", "/run/home/site.sloth")["tasks"]
    assert [one["line"] for one in ran["calls"] if one["changed"]] == [3, 5]


def test_a_login_that_is_yet_to_be_written_is_left_open(machine: Scratch) -> None:
    text = """
    file.write({dest = "/srv/pass", content = "*:*:*:*:x\\n", mode = "0600"})
    postgresql.database({name = "x", host = "127.0.0.1", port = 1, passfile = "/srv/pass"})
    mysql.database({name = "x", host = "127.0.0.1", port = 1, defaults_file = "/srv/pass"})
    """
    put(machine, text)
    (planned,) = sloth(machine, "plan", "/run/home/site.sloth")["tasks"]
    assert [one["action"] for one in planned["actions"]] == ["create", "unknown", "unknown"]
    machine.run("sh", "-c", "(umask 077; printf '*:*:*:*:x\\n' >/srv/pass)")
    (planned,) = sloth(machine, "plan", "/run/home/site.sloth", code=1)["tasks"]
    assert "Connection refused" in planned["error"]["message"]
