"""Why: of files that can't be opened some tell too late, or not at all, that a process has as many as it may have."""

from __future__ import annotations

import os


def require_files(count: int) -> None:
    """Raise OSError (EMFILE, ENFILE) unless so many more files may be open."""
    held: list[int] = []
    try:
        for _ in range(count):
            held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for fd in held:
            os.close(fd)
