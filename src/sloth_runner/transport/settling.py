"""Why: a folder that many files go into is made durable once for all of them, not once for each.

What a file holds is durable before its name is there; that the name is there follows with ``settle``: before anything
else becomes durable that may rely on it. Until then a loss of power can put back what was there before, never
anything in between; and what the ledger says of it is compared with the machine in each run anyway.
"""

from __future__ import annotations

import contextlib
import os
import threading

from sloth_runner.agent.writing import FOLDER_FLAGS, sync_folder
from sloth_runner.ops import OpError

MOST = 64
"""Folders that wait at a time: each holds a descriptor open."""


class Settling:
    """Folders of this machine in which something was changed that is not durable yet. Of use in any thread."""

    def __init__(self) -> None:
        self.failed: OpError | None = None
        """What could not be made durable, if anything: nothing that may rely on it is believed any more."""
        self._guard = threading.Lock()
        self._folders: dict[tuple[int, int], tuple[int, str]] = {}

    def later(self, fd: int, path: str) -> None:
        """Something was done to ``path`` in the folder ``fd``. Raises OpError if it had to be settled at once."""
        status = os.fstat(fd)
        key = (status.st_dev, status.st_ino)
        with self._guard:
            if key in self._folders:
                return
            if len(self._folders) < MOST:
                # Opened anew, not duplicated: a lock on the folder ends when its writer closes it.
                with contextlib.suppress(OSError):
                    self._folders[key] = (os.open(".", FOLDER_FLAGS, dir_fd=fd), path)
                    return
        sync_folder(fd, path)

    def settle(self) -> None:
        """All that was done so far is durable afterwards. Raises OpError, also of what failed before."""
        while self._folders:
            with self._guard:
                if not self._folders:
                    break
                _, (fd, path) = self._folders.popitem()
            try:
                sync_folder(fd, path)
            except OpError as error:
                self.failed = error
            finally:
                os.close(fd)
        if self.failed is not None:
            raise OpError(self.failed.kind, self.failed.path, self.failed.reason, partial=True)
