"""Why: which names mean the same thing on a machine is a table; here it is read from outside, pair by pair."""

from __future__ import annotations

from typing import Any

import pytest

from sloth_runner.modules import kinds
from sloth_runner.modules.places import _RULES, Named, paths, places

Named_ = tuple[str, str, dict[str, Any], dict[str, Any] | None]
KEY = {"user": "ann", "path": None, "type": "ssh-ed25519", "blob": "AAAA"}
ALL = {"user": "ann", "path": None}
MEMBER: Named_ = ("group.member", "dev/ann", {}, {"member": True})
UNIT = "/etc/systemd/system/app.service"
LINE: Named_ = ("file.line", "/f#a", {"path": "/f"}, {"line": "x"})
BLOCK: Named_ = ("file.block", "/f#a", {"path": "/f", "begin": "# a"}, {})
CRON: Named_ = ("cron", "ann/x", {"name": "x", "user": "ann"}, {})
HOST: Named_ = (
    "ssh_key.known_host",
    "x",
    {"user": "ann", "path": None, "host": "h", "type": "ssh-ed25519"},
    {},
)
ARCHIVE: Named_ = (
    "archive",
    "x",
    {"path": "/d", "entries": [["a", "file", "", ""], ["b", "folder", "", ""]]},
    {},
)


@pytest.mark.parametrize(
    ("gone", "named", "same"),
    [
        (
            ("ssh_key.authorized", "ann x", KEY, {}),
            ("ssh_key.authorized_all", "ann", ALL, {"keys": []}),
            True,
        ),
        (
            ("ssh_key.authorized", "ann x", KEY, {}),
            ("ssh_key.authorized", "ann y", {**KEY, "blob": "B"}, {}),
            False,
        ),
        (
            ("ssh_key.authorized", "ann x", KEY, {}),
            ("ssh_key.authorized", "/k x", {**KEY, "path": "/k"}, {}),
            True,
        ),
        (("file", UNIT, {}, {"content": "x"}), ("systemd.unit", UNIT, {}, {"mode": "0644"}), True),
        (("systemd.unit", UNIT, {}, {"mode": "0644"}), ("file", UNIT, {}, {"content": "x"}), True),
        (("systemd.unit", UNIT, {}, {"mode": "0644"}), ("file", UNIT, {}, {"mode": "0644"}), False),
        (("file", "/etc/sudoers.d/q", {}, {"content": "x"}), ("sudoers", "q", {}, {"mode": "0440"}), True),
        (MEMBER, ("user", "ann", {}, {"groups": ["dev"]}), True),
        (MEMBER, ("user", "ann", {}, {"shell": "/bin/sh"}), False),
        (MEMBER, ("group", "dev", {}, {"members": ["ann"]}), True),
        (MEMBER, ("group", "dev", {}, {}), False),
        (("group", "dev", {}, {}), MEMBER, True),
        (
            ("cron", "a/x", {"name": "x", "file": "a"}, {}),
            ("file", "/etc/cron.d/a", {}, {"content": "x"}),
            True,
        ),
        (("git", "/srv/app", {}, {}), ("file", "/srv/app/conf", {}, {"content": "x"}), True),
        (("file", "/srv/app/conf", {}, {"content": "x"}), ("git", "/srv/app", {}, {}), False),
        (("hosts", "db/ipv4", {}, {}), ("hosts", "web/ipv4", {}, {}), False),
        (("hosts", "db/ipv4", {}, {}), ("file", "/etc/hosts", {}, None), True),
        (("pkg", "vim", {}, {}), ("pkg", "vim", {}, {}), False),
        (
            ("git", "/srv/app", {}, {}),
            ("file", "/srv/app/data", {}, {"type": "folder", "mode": "0750"}),
            True,
        ),
        (("git", "/srv/app", {}, {}), ("git", "/srv/app/vendor", {}, {}), True),
        (
            ("git", "/srv/app", {}, {}),
            ("file.line", "/srv/app/f#x", {"path": "/srv/app/f"}, {"line": "x"}),
            True,
        ),
        (("git", "/srv/app", {}, {}), ("file", "/srv/app/old", {}, None), False),
        (("git", "/srv/app", {}, {}), ("file", "/srv/apple", {}, {"content": "x"}), False),
        (("git", "/srv/app", {}, {}), ("pkg", "app", {}, {}), False),
        (("file", "/l", {}, {"target": "x"}), ("file.line", "/l#x", {"path": "/l"}, {"line": "x"}), True),
        (LINE, ("file.line", "/f#b", {"path": "/f"}, {"line": "x"}), True),
        (LINE, ("file.line", "/f#b", {"path": "/f"}, {"line": "y"}), False),
        (LINE, ("file.line", "/g#a", {"path": "/g"}, {"line": "x"}), False),
        (LINE, ("file.line", "/f#a", {"path": "/f"}, None), False),
        (LINE, ("file", "/f", {}, {"content": "x"}), True),
        (BLOCK, ("file.block", "/f#b", {"path": "/f", "begin": "# a"}, {}), True),
        (BLOCK, ("file.block", "/f#b", {"path": "/f", "begin": "# b"}, {}), False),
        (
            ("file.key", "/f:a", {"path": "/f", "key": "a"}, {}),
            ("file.key", "x", {"path": "/f", "key": "b"}, {}),
            False,
        ),
        (CRON, ("cron", "ann/y", {"name": "x", "user": "ann"}, {}), True),
        (CRON, ("cron", "bob/x", {"name": "x", "user": "bob"}, {}), False),
        (("ssh_key.authorized", "x", {**KEY, "path": "/k"}, {}), ("file", "/k", {}, {"content": "x"}), True),
        (HOST, ("ssh_key.known_host", "y", {**HOST[2]}, {}), True),
        (HOST, ("ssh_key.known_host", "y", {**HOST[2], "type": "ssh-rsa"}, {}), False),
        (HOST, ("ssh_key.known_host", "y", {**HOST[2], "path": "/h"}, {}), False),
        (MEMBER, ("group", "dev", {}, None), False),
        (MEMBER, ("group", "dev", {}, {"gid": 7}), False),
        (("user", "ann", {}, {}), MEMBER, True),
        (MEMBER, ("user", "ann", {}, None), False),
        (("file", "/d/a", {}, {"content": "x"}), ARCHIVE, True),
        (("file", "/d/b", {}, {"content": "x"}), ARCHIVE, False),
        (("file", "/etc/hostname", {}, {"content": "x"}), ("hostname", "machine", {}, {}), True),
        (("file", "/etc/timezone", {}, {"content": "x"}), ("timezone", "machine", {}, {}), True),
        (("file", "/etc/fstab", {}, {"content": "x"}), ("mount", "/mnt", {}, {}), True),
        (("sysctl.line", "a", {"file": "/s", "name": "a"}, {}), ("file", "/s", {}, {"content": "x"}), True),
    ],
)
def test_what_means_the_same(gone: Named_, named: Named_, same: bool) -> None:
    index = Named([("it", places(*named), () if named[3] is None else paths(*named))])
    assert index.meeting(places(*gone, gone=True)) == ("it" if same else None)


def test_each_rule_is_of_a_kind() -> None:
    assert set(_RULES) <= set(kinds())
