"""Why: each round of a test begins on an untouched machine, and starting one must cost milliseconds.

A round is a fork of this process in namespaces of its own (mounts, processes, host name, network with loopback
alone), whose root is an overlay in memory over this machine's, or over what ``prepare`` lines made of it once. When
the round ends, all that it started and changed is gone. Needs root on Linux.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[3]
NEW_MOUNTS, NEW_NAMES, NEW_IPC, NEW_PIDS, NEW_NETWORK = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
READ_ONLY, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 32, 4096, 16384, 1 << 18


class Spaces:
    """Where rounds take place. ``folder`` is an empty one that serves as a mount point."""

    def __init__(self, folder: Path) -> None:
        self._base = folder
        self._layers: dict[tuple[str, ...], Path] = {}
        _unshare(NEW_MOUNTS)
        _mount(None, "/", None, RECURSIVE | PRIVATE)
        _mount("tmpfs", str(folder), "tmpfs", 0)
        (folder / "round").mkdir()

    def round(self, work: Callable[[], Any], prepare: Sequence[str] = ()) -> Any:
        """What ``work`` returns, as JSON carries it, when it is called on an untouched machine."""
        lines = tuple(prepare)
        if lines and lines not in self._layers:
            layer = self._base / f"layer{len(self._layers)}"
            layer.mkdir()
            self._fork(lambda: _shell(lines), layer, None)
            self._layers[lines] = layer
        return self._fork(work, None, self._layers.get(lines))

    def _fork(self, work: Callable[[], Any], upper: Path | None, lower: Path | None) -> Any:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            self._round(work, upper, lower, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        answer = json.loads(data or b'{"failed": "the round was killed"}')
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer["result"]

    def _round(self, work: Callable[[], Any], upper: Path | None, lower: Path | None, write: int) -> None:
        try:
            _unshare(NEW_MOUNTS | NEW_NAMES | NEW_IPC | NEW_PIDS | NEW_NETWORK)
            first = os.fork()
            if first:  # waits outside of the new process namespace
                os.waitpid(first, 0)
                os._exit(0)
            worker = os.fork()
            if worker:  # number 1 in there: whoever loses its parent is buried here, when it ends all end
                while os.wait()[0] != worker:
                    pass
                os._exit(0)
            _loopback()
            self._enter(upper, lower)
            answer = {"result": work()}
        except BaseException:
            answer = {"failed": "".join(traceback.format_exc(limit=-3).splitlines(keepends=True)[-9:])}
        with os.fdopen(write, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
        os._exit(0)

    def _enter(self, upper: Path | None, lower: Path | None) -> None:
        """The machine's picture becomes the root."""
        here = self._base / "round"
        _mount("tmpfs", str(here), "tmpfs", 0)
        own = upper or here
        for folder in (own / "upper", own / "work", here / "root"):
            folder.mkdir()
        root = here / "root"
        layers = "/" if lower is None else f"{lower / 'upper'}:/"
        _mount(
            "overlay",
            str(root),
            "overlay",
            0,
            f"lowerdir={layers},upperdir={own / 'upper'},workdir={own / 'work'}",
        )
        _mount("proc", str(root / "proc"), "proc", 0)
        _guard(root / "proc/sys")
        _mount("/dev", str(root / "dev"), None, BIND | RECURSIVE)
        for name in ("dev/shm", "run", "tmp"):
            _mount("tmpfs", str(root / name), "tmpfs", 0)
        for kept in (str(PROJECT), sys.prefix, sys.base_prefix):
            if not (root / kept[1:]).exists():  # on a file system of its own, or below /tmp
                (root / kept[1:]).mkdir(parents=True)
                _mount(kept, str(root / kept[1:]), None, BIND)
        os.chroot(root)
        os.chdir("/")
        Path("/run/lock").mkdir(mode=0o1777)
        Path("/tmp").chmod(0o1777)


def _guard(settings: Path) -> None:
    """The kernel has one set of most settings for all namespaces: only those of the network can be written."""
    _mount(str(settings), str(settings), None, BIND)
    _mount(None, str(settings), None, BIND | REMOUNT | READ_ONLY)
    _mount(str(settings / "net"), str(settings / "net"), None, BIND)
    _mount(None, str(settings / "net"), None, BIND | REMOUNT)


def _shell(lines: Sequence[str]) -> None:
    for line in lines:
        shell(line)


def shell(line: str) -> str:
    """The output of a line for the shell, which must succeed."""
    env = {"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{line}: exit status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def probe(line: str) -> str:
    """What a line for the shell says, whether it succeeds or not."""
    done = subprocess.run(
        ["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C"}, check=False,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "backslashreplace") + (
        f"[{done.returncode}]\n" if done.returncode else ""
    )


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    call = ctypes.CDLL(None, use_errno=True).mount
    call.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    if call(texts[0], texts[1], texts[2], flags, texts[3]):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def _loopback() -> None:
    """Bring lo up in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))
