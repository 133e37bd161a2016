"""Why: files on the controller that modules take (``src``) are found and read in one manner."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sloth_runner.agent.looking import kind_of, stamp_of, steady
from sloth_runner.errors import BadArgument, FileMissing, TooLarge
from sloth_runner.modules.base import SourceEntry
from sloth_runner.names import did_you_mean
from sloth_runner.ops import FOLDER, LINK
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.modules.base import Deliver
    from sloth_runner.ops import Stamp

LIMIT = 256 << 20
"""Bytes that a source may have: it is held in memory whole."""


class Sources:
    """The files of the controller that one task file uses; relative paths start at ``folder``."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes:
        """A file's content. Raises as ``read_source``."""
        return read_source(self._folder, path)

    def digest(
        self, path: str, known: tuple[Stamp, str] | None = None
    ) -> tuple[str, bytes | None, Stamp | None]:
        """The SHA-256 of a file, its content if it had to be read, and its stamp if a change must show in that."""
        from hashlib import sha256

        status = self._status(path)
        if status is not None and known is not None and known[0] == stamp_of(status):
            return known[1], None, known[0]
        content = self.read(path)
        same = status is not None and self.stamp(path) == stamp_of(status)  # reading it may change its atime
        stamp = steady(status) if status is not None and same else None
        return sha256(content).hexdigest(), content, stamp

    def stamp(self, path: str) -> Stamp | None:
        """A file's stamp as it is now; None if there is none."""
        status = self._status(path)
        return None if status is None else stamp_of(status)

    def _status(self, path: str) -> os.stat_result | None:
        full = path if path.startswith("/") else f"{self._folder}/{path}"
        try:
            return os.stat(full)  # noqa: PTH116 - pathlib takes ten times as long
        except (OSError, ValueError):
            return None

    def tree(self, path: str) -> tuple[SourceEntry, ...]:
        """What a SourceTree is answered with. Raises as ``read_source``."""
        return read_tree(self._folder, path)

    def deliver(self, op: Deliver) -> bool:
        """Put a file on the controller, with the folders above it; whether it differed. Raises OpError."""
        from sloth_runner.agent.names import problem
        from sloth_runner.agent.perform import perform
        from sloth_runner.ops import Write

        path = os.path.normpath(Path(self._folder, op.path).absolute())
        try:
            if Path(path).read_bytes() == op.content:
                return False
        except OSError:
            pass  # missing or unreadable: the write tells what is wrong with it
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise problem(error, path) from error
        perform(Write(path, op.content, op.mode))
        return True


def read_source(folder: str, path: str) -> bytes:
    """A file on the controller; a relative path starts at ``folder``.

    Raises FileMissing (with the nearest name in that folder), BadArgument (no regular file), TooLarge.
    """
    if not path or "\0" in path:
        raise BadArgument("src is the path of a file on the machine that runs sloth-runner")
    full = os.path.join(folder, path)  # noqa: PTH118 - as above
    if path[-1] in "/.":  # a file may be written as if it were a folder
        full = str(Path(full))
    try:
        status = os.stat(full)  # noqa: PTH116 - as above
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise BadArgument(f"{full} is {what}; src is one file", unchanged=["this call changed nothing"])
        content = _content(full, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(
            f"there is no file {full}", unchanged=["this call changed nothing"], next=_near(Path(full))
        ) from None
    except OSError as error:
        words = error.strerror or str(error)
        raise FileMissing(f"{full} can't be read: {words}", system=str(error)) from error
    if len(content) > LIMIT:
        raise TooLarge(
            f"{full} has more than {LIMIT >> 20} MiB, which modules don't carry",
            unchanged=["this call changed nothing"],
            next=["have the target get it: http.download, or cmd with rsync and creates = its path"],
        )
    return content


def _content(path: str, size: int) -> bytes:
    """A file's content, or one byte more of it than LIMIT. ``size``: bytes that it probably has: one read of
    LIMIT would have memory made for all of that."""
    pieces: list[bytes] = []
    left = LIMIT + 1
    with open(path, "rb", buffering=0) as file:
        while left and (piece := file.read(min(left, max(size + 1, 1 << 16)))):
            pieces.append(piece)
            left -= len(piece)
            size = 0
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_tree(folder: str, path: str) -> tuple[SourceEntry, ...]:
    """What ``path`` names on the controller and all that is in it. Raises FileMissing, BadArgument."""
    if not path or "\0" in path:
        raise BadArgument("src is the path of a file or folder on the machine that runs sloth-runner")
    full = os.path.join(folder, path)  # noqa: PTH118 - as above
    try:
        status = os.stat(full)  # noqa: PTH116 - as above
        found = [_entry("", status)]
        waiting = [""] if found[0].kind == FOLDER else []
        while waiting:
            below = waiting.pop()
            with os.scandir(os.path.join(full, below)) as entries:  # noqa: PTH118 - as above
                inner = [_below(below, entry) for entry in entries]
            found.extend(inner)
            waiting.extend(entry.path for entry in inner if entry.kind == FOLDER)
    except (FileNotFoundError, NotADirectoryError):
        raise FileMissing(
            f"there is no file {full}", unchanged=["this call changed nothing"], next=_near(Path(full))
        ) from None
    except OSError as error:
        words = error.strerror or str(error)
        raise FileMissing(f"{full} can't be read: {words}", system=str(error)) from error
    return tuple(sorted(found))


def _below(folder: str, entry: os.DirEntry[str]) -> SourceEntry:
    path = f"{folder}/{entry.name}" if folder else entry.name
    made = _entry(path, entry.stat(follow_symlinks=False))
    if made.kind != LINK:
        return made
    return made._replace(target=os.readlink(entry.path))  # noqa: PTH115 - as above


def _entry(path: str, status: os.stat_result) -> SourceEntry:
    return SourceEntry(path, kind_of(status.st_mode), stat.S_IMODE(status.st_mode))


def _near(full: Path) -> list[str]:
    try:
        names = [entry.name for entry in full.parent.iterdir()]
    except OSError:
        return [f"there is no folder {full.parent}"]
    return did_you_mean(full.name, names)
