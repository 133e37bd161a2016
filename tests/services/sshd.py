"""Why: an SSH server is OpenSSH's own, on a port of loopback, with keys of its own and nothing of the machine's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.services.base import Server, free_port, listens

CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 1000
MaxSessions 1000
LogLevel VERBOSE
SetEnv HOME={there}
"""


class SSHServer(Server):
    """One sshd. ``home`` is a client's: it holds its key, and a known_hosts that knows the server. ``there``: the
    home of whoever logs in."""

    def __init__(self, folder: Path, there: Path | None = None) -> None:
        self.port = free_port()
        self.home = folder / "home"
        self.there = there or folder / "there"
        argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")]
        url = f"ssh://127.0.0.1:{self.port}"
        super().__init__(
            "sshd", folder, argv, url, lambda: listens(self.port), prepare=lambda: self._make_ready(CONFIG)
        )

    @property
    def cache(self) -> Path:
        """Where agents are kept on that machine."""
        return self.there / ".cache" / "sloth-runner"

    def _make_ready(self, config: str) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.there.mkdir(exist_ok=True)
        if not (self.folder / "host_key").exists():
            make_key(self.folder / "host_key")
            ssh = self.home / ".ssh"
            ssh.mkdir(parents=True, mode=0o700)
            make_key(ssh / "id_ed25519")
            (self.folder / "authorized_keys").write_bytes((ssh / "id_ed25519.pub").read_bytes())
            host = (self.folder / "host_key.pub").read_text().split()[:2]
            (ssh / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {' '.join(host)}\n")
        text = config.format(port=self.port, folder=self.folder, there=self.there)
        (self.folder / "config").write_text(text)


def make_key(path: Path) -> None:
    """A key pair."""
    subprocess.run(
        ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True
    )


def make(folder: Path) -> Server:
    """The server in that folder."""
    return SSHServer(folder)
