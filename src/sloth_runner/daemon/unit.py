"""Why: systemd starts an agent, knows when it is ready, and keeps from it what managing a machine does not need."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from sloth_runner.plain import Final

NAME: Final = "sloth-runner-agent.service"
PATH: Final = f"/etc/systemd/system/{NAME}"
_TEXT: Final = """[Unit]
Description=Sloth Runner agent
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={python} -m sloth_runner agent serve --folder {folder} --listen {listen}
Restart=on-failure
RestartSec=2s
TimeoutStopSec=30s
KillMode=mixed
UMask=0077

# An agent changes the machine as root: files, packages, services, users. What it never does is closed to it.
LimitCORE=0
LockPersonality=yes
ProtectClock=yes
ProtectKernelLogs=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
KeyringMode=private
NotifyAccess=main
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""


def unit(python: str, folder: str, listen: str) -> str:
    """The unit's text."""
    quoted = [_quoted(word) for word in (python, folder, listen)]
    return _TEXT.format(python=quoted[0], folder=quoted[1], listen=quoted[2])


def _quoted(word: str) -> str:
    """A word of a command in a unit. Source: systemd.service(5), "Command lines"."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped == word and word.isprintable() and " " not in word else f'"{escaped}"'


def notify(environ: Mapping[str, str], word: str) -> None:
    """Tell systemd (``READY=1``, ``STOPPING=1``), if it wants to be told. Source of the protocol: sd_notify(3)."""
    place = environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        one.connect(os.fsencode("\0" + place[1:] if place.startswith("@") else place))
        one.sendall(word.encode())
