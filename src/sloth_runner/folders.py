"""Why: what we make in a home folder is for its user alone, whatever the umask of whoever starts us first."""

from __future__ import annotations

from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, 0700; those that are there stay as they are. Raises
    OSError."""
    for one in (*reversed(folder.parents), folder):
        if not one.exists():
            one.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)  # says so if there is something else
