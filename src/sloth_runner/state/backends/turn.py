"""Why: SQLite's own waiting starves: with many writers someone waits for seconds. Two flocks make a queue.

A writer takes the queue's lock, then the turn's, then leaves the queue: one waits at the door, the others
behind it, each in the order of the kernel. A writer whose last fair turn is younger than ``COHORT`` may take
the turn again without queueing if it is free, so that a burst isn't slowed down by its own politeness.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path

from sloth_runner.errors import MORE_FILES, Busy, StoreDown, lacks_files

COHORT = 0.002
"""Seconds."""


class Turn:
    """This handle's place in the queue of writers of one file: a context manager, and re-entrant.

    Entering waits for the turn, at most ``patience`` seconds. Raises Busy (who has it, if that can be known)."""

    __slots__ = ("_depth", "_fair", "_folder", "_name", "_patience", "_queue", "_turn")

    def __init__(self, folder: Path, name: str, patience: float) -> None:
        self._folder = folder
        self._name = name
        self._patience = patience
        self._queue = -1
        self._turn = -1
        self._depth = 0
        self._fair = 0.0

    def __enter__(self) -> None:
        if self._depth == 0:
            if self._turn < 0:
                _make_folder(self._folder)
                self._turn = _open(self._path("turn"))
            if time.monotonic() - self._fair >= COHORT or not _try(self._turn):
                self._wait()
        self._depth += 1

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave; the turn is given back with it."""
        for descriptor in (self._queue, self._turn):
            if descriptor >= 0:
                os.close(descriptor)
        self._queue = self._turn = -1

    def _wait(self) -> None:
        end = time.monotonic() + self._patience
        # A descriptor that has stood in line may be lost to its thread: it is kept only once it has the lock.
        queue, self._queue = self._queue if self._queue >= 0 else _open(self._path("queue")), -1
        self._queue = self._lock(queue, "queue", end)
        try:
            turn, self._turn = self._turn, -1
            self._turn = self._lock(turn, "turn", end)
        finally:
            fcntl.flock(self._queue, fcntl.LOCK_UN)
        self._fair = time.monotonic()

    def _path(self, which: str) -> Path:
        return self._folder / f"{self._name}.{which}"

    def _lock(self, descriptor: int, which: str, end: float) -> int:
        if _try(descriptor):
            return descriptor
        path = self._path(which)
        locked = _lock(descriptor, path, end)
        if locked is None:
            raise self._busy(path)
        return locked

    def _busy(self, path: Path) -> Busy:
        pid = _holder(path)
        who = f" by process {pid}" if pid else ""
        return Busy(
            f"the state of {self._name!r} in {self._folder.parent} is being written{who} and was not free in time",
            unchanged=["nothing was changed"],
            next=[f"see what it does: ps -o pid,stat,args -p {pid}" if pid else "try again"],
        )


class Together:
    """The turns on several files, taken in order and given back together: a context manager."""

    __slots__ = ("_turns",)

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns

    def __enter__(self) -> None:
        taken = 0
        try:
            for turn in self._turns:
                turn.__enter__()
                taken += 1
        except BaseException:
            self._give_back(taken)
            raise

    def __exit__(self, *exc: object) -> None:
        self._give_back(len(self._turns))

    def _give_back(self, count: int) -> None:
        for turn in reversed(self._turns[:count]):
            turn.__exit__()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder.parent, error) from error


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(path.parent.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> StoreDown:
    step = "check the folder's owner and mode, and whether its file system is read-only"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        step = "make room and try again"
    elif lacks_files(error):
        step = MORE_FILES
    return StoreDown(
        f"the state in {folder} can't be written: {error.strerror}",
        system=str(error),
        unchanged=["nothing was changed"],
        next=[step],
    )


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(fd: int, path: Path, end: float) -> int | None:
    """A descriptor that has the lock by ``end``, or None, in place of ``fd``, which could not have it at once."""
    os.close(fd)
    left = end - time.monotonic()
    return _stand_in_line(path, left) if left > 0 else None


def _stand_in_line(path: Path, left: float) -> int | None:
    """Wait in the kernel's queue, which is fair but can't be left: so a thread stands there, with a descriptor
    of its own, and gives the lock back if nobody waits for it any more when its turn comes."""
    import threading

    fd = _open(path)
    guard = threading.Lock()
    arrived = threading.Event()
    given_up = False

    def stand() -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with guard:
            if given_up:
                os.close(fd)
            arrived.set()

    threading.Thread(target=stand, name="writers-queue", daemon=True).start()
    arrived.wait(left)
    with guard:
        if arrived.is_set():
            return fd
        given_up = True
        return None


def _holder(path: Path) -> int | None:
    """The process that has the lock, from the kernel's list; None where there is no such list."""
    try:
        inode = path.stat().st_ino
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                parts = line.split()
                if parts[1] == "FLOCK" and parts[5].rpartition(":")[2] == str(
                    inode
                ):  # a waiter has "->" there
                    return int(parts[4])
    except (OSError, ValueError, IndexError):
        return None
    return None
