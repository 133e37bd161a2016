"""Why: removing a tree must never leave it, whatever links or mounts appear in it while that goes on."""

from __future__ import annotations

import os
import stat

from sloth_runner.agent.names import problem, split, text
from sloth_runner.agent.writing import FOLDER_FLAGS, open_folder, refuse_other, sync_folder
from sloth_runner.ops import Done, OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sloth_runner.agent.writing import Sync
    from sloth_runner.ops import Remove

DEEPEST = 400
"""Folders in folders that are followed: each holds a descriptor open, and processes commonly may have 1,024."""


def remove(op: Remove, sync: Sync = sync_folder) -> Done:
    """Remove what ``path`` names; ``Done(False)`` if there is nothing."""
    parent, name = split(op.path)
    try:
        folder = open_folder(parent)
    except OpError as error:
        if error.kind in ("missing", "not-folder"):
            return Done(False)
        raise
    removal = _Removal(op.path)
    try:
        if op.over is not None:
            refuse_other(op.path, op.over, folder, name)
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
        elif op.recursive:
            if status.st_dev != os.fstat(folder).st_dev:
                raise OpError("mount", op.path, "a file system is mounted there")
            removal.tree(folder, name, os.path.join(parent, name), status.st_dev, 1)
        else:
            os.rmdir(name, dir_fd=folder)
        sync(folder, op.path)
    except FileNotFoundError:
        return Done(removal.begun)
    except OSError as error:
        raise problem(error, op.path, partial=removal.begun) from error
    finally:
        os.close(folder)
    return Done(True)


class _Removal:
    """One removal on its way; ``begun`` once something is gone."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.begun = False

    def tree(self, parent: int, name: bytes, path: bytes, device: int, depth: int) -> None:
        """Empty the folder ``name`` in ``parent`` and remove it. Mounts are looked for before anything goes."""
        if depth > DEEPEST:
            raise OpError(
                "too-deep", text(path), f"lies more than {DEEPEST} folders deep", partial=self.begun
            )
        try:
            fd = os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            raise problem(error, text(path), partial=self.begun) from error
        try:
            with os.scandir(fd) as entries:
                inner = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
            folders = [entry for entry, is_folder in inner if is_folder]
            for entry in folders:
                self._refuse_mount(fd, entry, os.path.join(path, entry), device)
            for entry in folders:
                self.tree(fd, entry, os.path.join(path, entry), device, depth + 1)
            for entry, is_folder in inner:
                if not is_folder:
                    self._gone(os.unlink, fd, entry, os.path.join(path, entry))
        finally:
            os.close(fd)
        self._gone(os.rmdir, parent, name, path)

    def _refuse_mount(self, fd: int, entry: bytes, path: bytes, device: int) -> None:
        try:
            other = os.stat(entry, dir_fd=fd, follow_symlinks=False).st_dev != device
        except FileNotFoundError:
            return
        if other:
            raise OpError("mount", text(path), "a file system is mounted there", partial=self.begun)

    def _gone(self, action: Callable[..., None], fd: int, entry: bytes, path: bytes) -> None:
        try:
            action(entry, dir_fd=fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise problem(error, text(path), partial=self.begun) from error
        self.begun = True
