"""Why: a system in a folder (an image that is being built, a rescue mount) is a machine like any other, without a
network."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from sloth_runner.errors import BadConfig, Unreachable
from sloth_runner.transport.line import Channel
from sloth_runner.transport.pipe import PipeLine

ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


def parse(url: str) -> str:
    """The folder of ``chroot:///folder``. Raises BadConfig."""
    parts = urlsplit(url)
    folder = unquote(parts.path)
    if parts.netloc or not folder.startswith("/") or folder.strip("/") == "" or "\0" in folder or parts.query:
        raise BadConfig(f"{url}: the absolute path of a folder is needed: chroot:///srv/image")
    return os.path.normpath(folder)


class ChrootLine:
    """Starts an agent whose root is a folder. Only root may do that."""

    def __init__(self, url: str, python: str | None) -> None:
        from sloth_runner.agent.pack import command, packed

        self.address = url
        self._folder = parse(url)
        argv = ["/usr/sbin/chroot", self._folder, "/bin/sh", "-c", command(packed().name, python, keep=False)]
        self._line = PipeLine(url, argv, ENV)

    async def open(self) -> Channel:
        """Start it. Raises Unreachable."""
        if not os.path.isdir(self._folder):  # noqa: PTH112 - one look, at this machine
            raise Unreachable(
                f"{self.address}: there is no such folder", unchanged=["nothing was done there"]
            )
        if os.geteuid() != 0:
            raise Unreachable(
                f"{self.address}: only root may act in another root",
                unchanged=["nothing was done there"],
                next=["run sloth-runner as root"],
            )
        return await self._line.open()


def line(url: str, python: str | None = None) -> ChrootLine:
    """The line to a folder. Raises BadConfig."""
    return ChrootLine(url, python)
