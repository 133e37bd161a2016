"""Why: programs that undo one account change others as well; prune must not take its own work for that of others, and
must not say that it brought back what nobody knows any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scratch import Scratch, scratch_or_skip, sloth


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Scratch]:
    """An untouched machine."""
    with scratch_or_skip(tmp_path) as scratch:
        scratch.run("mkdir", "/run/home")
        yield scratch


def put(machine: Scratch, *lines: str) -> None:
    text = "\n".join(lines)
    machine.run(
        "sh", "-c", "cat >/run/home/site.sloth", stdin=f'task({{name = "t", run = function()\n{text}\nend}})'
    )


def pruned(machine: Scratch, *lines: str, meanwhile: str = "true") -> list[tuple[str, str, str]]:
    """Apply lines, run a command, then prune all: address, action and reason of each; ``--check`` must have told the
    same."""
    put(machine, *lines)
    sloth(machine, "run", "/run/home/site.sloth")
    machine.run("sh", "-c", meanwhile)
    put(machine)
    told = sloth(machine, "prune", "/run/home/site.sloth", "--check")["resources"]
    done = sloth(machine, "prune", "/run/home/site.sloth", "--yes")["resources"]
    assert told == done
    return [(row["address"], row["action"], row["reason"]) for row in done]


def left(machine: Scratch) -> list[str]:
    """What a further prune finds."""
    return [row["address"] for row in sloth(machine, "prune", "/run/home/site.sloth", "--yes")["resources"]]


def test_a_group_that_goes_with_its_user_is_no_conflict(machine: Scratch) -> None:
    before = machine.run("cat", "/etc/passwd", "/etc/group")
    rows = pruned(
        machine,
        'group("app")',
        'user({name = "app", group = "app", home = "/srv/app", create_home = false})',
    )
    assert [row[:2] for row in rows] == [("user:app", "remove"), ("group:app", "remove")]
    assert machine.run("cat", "/etc/passwd", "/etc/group") == before
    assert left(machine) == []


def test_a_group_whose_members_went_before_it_is_no_conflict(machine: Scratch) -> None:
    before = machine.run("cat", "/etc/passwd", "/etc/group")
    rows = pruned(
        machine,
        'group({name = "webteam", gid = 4321})',
        'user({name = "a1", groups = {"webteam"}, append = true, create_home = false})',
        'group({name = "webteam", gid = 4321, members = {"a1"}})',
    )
    assert {row[1] for row in rows} == {"remove"}
    assert machine.run("cat", "/etc/passwd", "/etc/group") == before
    assert left(machine) == []


def test_a_folder_that_a_program_empties_first_goes_as_well(machine: Scratch) -> None:
    rows = pruned(
        machine,
        'file.directory("/srv/d")',
        'mount({path = "/srv/d/data", src = "tmpfs", fstype = "tmpfs", options = "size=1m"})',
    )
    assert [row[:2] for row in rows] == [("mount:/srv/d/data", "remove"), ("file:/srv/d", "remove")]
    assert machine.run("ls", "/srv") == ""
    assert left(machine) == []


def test_a_folder_that_a_program_does_not_empty_is_kept_then(machine: Scratch) -> None:
    put(machine, 'file.directory("/srv/d")', 'user({name = "a1", create_home = false})')
    sloth(machine, "run", "/run/home/site.sloth")
    machine.run("touch", "/srv/d/theirs")
    put(machine)
    rows = sloth(machine, "prune", "/run/home/site.sloth", "--yes")["resources"]
    assert [(row["address"], row["action"], row["error"]) for row in rows] == [
        ("user:a1", "remove", None),
        ("file:/srv/d", "keep", None),
    ]
    assert machine.run("ls", "/srv/d") == "theirs\n"


PASSWORD = (
    "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/"
)


def olduser(machine: Scratch, password: str) -> None:
    machine.run("useradd", "--no-create-home", "--shell", "/bin/sh", "olduser")
    machine.run("chpasswd", "--encrypted", stdin=f"olduser:{password}\n")


def test_a_password_that_is_not_known_any_more_is_not_said_to_be_restored(machine: Scratch) -> None:
    olduser(machine, PASSWORD)
    (row,) = pruned(machine, f'user({{name = "olduser", password = "{PASSWORD[:-1]}0"}})')
    assert row[1] == "keep"
    assert "can't restore its password" in row[2]
    assert left(machine) == ["user:olduser"]


def test_what_was_changed_beside_a_password_is_restored(machine: Scratch) -> None:
    olduser(machine, PASSWORD)
    (row,) = pruned(
        machine, f'user({{name = "olduser", password = "{PASSWORD[:-1]}0", shell = "/bin/bash"}})'
    )
    assert row[1] == "restore"
    assert "its password stays as it is" in row[2]
    assert machine.run("getent", "passwd", "olduser").endswith(":/bin/sh\n")
    assert left(machine) == []


def test_that_there_was_no_password_is_restored(machine: Scratch) -> None:
    olduser(machine, "*")
    before = machine.run("cat", "/etc/shadow")
    (row,) = pruned(machine, f'user({{name = "olduser", password = "{PASSWORD}"}})')
    assert row[1] == "restore"
    assert machine.run("cat", "/etc/shadow") == before


def test_what_we_never_set_of_a_user_is_left_to_others(machine: Scratch) -> None:
    machine.run("useradd", "--no-create-home", "--shell", "/bin/sh", "--comment", "Old", "olduser")
    machine.run("groupadd", "--gid", "4000", "team")
    rows = pruned(
        machine,
        'user({name = "olduser", shell = "/bin/bash"})',
        'group({name = "team", gid = 4001})',
        meanwhile="usermod --comment New olduser && gpasswd -a games team",
    )
    assert [row[:2] for row in rows] == [("group:team", "restore"), ("user:olduser", "restore")]
    assert ":New:/home/olduser:/bin/sh\n" in machine.run("getent", "passwd", "olduser")
    assert machine.run("getent", "group", "team") == "team:x:4000:games\n"
    assert left(machine) == []


def test_a_group_whose_members_others_changed_is_kept_whatever_goes_before_it(machine: Scratch) -> None:
    rows = pruned(
        machine,
        'group({name = "webteam", members = {"games"}})',
        'user({name = "a1", create_home = false})',
        meanwhile="gpasswd -a mail webteam",
    )
    assert [row[:2] for row in rows] == [("user:a1", "remove"), ("group:webteam", "keep")]
    assert "changed by others since (members)" in rows[1][2]
