"""Why: what no file system lets happen is known in a plan, and nothing else is kept from it."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sloth_runner.engine.mounts import TABLE
from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.ops import (
    Content,
    Done,
    MakeDir,
    MakeLink,
    OpError,
    Read,
    Remove,
    SetAttrs,
    SetTimes,
    Unpack,
    Unpacked,
    Write,
)
from sloth_runner.transport.local import LocalTransport

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result


class Mounted(LocalTransport):
    """This machine, with mounts of which only the table tells."""

    def __init__(self, table: str | None) -> None:
        super().__init__(os.environ)
        self._table = table

    def at_once(self, op: Op) -> Result | None:
        if not isinstance(op, Read) or op.path != TABLE:
            return super().at_once(op)
        if self._table is None:
            raise OpError("missing", TABLE, "there is none")
        return Content(self._table.encode())


def table(root: Path) -> str:
    """``ro`` is mounted read-only, ``rw`` in it for writing; the space in ``a b`` is written as proc(5) says."""
    rows = [
        ("/", "rw", "rw"),
        ("ro", "ro", "rw"),
        ("ro/rw", "rw,nosuid", "rw"),
        ("a b", "rw", "ro,errors=continue"),
    ]
    lines = []
    for name, options, of_all in rows:
        place = str(root / name).replace(" ", "\\040")
        lines.append(f"36 35 98:0 / {place} {options} shared:1 - ext4 /dev/sda {of_all}\n")
    return "".join(lines)


CASES: list[tuple[Op, str]] = [
    (Write("ro/new", b""), "read-only"),
    (Write("ro/f", b"new"), "read-only"),
    (MakeDir("ro/d", 0o755), "read-only"),
    (MakeDir("ro/rw", 0o755), ""),
    (MakeLink("ro/l", "x"), "read-only"),
    (SetAttrs("ro/f", 0o600), "read-only"),
    (SetAttrs("ro/f", 0o644), ""),
    (SetTimes("ro/f", 1.0, 1.0), "read-only"),
    (Remove("ro/f"), "read-only"),
    (Remove("ro/none"), ""),
    (Write("ro/rw/f", b""), ""),
    (Remove("ro/rw/g"), ""),
    (Remove("ro/rw", recursive=True), "mount"),
    (Write("a b/f", b""), "read-only"),
    (Remove("a b", recursive=True), "read-only"),
    (Remove("ro", recursive=True), "read-only"),
    (Write("f", b""), ""),
    (Write("link/new", b""), "read-only"),
    (Remove(".", recursive=True), "mount"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "kind"), CASES)
@pytest.mark.parametrize("known", [True, False])
def test_what_mounts_forbid_is_foreseen(tmp_path: Path, op: Op, kind: str, known: bool) -> None:
    root = tmp_path / "root"
    for name in ("ro/rw", "a b"):
        (root / name).mkdir(parents=True)
    for name in ("ro/f", "ro/rw/g"):
        (root / name).write_text("")
        (root / name).chmod(0o644)
    (root / "link").symlink_to("ro")
    path = os.path.normpath(root / op.path)  # type: ignore[union-attr]
    rehearsal = Rehearsal(Mounted(table(root) if known else None))
    try:
        result = rehearsal.at_once(op._replace(path=path))  # type: ignore[call-arg]
    except OpError as error:
        assert known and error.kind == kind
    else:
        assert isinstance(result, Done) and not (known and kind)


def packed(*names: str) -> bytes:
    """A tar of files that hold nothing; what ends with a slash is a folder, with a ``>`` a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/>"))
            member.mode = 0o755 if name.endswith("/") else 0o644
            member.type = {"/": tarfile.DIRTYPE, ">": tarfile.SYMTYPE}.get(name[-1], tarfile.REGTYPE)
            member.linkname = "f" if name.endswith(">") else ""
            archive.addfile(member)
    return out.getvalue()


UNPACKED: list[tuple[str, tuple[str, ...], str, str]] = [
    ("ro", ("f", "rw/g"), "", ""),
    ("ro", ("f", "rw/new"), "", ""),
    ("ro", ("f", "new"), "read-only", "ro/new"),
    ("ro", ("new/",), "read-only", "ro/new"),
    ("ro", ("new>",), "read-only", "ro/new"),
    (".", ("f", "ro/new/f"), "read-only", "ro/new"),
    (".", ("l>", "d/"), "", ""),
    ("rw-link", ("new",), "", ""),
]


@pytest.mark.parametrize(("dest", "names", "kind", "where"), UNPACKED)
def test_so_it_is_for_what_is_in_an_archive(
    tmp_path: Path, dest: str, names: tuple[str, ...], kind: str, where: str
) -> None:
    (tmp_path / "ro/rw").mkdir(parents=True)
    for name in ("ro/f", "ro/rw/g"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    (tmp_path / "rw-link").symlink_to("ro/rw")
    op = Unpack(os.path.normpath(tmp_path / dest), content=packed(*names))
    rehearsal = Rehearsal(Mounted(table(tmp_path)))
    assert isinstance(rehearsal.at_once(op._replace(look=True)), Unpacked), "to compare is no change"
    try:
        result = rehearsal.at_once(op)
    except OpError as error:
        assert (error.kind, error.path) == (kind, str(tmp_path / where))
    else:
        assert isinstance(result, Unpacked) and not kind
