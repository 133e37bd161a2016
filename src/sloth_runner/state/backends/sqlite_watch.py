"""Why: files don't tell of changes; but SQLite counts what other connections commit, and that is cheap to ask for.

(PRAGMA data_version: differs after each commit of another connection, whichever process it is in.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from sloth_runner.state.backends import sqlite_file
from sloth_runner.state.layout import SEP, namespace_of
from sloth_runner.state.store import Doorbell

POLL = 0.05
"""Seconds between two looks."""


@contextmanager
def watch(
    namespaces: Callable[[], Sequence[str]], path_of: Callable[[str], Path], prefix: str, patience: float
) -> Iterator[Doorbell]:
    """A doorbell of the files that hold keys below ``prefix``, whenever they come to be. It can't say which keys
    changed. Raises what opening a file raises."""

    def paths() -> list[Path]:
        names = [namespace_of(prefix)] if SEP in prefix else namespaces()
        found = [path_of(name) for name in names if SEP in prefix or (name + SEP).startswith(prefix)]
        return [path for path in found if sqlite_file.size_of(path)]

    bell = _Bell(paths, patience)
    try:
        bell.look()
        yield bell
    finally:
        bell.close()


class _Bell:
    """One connection a file, which reads nothing but the count."""

    def __init__(self, paths: Callable[[], list[Path]], patience: float) -> None:
        self._paths = paths
        self._patience = patience
        self._files: dict[Path, tuple[apsw.Connection, int]] = {}
        self._seen: dict[Path, int] = {}

    def __call__(self, seconds: float) -> Sequence[str] | None:
        """See Doorbell."""
        end = time.monotonic() + seconds
        while True:
            if self.look():
                return None
            left = end - time.monotonic()
            if left <= 0:
                return ()
            time.sleep(min(POLL, left))

    def look(self) -> bool:
        """Whether something was committed since the last look."""
        changed = False
        paths = self._paths()
        for gone in self._files.keys() - set(paths):
            self._drop(gone)
            changed = True
        for path in paths:
            try:
                inode = path.stat().st_ino
                if path in self._files and self._files[path][1] != inode:  # another file in its place
                    self._drop(path)
                if path not in self._files:
                    self._files[path] = sqlite_file.open_file(path, self._patience, create=False), inode
                version = self._files[path][0].pragma("data_version")
            except FileNotFoundError:
                continue
            except OSError as error:
                raise sqlite_file.unreachable(path, error) from error
            except apsw.Error as error:
                raise sqlite_file.translated(error, path) from error
            if self._seen.get(path) != version:
                self._seen[path] = version
                changed = True
        return changed

    def close(self) -> None:
        """Give the connections back."""
        for path in list(self._files):
            self._drop(path)

    def _drop(self, path: Path) -> None:
        self._seen.pop(path, None)
        self._files.pop(path)[0].close()
