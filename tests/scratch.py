"""Why: modules that change a machine are tried on a real one that may be spoilt: this one, under an overlay.

``Scratch`` puts an overlay file system over ``/`` in namespaces of its own (mounts, processes, host name) and runs
programs in it: what they change lies in memory and is gone with it. It needs root on Linux. In CI a missing
privilege is a failure; on a developer's machine it is a skip that says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SETUP = """
set -e
mount -t tmpfs tmpfs {base}
mkdir {base}/upper {base}/work {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work {base}/root
mount -t proc proc {base}/root/proc
mount --rbind /dev {base}/root/dev
mount -t tmpfs tmpfs {base}/root/run
mount -t tmpfs tmpfs {base}/root/tmp
exec chroot {base}/root /bin/sh -c 'echo ready; exec sleep infinity'
"""


class Scratch:
    """A copy of this machine that may be spoilt. ``run`` performs a command in it."""

    def __init__(self, folder: Path) -> None:
        base = folder / "scratch"
        base.mkdir()
        self._init = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc",
             "sh", "-c", SETUP.format(base=base)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._init.stdout is not None and self._init.stderr is not None
        if self._init.stdout.readline() != "ready\n":
            error = self._init.stderr.read()
            self.close()
            raise OSError(error)
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        self._pid = children[0]
        self._base = base

    def argv(self, argv: Sequence[str]) -> list[str]:
        """``argv`` as a command that is performed inside."""
        enter = ["nsenter", "--target", self._pid, "--mount", "--pid", "--uts", "--ipc", "--root"]
        return [*enter, "--wd=/", "--", *argv]

    def run(self, *argv: str, code: int | None = 0, stdin: str = "") -> str:
        """Run a command inside; returns its output. ``code`` is the exit status it must have (None: any)."""
        done = subprocess.run(self.argv(argv), input=stdin, capture_output=True, text=True, timeout=300)
        assert code is None or done.returncode == code, (argv, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def python(self, code: str) -> str:
        """Run Python code inside, with this project and its tests at hand."""
        path = f"{Path(__file__).parents[1] / 'src'}:{Path(__file__).parents[1]}"
        return self.run("env", f"PYTHONPATH={path}", sys.executable, "-c", code)

    def close(self) -> None:
        """End everything in it."""
        self._init.kill()
        self._init.communicate()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def scratch_or_skip(folder: Path) -> Scratch:
    """A scratch machine; where there can be none, a visible skip (in CI: a failure)."""
    try:
        if os.geteuid() != 0:
            raise OSError("root is needed")
        return Scratch(folder)
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no scratch machine: {error}")
