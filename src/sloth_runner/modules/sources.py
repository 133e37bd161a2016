"""Why: files on the controller that modules take (``src``) are found and read in one manner."""

from __future__ import annotations

from pathlib import Path

from sloth_runner.errors import BadArgument, FileMissing, TooLarge
from sloth_runner.names import did_you_mean

LIMIT = 256 << 20
"""Bytes that a source may have: it is held in memory whole."""


def read_source(folder: str, path: str) -> bytes:
    """A file on the controller; a relative path starts at ``folder``.

    Raises FileMissing (with the nearest name in that folder), BadArgument (no regular file), TooLarge.
    """
    if not path or "\0" in path:
        raise BadArgument("src is the path of a file on the machine that runs sloth-runner")
    full = Path(folder, path)
    try:
        if full.exists() and not full.is_file():
            what = "a folder" if full.is_dir() else "no regular file"
            raise BadArgument(f"{full} is {what}; src is one file", unchanged=["nothing was changed"])
        with full.open("rb") as file:
            content = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(
            f"there is no file {full}", unchanged=["nothing was changed"], next=_near(full)
        ) from None
    except OSError as error:
        words = error.strerror or str(error)
        raise FileMissing(f"{full} can't be read: {words}", system=str(error)) from error
    if len(content) > LIMIT:
        raise TooLarge(
            f"{full} has more than {LIMIT >> 20} MiB, which modules don't carry",
            unchanged=["nothing was changed"],
            next=["fetch it on the target: cmd with curl, rsync, …, and creates = its path"],
        )
    return content


def _near(full: Path) -> list[str]:
    try:
        names = [entry.name for entry in full.parent.iterdir()]
    except OSError:
        return [f"there is no folder {full.parent}"]
    return did_you_mean(full.name, names)
