"""Why: a disk that is told to make a file durable has to be waited for; of many new files that it is told of at once,
hardly longer than of one. So a new file can be written, with its mode and owner, before it has a name: until then
nobody sees it, and of a process that is killed nothing stays behind.
"""

from __future__ import annotations

import contextlib
import os

from sloth_runner.agent.names import ids, problem, split
from sloth_runner.agent.writing import (
    NEW_FILE,
    existing,
    fill_file,
    open_folder,
    own,
    sync_folder,
    unnamed,
    write_all,
)
from sloth_runner.ops import Done, OpError, Write
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sloth_runner.agent.writing import Sync
    from sloth_runner.ops import Op


class Staged:
    """A file without a name. It becomes durable with ``sync``, which ``begin`` has the disk begin with; ``place``
    gives it its name."""

    __slots__ = ("_failed", "_fd", "_folder", "_name", "highest", "key", "path")

    def __init__(self, path: str, name: bytes, folder: int, fd: int) -> None:
        status = os.fstat(folder)
        self.path = path
        self.key = (status.st_dev, status.st_ino, name)
        """Which place it is, under whatever name."""
        self.highest = max(fd, folder)
        """The highest number of its open files."""
        self._name = name
        self._folder = folder
        self._fd = fd
        self._failed: OpError | None = None

    def begin(self) -> None:
        """Have what it holds written, without waiting for it."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):  # a file system that can't is waited for
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """What it holds is durable afterwards; if not, ``place`` raises what keeps it."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._failed = problem(error, self.path)

    def place(self, sync: Sync = sync_folder) -> Done:
        """Give it its name; never in the place of something else. Raises OpError: ``exists``, if there is something
        by now."""
        if self._failed is not None:
            raise self._failed
        try:
            os.link(f"/proc/self/fd/{self._fd}", self._name, dst_dir_fd=self._folder)
        except OSError as error:
            raise problem(error, self.path) from error
        sync(self._folder, self.path)
        return Done(True)

    def close(self) -> None:
        """Done with it: without a name, it is gone."""
        os.close(self._fd)
        os.close(self._folder)


def stage(op: Write) -> Staged | None:
    """Write a new file that waits for its name; None if there is something, or the file system has no files without
    names. Raises OpError, OSError."""
    uid, gid = ids(op.path, op.owner, op.group)
    parent, name = split(op.path)
    folder, fd = open_folder(parent), None
    try:
        if existing(op.path, name, folder) is None:
            fd = unnamed(folder)
        if fd is not None:
            own(fd, uid, gid)
            fill_file(fd, lambda fd: write_all(fd, op.content), NEW_FILE if op.mode is None else op.mode)
    except BaseException:
        os.close(folder)
        if fd is not None:
            os.close(fd)
        raise
    if fd is None:
        os.close(folder)
        return None
    return Staged(op.path, name, folder, fd)


def stage_row(ops: Sequence[Op], start: int) -> tuple[dict[int, Staged], int]:
    """The new files among the Writes that stand in a row from ``start`` on, by place, their contents durable; and
    where the row ends. One that can't be staged, whatever the reason, is none of them."""
    staged: dict[int, Staged] = {}
    end = start
    while end < len(ops):
        op = ops[end]
        if not isinstance(op, Write):
            break
        end += 1
        try:
            one = stage(op) if op.over is None else None
        except Exception:
            for _ in range(min(2, len(staged))):  # it is raised where that is done as ever, which opens files
                staged.popitem()[1].close()
            break
        if one is not None:
            staged[end - 1] = one
    for one in staged.values():
        one.begin()
    for one in staged.values():
        one.sync()
    return staged, end
