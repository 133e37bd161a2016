"""Why: a folder that many files go into is made durable once for all of them, not once for each.

What a file holds is durable before its name is there; that the name is there follows with ``settle``: before anything
else becomes durable that may rely on it. Until then a loss of power can put back what was there before, never
anything in between; and what the ledger says of it is compared with the machine in each run anyway.
"""

from __future__ import annotations

import os

from sloth_runner.agent.writing import FOLDER_FLAGS, sync_folder

MOST = 64
"""Folders that wait at a time: each holds a descriptor open."""


class Settling:
    """Folders of this machine in which something was changed that is not durable yet."""

    def __init__(self) -> None:
        self._folders: dict[tuple[int, int], tuple[int, str]] = {}

    def later(self, fd: int, path: str) -> None:
        """Something was done to ``path`` in the folder ``fd``. Raises OpError if it had to be settled at once."""
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino)
        if key in self._folders:
            return
        if len(self._folders) < MOST:
            # Opened anew, not duplicated: a lock on the folder ends when its writer closes it.
            self._folders[key] = (os.open(".", FOLDER_FLAGS, dir_fd=fd), path)
        else:
            sync_folder(fd, path)

    def settle(self) -> None:
        """All that was done so far is durable afterwards. Raises OpError."""
        while self._folders:
            _, (fd, path) = self._folders.popitem()
            try:
                sync_folder(fd, path)
            finally:
                os.close(fd)
