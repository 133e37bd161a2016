"""Why: a plan must not promise what no file system lets happen: to write where nothing is written, to remove what
something is mounted on.

The machine tells of its mounts once (proc(5), mountinfo). Where it doesn't, nothing is foreseen.
"""

from __future__ import annotations

import re

from sloth_runner.ops import (
    FOLDER,
    LINK,
    MUTATING,
    Content,
    MakeDir,
    MakeLink,
    OpError,
    Read,
    Remove,
    SetAttrs,
    Unpack,
    Write,
)
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from sloth_runner.ops import Op, Result

TABLE = "/proc/self/mountinfo"
LARGEST = 4 << 20


class Mounts:
    """What is mounted on one machine, and where nothing can be written."""

    def __init__(self) -> None:
        self._read_only: dict[str, bool] | None = None

    def ask(self, op: Op) -> Generator[Op, Result, None]:
        """Ask the machine for what ``refuse`` has to know."""
        if self._read_only is None and isinstance(op, (*MUTATING, Unpack)):
            try:
                table = yield Read(TABLE, LARGEST)
            except OpError:
                table = Content(b"")
            self._read_only = _parsed(table.data if isinstance(table, Content) else b"")

    def refuse(self, op: Op) -> None:
        """Raise the OpError that a change of what ``op`` names would meet there."""
        if self._read_only is None or not isinstance(op, MUTATING):
            return
        if self._is_read_only(op.path):
            raise OpError("read-only", op.path, "is on a read-only file system")
        if isinstance(op, Remove | Write | MakeLink):
            self._refuse_over(op.path, recursive=isinstance(op, Remove) and op.recursive)

    def refuse_unpacked(self, entries: Iterable[tuple[str, str]], old: set[str]) -> None:
        """The same for what is unpacked, by path and kind; ``old`` are the folders that are there already."""
        for path, kind in entries:
            if kind == FOLDER:
                self.refuse(SetAttrs(path) if path in old else MakeDir(path, 0o755))
            else:
                self.refuse(MakeLink(path, "") if kind == LINK else Write(path, b""))

    def _refuse_over(self, path: str, *, recursive: bool) -> None:
        """Nothing on which something is mounted goes or gives way."""
        assert self._read_only is not None
        below = f"{path}/"
        for place in self._read_only:
            if place == path or (recursive and place.startswith(below)):
                raise OpError("mount", place, "a file system is mounted there")

    def _is_read_only(self, path: str) -> bool:
        assert self._read_only is not None
        while path not in self._read_only and path != "/":
            path = path.rpartition("/")[0] or "/"
        return self._read_only.get(path, False)


def _parsed(table: bytes) -> dict[str, bool]:
    """Whether nothing can be written, by mount point; of several on one place the last counts."""
    found = {}
    for line in table.decode("utf-8", "surrogateescape").splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:] or len(fields) < 10:
            continue
        options = {*fields[5].split(","), *fields[-1].split(",")}
        place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4])
        found[place] = "ro" in options
    return found
