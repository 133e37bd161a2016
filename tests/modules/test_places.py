"""Why: which names mean the same thing on a machine is a table; here it is read from outside, pair by pair."""

from __future__ import annotations

from typing import Any

import pytest

from sloth_runner.modules import kinds
from sloth_runner.modules.places import _RULES, Named, places

Named_ = tuple[str, str, dict[str, Any], dict[str, Any] | None]
KEY = {"user": "ann", "path": None, "type": "ssh-ed25519", "blob": "AAAA"}
ALL = {"user": "ann", "path": None}
MEMBER: Named_ = ("group.member", "dev/ann", {}, {"member": True})
UNIT = "/etc/systemd/system/app.service"


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
    ],
)
def test_what_means_the_same(gone: Named_, named: Named_, same: bool) -> None:
    index = Named([("it", places(*named))])
    assert index.meeting(places(*gone, gone=True)) == ("it" if same else None)


def test_each_rule_is_of_a_kind() -> None:
    assert set(_RULES) <= set(kinds())
