"""Why: what was made as another user is looked at and taken away as that user; who logs in may not even see it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.kit import Cli
from tests.scratch import Scratch, scratch_or_skip
from tests.services.sshd import make_key

SERVER = """set -e
echo "127.0.0.1 localhost $(hostname)" > /etc/hosts; : > /etc/resolv.conf
useradd --create-home --shell /bin/sh ann; echo ann:let-me-in | chpasswd
echo 'ann ALL=(ALL) ALL' > /etc/sudoers.d/ann; chmod 0440 /etc/sudoers.d/ann
mkdir -p /run/sshd /run/sudo /etc/server; cat > /etc/server/keys
ssh-keygen -q -t ed25519 -N '' -f /etc/server/host
printf '%s\\n' 'HostKey /etc/server/host' 'AuthorizedKeysFile /etc/server/keys' 'StrictModes no' \\
  'UsePAM no' 'UseDNS no' > /etc/server/config
cat /etc/server/host.pub"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can lend itself to a sudo")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Cli, Scratch]]:
    """A project with a machine on which ann logs in, who may use sudo with her password."""
    with scratch_or_skip(tmp_path) as machine:
        made = Cli(tmp_path)
        ssh = tmp_path / "ssh" / ".ssh"
        ssh.mkdir(parents=True, mode=0o700)
        make_key(ssh / "id_ed25519")
        host = machine.run("/bin/sh", "-c", SERVER, stdin=(ssh / "id_ed25519.pub").read_text())
        (ssh / "known_hosts").write_text(f"box {host}")
        server = shlex.join(machine.argv(["/usr/sbin/sshd", "-i", "-f", "/etc/server/config"]))
        (ssh / "config").write_text(f"Host box\n  User ann\n  ProxyCommand {server}\n")
        made.environ |= {"HOME": str(ssh.parent), "PASSWORD": "let-me-in"}
        made.file("sloth.toml", '[agents]\nbox = { url = "ssh://box", sudo_password_env = "PASSWORD" }\n')
        yield made, machine


def document(cli: Cli, *argv: str) -> dict[str, Any]:
    result = cli(*argv, "-o", "json")
    assert result.code == 0, result.shown()
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_what_was_made_as_root_is_looked_at_and_removed_as_root(site: tuple[Cli, Scratch]) -> None:
    cli, machine = site
    call = 'file.write({dest = "/root/deep/f", content = "1\\n", mode = "0600", user = "root"})'
    cli.file("t.sloth", f'task({{name = "t", delegate_to = "box", run = function() {call} end}})')
    assert document(cli, "run", "t.sloth")["summary"]["changed"] == 1
    assert document(cli, "drift")["drifted"] == 0
    again = document(cli, "run", "t.sloth")
    assert again["summary"]["changed"] == 0
    assert again["targets"][0]["traffic"]["round_trips"] <= 3, "root's file was asked for ahead, as root"
    machine.run("/bin/sh", "-c", "echo 2 > /root/deep/f")
    (row,) = document(cli, "drift")["resources"]
    assert (row["status"], row["diff"] is None) == ("drifted", False)
    machine.run("/bin/sh", "-c", "echo 1 > /root/deep/f")
    cli.file("t.sloth", 'task({name = "other", run = function() end})')
    pruned = document(cli, "prune", "t.sloth", "--yes")
    assert pruned["summary"] == {"remove": 1, "restore": 0, "forget": 0, "keep": 0}
    assert machine.run("ls", "/root/deep", code=2) == ""
