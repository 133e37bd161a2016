"""Why: modules that change a machine are tried on a real one that may be spoilt: this one, under an overlay.

``Scratch`` puts an overlay file system over ``/`` in namespaces of its own (mounts, processes, host name) and runs
programs in it: what they change lies in memory and is gone with it. With ``systemd`` a real one starts there, in a
control group and a network of its own. It needs root on Linux. In CI a missing privilege is a failure; on a
developer's machine it is a skip that says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[1]
SETUP = """
set -e
mount -t tmpfs tmpfs {base}
mkdir {base}/upper {base}/work {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work {base}/root
mount -t proc proc {base}/root/proc
mount -t tmpfs tmpfs {base}/root/run
mount -t tmpfs tmpfs {base}/root/tmp
for kept in {kept}; do
    test -e {base}/root$kept || {{ mkdir -p {base}/root$kept; mount --bind $kept {base}/root$kept; }}
done
"""
PLAIN = """
mount --rbind /dev {base}/root/dev
exec chroot {base}/root /bin/sh -c 'echo ready; exec sleep infinity'
"""
SYSTEMD = """
mount -t tmpfs -o mode=755 tmpfs {base}/root/dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty {base}/root/dev/
mkdir {base}/root/dev/pts {base}/root/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts {base}/root/dev/pts
ln -s pts/ptmx {base}/root/dev/ptmx
ln -s /proc/self/fd {base}/root/dev/fd
mount -t tmpfs tmpfs {base}/root/var/tmp
mount -t sysfs -o ro sysfs {base}/root/sys
mount -t cgroup2 cgroup2 {base}/root/sys/fs/cgroup
mount --bind {base}/root/proc/sys {base}/root/proc/sys
mount -o remount,bind,ro {base}/root/proc/sys
mount --bind {base}/root/proc/sys/net {base}/root/proc/sys/net
mount -o remount,bind,rw {base}/root/proc/sys/net
: >{base}/root/etc/fstab
cd {base}/root
pivot_root . mnt
umount -l /mnt
echo ready
exec /usr/bin/env -i container=scratch PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target >/dev/null 2>&1
"""
"""The kernel's settings are read-only there, but for those of its own network, because most exist once for all
namespaces; and devices are copies, because systemd sets their owners."""


class Scratch:
    """A copy of this machine that may be spoilt. ``run`` performs a command in it.

    Raises OSError where namespaces (or with ``systemd`` control groups of version 2) are not to be had.
    """

    def __init__(self, folder: Path, *, systemd: bool = False) -> None:
        base = folder / "scratch"
        base.mkdir()
        kept = f"{PROJECT} {sys.prefix} {sys.base_prefix}"
        script = (SETUP + (SYSTEMD if systemd else PLAIN)).format(base=base, kept=kept)
        self._group = _new_group(base.parent.name) if systemd else None
        join = f"echo $$ >{self._group}/cgroup.procs && " if self._group else ""
        spaces = ["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"]
        self._init = subprocess.Popen(
            ["sh", "-c", f'{join}exec unshare "$@"', "sh", *spaces, *(["--cgroup", "--net"] if systemd else []),
             "sh", "-c", script],
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
        self._systemd = systemd
        if systemd:
            self._wait_for_systemd()

    def argv(self, argv: Sequence[str]) -> list[str]:
        """``argv`` as a command that is performed inside."""
        enter = ["nsenter", "--target", self._pid, "--mount", "--pid", "--uts", "--ipc", "--root"]
        if self._systemd:
            enter += ["--net", "--cgroup"]
        return [*enter, "--wd=/", "--", *argv]

    def run(self, *argv: str, code: int | None = 0, stdin: str = "") -> str:
        """Run a command inside; returns its output. ``code`` is the exit status it must have (None: any)."""
        done = subprocess.run(self.argv(argv), input=stdin, capture_output=True, text=True, timeout=300)
        assert code is None or done.returncode == code, (argv, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def python(self, code: str) -> str:
        """Run Python code inside, with this project and its tests at hand."""
        path = f"{PROJECT / 'src'}:{PROJECT}"
        return self.run("env", f"PYTHONPATH={path}", sys.executable, "-c", code)

    def close(self) -> None:
        """End everything in it."""
        self._init.kill()
        self._init.communicate()
        if self._group is not None:
            _remove_group(self._group)

    def _wait_for_systemd(self) -> None:
        """Until it has started what it was asked to; it says itself how that went."""
        end = time.monotonic() + 60
        state = ""
        while time.monotonic() < end and self._init.poll() is None:
            state = self.run("systemctl", "is-system-running", "--wait", code=None).strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.05)
        self.close()
        raise OSError(f"systemd did not start: {state or 'it ended'}")

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _new_group(name: str) -> Path:
    """A control group (version 2) for one systemd, so that it never sees those of this machine."""
    for root in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (root / "cgroup.procs").exists() and (root / "cgroup.controllers").exists():
            group = root / f"scratch-{os.getpid()}-{name}"
            group.mkdir()
            return group
    raise OSError("no control groups of version 2 are mounted")


def _remove_group(group: Path) -> None:
    """The group and those that systemd made in it: they are empty as soon as the kernel has buried its processes."""
    end = time.monotonic() + 10
    while group.exists():
        try:
            for inner in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                inner.rmdir()
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def scratch_or_skip(folder: Path, *, systemd: bool = False) -> Scratch:
    """A scratch machine; where there can be none, a visible skip (in CI: a failure)."""
    try:
        if os.geteuid() != 0:
            raise OSError("root is needed")
        if systemd and not Path("/lib/systemd/systemd").exists():
            raise OSError("systemd is not installed (scripts/test-packages.txt)")
        return Scratch(folder, systemd=systemd)
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no scratch machine: {error}")


def sloth(machine: Scratch, *argv: str, code: int = 0) -> Any:
    """What the program says on that machine, as JSON; its home is a folder that is made there."""
    script = 'mkdir -p "$HOME"; exec "$@"'
    env = ["env", f"PYTHONPATH={PROJECT / 'src'}", "HOME=/run/home", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    program = ["/bin/sh", "-c", script, "sh", sys.executable, "-m", "sloth_runner", *argv, "-o", "json"]
    return json.loads(machine.run(*env, *program, code=code))
