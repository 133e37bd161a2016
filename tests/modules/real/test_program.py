"""Why: the modules of a machine's set-up are used as users do: in a task file, planned, run, looked after, pruned."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scratch import Scratch, scratch_or_skip, sloth

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAtTjiU0PwSfWGyIo6p8Trxh2xWm1m7ACjMjREPX1y+t"
WHOLE = f"""
task({{name = "machine", run = function()
  group({{name = "crew", gid = 4400}})
  user({{name = "ann", uid = 4321, groups = {{"crew"}}, append = true, create_home = false, shell = "/bin/sh"}})
  ssh_key.authorized({{account = "root", key = "{KEY} ann", options = "restrict"}})
  ssh_key.known_host({{name = "git.example", key = "{KEY}"}})
  sudoers({{name = "crew", content = "%crew ALL=(root) NOPASSWD: /bin/true"}})
  cron({{name = "tidy", job = "true", special = "daily", file = "tidy"}})
  cron({{name = "tidy", job = "true", minute = 5, account = "games"}})
  hosts({{ip = "10.0.0.5", name = {{"db.example", "db"}}}})
  hostname("web1")
  timezone("Asia/Tokyo")
  mount({{path = "/srv/data", src = "tmpfs", fstype = "tmpfs", options = "size=1m"}})
  sysctl({{name = "net.ipv4.ip_forward", value = 1}})
  systemd.unit({{name = "tick", notify = "again", content = [[
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=basic.target
]]}})
  service({{name = "tick", state = "running", enabled = true}})
end}})
handler({{name = "again", run = function() service.restart("tick") end}})
"""
PROBE = """
cat /etc/passwd /etc/group /etc/hosts /etc/fstab /etc/hostname /etc/timezone; hostname; readlink /etc/localtime
find /etc/sudoers.d /etc/cron.d /root/.ssh /etc/ssh /etc/sysctl.d /etc/systemd/system /srv | sort
crontab -u games -l; cat /proc/sys/net/ipv4/ip_forward; grep -c /srv/data /proc/self/mountinfo
systemctl is-active tick; systemctl is-enabled tick; true
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A machine that runs systemd."""
    with scratch_or_skip(tmp_path_factory.mktemp("program"), systemd=True) as scratch:
        scratch.run("mkdir", "/run/home")
        yield scratch


def put(machine: Scratch, text: str) -> None:
    machine.run("sh", "-c", "cat >/run/home/site.sloth", stdin=text)


def test_a_machine_is_set_up_from_a_file_and_left_as_it_was(machine: Scratch) -> None:
    before = machine.run("sh", "-c", PROBE)
    put(machine, WHOLE)
    plan = sloth(machine, "plan", "/run/home/site.sloth")
    assert machine.run("sh", "-c", PROBE) == before, "a plan changes nothing"
    assert plan["complete"] is True
    planned = [(one["address"], one["action"]) for task in plan["tasks"] for one in task["actions"]]
    run = sloth(machine, "run", "/run/home/site.sloth")
    assert run["summary"]["failed"] == 0
    assert machine.run("systemctl", "is-active", "tick") == "active\n"
    shown = {one["address"] for one in sloth(machine, "resource", "list")["resources"]}
    assert shown | {"service:tick.service"} == {address for address, _ in planned}, (
        "and the handler's restart"
    )
    again = sloth(machine, "run", "/run/home/site.sloth")
    assert again["summary"] == {"ok": 1, "changed": 0, "failed": 0, "skipped": 0, "state_writes": 0}
    assert sloth(machine, "drift")["drifted"] == 0
    by_hand(machine)
    put(machine, 'task({name = "machine", run = function() end})')
    sloth(machine, "run", "/run/home/site.sloth")
    pruned = sloth(machine, "prune", "/run/home/site.sloth", "--yes")
    assert pruned["summary"]["keep"] == pruned["summary"]["forget"] == 0
    assert machine.run("sh", "-c", PROBE) == before


def by_hand(machine: Scratch) -> None:
    """What somebody changed since is seen, attribute by attribute, and repaired by a run."""
    started = machine.run("systemctl", "show", "-p", "InvocationID", "tick")
    machine.run("usermod", "-s", "/bin/bash", "ann")
    machine.run("sh", "-c", "crontab -u games -r; sed -i s/10.0.0.5/10.0.0.6/ /etc/hosts")
    drift = sloth(machine, "drift")
    seen = {one["address"]: one["attributes"] for one in drift["resources"] if one["status"] != "ok"}
    assert sorted(seen) == ["cron:games:tidy", "hosts:db.example/ipv4", "hosts:db/ipv4", "user:ann"]
    assert [one["name"] for one in seen["user:ann"]] == ["shell"]
    run = sloth(machine, "run", "/run/home/site.sloth")
    assert [c["module"] for c in run["tasks"][0]["calls"] if c["changed"]] == ["user", "cron", "hosts"]
    assert sloth(machine, "drift")["drifted"] == 0
    assert machine.run("systemctl", "show", "-p", "InvocationID", "tick") == started, (
        "nothing called for a restart"
    )


def test_what_a_program_made_before_another_failed_is_not_called_unchanged(machine: Scratch) -> None:
    put(machine, 'task({name = "half", run = function() group({name = "half", members = {"root"}}) end})')
    machine.run("mount", "--bind", "/bin/false", "/usr/bin/gpasswd")
    run = sloth(machine, "run", "/run/home/site.sloth", code=1)
    machine.run("umount", "/usr/bin/gpasswd")
    error = run["tasks"][0]["error"]
    assert error["changed"][0] == "ran `groupadd -- half`"
    assert error["unchanged"] == []
    machine.run("groupdel", "half")


def test_a_member_who_is_not_there_is_told_before_the_group_is_made(machine: Scratch) -> None:
    put(machine, 'task({name = "half", run = function() group({name = "half", members = {"ghost"}}) end})')
    error = sloth(machine, "run", "/run/home/site.sloth", code=1)["tasks"][0]["error"]
    assert "there is no user 'ghost' on this machine" in error["message"]
    assert (error["changed"], error["unchanged"]) == ([], ["group half"])
