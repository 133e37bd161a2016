"""Why: keys and certificates lie in one folder that only its owner may read, and are never found half written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sloth_runner.errors import FileMissing, StoreDown
from sloth_runner.folders import make_private


class Folder:
    """The folder; made, mode 0700, when something is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        """A file, or None. Raises StoreDown."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._trouble(name, error) from error

    def need(self, name: str, *next_steps: str) -> bytes:
        """A file that has to be there. Raises FileMissing."""
        found = self.read(name)
        if found is None:
            raise FileMissing(
                f"there is no {self.path / name}", unchanged=["nothing was changed"], next=next_steps
            )
        return found

    def write(self, name: str, data: bytes, *, mode: int = 0o600) -> None:
        """Write a file whole: it is the old one or the new one at every moment, and on disk when this returns."""
        temporary = self.path / f".{name}.{os.getpid()}"
        try:
            make_private(self.path)
            temporary.unlink(missing_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            temporary.replace(self.path / name)
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._trouble(name, error) from error

    def stamp(self, name: str) -> tuple[int, int] | None:
        """What changes when a file is written anew; None: there is none."""
        try:
            found = os.stat(f"{self.path}/{name}")  # noqa: PTH116 - asked for hundreds of times in a run
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    @contextmanager
    def turn(self, what: str = "turn") -> Iterator[None]:
        """One process at a time changes ``what`` is in here."""
        try:
            make_private(self.path)
            fd = os.open(self.path / f".{what}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._trouble(f".{what}", error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _trouble(self, name: str, error: OSError) -> StoreDown:
        return StoreDown(
            f"{self.path / name} can't be used: {error.strerror}",
            system=str(error),
            next=["check the folder's owner and mode"],
        )
