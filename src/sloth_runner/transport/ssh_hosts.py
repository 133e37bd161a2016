"""Why: whose host key is not known is not talked to; the user is told which it is, and how to accept that very
one."""

from __future__ import annotations

import contextlib
import shlex
from functools import lru_cache

from sloth_runner.errors import Unreachable
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import asyncssh

    from sloth_runner.transport.ssh_settings import Target


class HostKeys:
    """The known host keys for one connection, and the key that the server has shown if it is none of them."""

    def __init__(self, target: Target) -> None:
        self.known = _read(tuple([(path, *_stamp(path)) for path in target.known]))
        self.offered: asyncssh.SSHKey | None = None
        self._target = target

    def of_host(self) -> list[asyncssh.SSHKey]:
        """The keys that are known of this host."""
        from asyncssh import match_known_hosts

        target = self._target
        port = None if target.port == 22 else target.port
        return list(match_known_hosts(self.known, target.alias or target.host, "", port)[0])


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=4)
def _read(files: tuple[tuple[Path, *tuple[int, ...]], ...]) -> asyncssh.SSHKnownHosts:
    """What these files say, with their stamps: read once for all machines, since thousands of lines take a while. As
    with ssh, a file that can't be read, or a line that can't be understood, says nothing."""
    import asyncssh

    known = asyncssh.SSHKnownHosts()
    for file, *_ in files:
        with contextlib.suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
                with contextlib.suppress(ValueError):
                    known.load(line)
    return known


def told_host_key(target: Target, keys: HostKeys, error: asyncssh.HostKeyNotVerifiable) -> Unreachable:
    """The error for a host key that is not trusted."""
    if keys.offered is None:
        return Unreachable(
            f"{target.address}: its host key is not trusted",
            system=error.reason,
            unchanged=["nothing was done there"],
        )
    key = keys.offered
    line = f"{target.known_name} {key.export_public_key('openssh').decode().split(' ')[0]} {_blob(key)}"
    accept = f"echo {shlex.quote(line)} >> {shlex.quote(str(target.accepted))}"
    compare = "compare it with what the machine says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    known = keys.of_host()
    if known:
        forget = f"ssh-keygen -R {shlex.quote(target.known_name)} -f {shlex.quote(str(target.accepted))}"
        return Unreachable(
            f"{target.address}: its host key has changed: {key.get_fingerprint()}"
            f" instead of {', '.join(one.get_fingerprint() for one in known)}",
            system="either the machine was set up anew, or somebody stands between it and us",
            unchanged=["nothing was sent there"],
            next=[compare, f"if it is right, put it in place of the old one: {forget} && {accept}"],
        )
    return Unreachable(
        f"{target.address}: its host key is not known: {key.get_fingerprint()}",
        unchanged=["nothing was sent there"],
        next=[compare, f"if it is right, accept it: {accept}"],
    )


def _blob(key: asyncssh.SSHKey) -> str:
    return key.export_public_key("openssh").decode().split(" ")[1].strip()
