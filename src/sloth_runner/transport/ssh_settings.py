"""Why: whoever can say ``ssh web1`` must be able to say it here: ~/.ssh/config is read, and what of it can't be
followed is said."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from sloth_runner.errors import Unreachable
from sloth_runner.plain import Any, NamedTuple

DEFAULT_PORT = 22
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
IGNORED = {
    "controlmaster": "connections are not shared with ssh's own",
    "controlpath": "connections are not shared with ssh's own",
    "stricthostkeychecking": "host keys are always checked",
    "knownhostscommand": "known host keys are read from files only",
    "verifyhostkeydns": "host keys are not looked up in the DNS",
    "securitykeyprovider": "keys on security tokens need ssh-agent",
    "gssapitrustdns": "it is not followed",
    "proxyusefdpass": "it is not followed",
    "localforward": "nothing is forwarded",
    "remoteforward": "nothing is forwarded",
    "dynamicforward": "nothing is forwarded",
}
"""Settings of ssh's that change how a machine is reached and are not followed here, and why."""


class Target(NamedTuple):
    """A server as the configuration of ssh describes it. ``jumps`` are the hosts to go through, in order (host, port,
    user), ``proxy`` the command that is the way there; ``known`` are the files of known host keys, ``accepted`` the
    one where new ones belong, ``keys`` those of the user's own keys; ``remarks`` say which settings are not followed.
    """

    name: str
    host: str
    port: int
    user: str
    config: tuple[str, ...]
    known: tuple[Path, ...]
    accepted: Path
    keys: tuple[str, ...]
    alias: str | None
    jumps: tuple[tuple[str, int | None, str | None], ...]
    proxy: str | None
    agent: str | None
    timeout: float | None
    remarks: tuple[str, ...]

    @property
    def address(self) -> str:
        """For people."""
        host = f"[{self.name}]" if ":" in self.name else self.name
        return f"ssh://{self.user}@{host}:{self.port}"

    @property
    def words(self) -> str:
        """What ssh's commands take to get there."""
        port = [] if self.port == DEFAULT_PORT else ["-p", str(self.port)]
        return shlex.join([*port, f"{self.user}@{self.name}"])

    @property
    def command(self) -> str:
        """The ssh command that gets there."""
        return f"ssh {self.words}"

    @property
    def known_name(self) -> str:
        """The name in known_hosts."""
        name = self.alias or self.host
        return name if self.port == DEFAULT_PORT or self.alias else f"[{name}]:{self.port}"


def load_target(
    host: str, port: int | None, user: str | None, home: Path, environ: Mapping[str, str]
) -> Target:
    """What the user's configuration of ssh says of a host. Raises Unreachable for one that can't be read."""
    import getpass

    from asyncssh.config import ConfigParseError, SSHClientConfig

    files = [str(path) for path in (home / ".ssh" / "config", Path("/etc/ssh/ssh_config")) if path.is_file()]
    meant = (getpass.getuser(), user or (), host, port or ())
    try:
        found = SSHClientConfig.load(None, list(files), False, False, False, *meant)
        if found.has_match_final():
            found = SSHClientConfig.load(found, list(files), True, False, True, *meant)
    except (ConfigParseError, OSError, UnicodeDecodeError) as error:
        raise Unreachable(
            f"ssh://{host}: the configuration of ssh can't be read",
            system=str(error),
            unchanged=["nothing was done"],
        ) from error
    own = found.get("UserKnownHostsFile")
    default = [home / ".ssh" / "known_hosts", home / ".ssh" / "known_hosts2"]
    mine = default if own is None else [_path(name, home) for name in _list(own)]
    system = found.get("GlobalKnownHostsFile")
    theirs = (
        [Path("/etc/ssh/ssh_known_hosts")] if system is None else [_path(one, home) for one in _list(system)]
    )
    agent = found.get("IdentityAgent") or environ.get("SSH_AUTH_SOCK")
    timeout = found.get("ConnectTimeout")
    return Target(
        host,
        str(found.get("Hostname") or host),
        int(str(found.get("Port") or DEFAULT_PORT)),
        str(found.get("User") or user or getpass.getuser()),
        tuple(files),
        tuple(path for path in (*mine, *theirs) if path.is_file()),
        mine[0] if mine else default[0],
        _keys(found.get("IdentityFile"), home),
        _text(found.get("HostKeyAlias")),
        _jumps(_text(found.get("ProxyJump"))),
        _text(found.get("ProxyCommand")),
        None if not agent or agent == "none" else str(_path(str(agent), home)),
        None if timeout is None else float(str(timeout)),
        _remarks(files),
    )


def _keys(given: Any, home: Path) -> tuple[str, ...]:
    """The files of private keys that there are."""
    ssh = home / ".ssh"
    names = (
        [ssh / name for name in DEFAULT_KEYS]
        if given is None
        else [_path(name, home) for name in _list(given)]
    )
    return tuple(str(path) for path in names if path.is_file())


def _list(value: Any) -> list[str]:
    return [str(one) for one in value if str(one).lower() != "none"]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _path(name: str, home: Path) -> Path:
    return home / name[2:] if name.startswith("~/") else Path(name.replace("%d", str(home)))


def _jumps(value: str | None) -> tuple[tuple[str, int | None, str | None], ...]:
    """``[user@]host[:port],…``, also as ssh:// URLs."""
    if value is None or value.lower() == "none":
        return ()
    found = []
    for word in value.split(","):
        word = word.strip().removeprefix("ssh://")
        user, _, place = word.rpartition("@")
        host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
        if not colon or (":" in host and not host.startswith("[")):
            host, port = place, ""
        found.append((host.strip("[]"), int(port) if port else None, user or None))
    return tuple(found)


def _remarks(files: list[str]) -> tuple[str, ...]:
    """The settings in these files that are not followed."""
    found: dict[str, None] = {}
    for file in files:
        for line in Path(file).read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.strip().replace("=", " ").split()
            if (
                words
                and words[0].lower() in IGNORED
                and words[-1].lower() not in ("no", "none", "yes", "ask")
            ):
                found[f"{words[0]} in {file} is not followed: {IGNORED[words[0].lower()]}"] = None
    return tuple(found)
