"""Why: a writer that fails says where, and one that is killed leaves nothing that stays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from sloth_runner.agent.perform import perform
from sloth_runner.agent.removing import DEEPEST
from sloth_runner.agent.writing import sync_folder
from sloth_runner.modules.files.guard import over
from sloth_runner.ops import Done, MakeDir, MakeLink, OpError, Remove, SetAttrs, SetTimes, Write


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("op", [Write("f", b"x"), MakeLink("f", "x")])
def test_a_folder_that_may_not_be_written_is_named(op: Write | MakeLink) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with as_nobody(), pytest.raises(OpError) as caught:
            perform(op._replace(path=f"{folder}/f"))
        assert str(caught.value) == f"{folder}/f: permission denied"


def test_what_a_killed_writer_left_goes_at_the_next_try(tmp_path: Path) -> None:
    left = tmp_path / f".sloth-{sha256(b'l').hexdigest()[:16]}"
    left.symlink_to("half")
    perform(MakeLink(str(tmp_path / "l"), "there"))
    assert [path.name for path in tmp_path.iterdir()] == ["l"]
    assert str((tmp_path / "l").readlink()) == "there"


@pytest.mark.parametrize("there", [b"theirs", None, "link"])
def test_what_is_not_what_was_read_stays(tmp_path: Path, there: bytes | str | None) -> None:
    file = tmp_path / "f"
    if isinstance(there, bytes):
        file.write_bytes(there)
    elif there is not None:
        (tmp_path / "g").write_bytes(b"read")
        file.symlink_to("g")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for read in (b"read",) if there is None else (b"read", None):
        with pytest.raises(OpError) as caught:
            perform(Write(str(file), b"ours", over=over(read)))
        assert (caught.value.kind, caught.value.partial) == ("changed", False)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    if there is None:
        perform(Write(str(file), b"first", over=over(None)))
        perform(Write(str(file), b"second", over=over(b"first")))
        assert file.read_bytes() == b"second"


def test_what_is_not_what_was_read_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"theirs")
    for read in (b"read", None):
        with pytest.raises(OpError) as caught:
            perform(Remove(str(file), over=over(read)))
        assert (caught.value.kind, file.read_bytes()) == ("changed", b"theirs")
    assert perform(Remove(str(file), over=over(b"theirs"))) == Done(True)
    assert perform(Remove(str(file), over=over(None))) == Done(False)


def test_of_many_writers_none_loses_what_another_wrote(tmp_path: Path) -> None:
    file = tmp_path / "f"

    def add(name: int) -> None:
        for number in range(40):
            while True:
                old = file.read_bytes() if file.exists() else None
                new = (old or b"") + f"{name} {number}\n".encode()
                try:
                    perform(Write(str(file), new, over=over(old)))
                    break
                except OpError as error:
                    assert error.kind == "changed"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    assert sorted(file.read_text().splitlines()) == sorted(f"{a} {b}" for a in range(4) for b in range(40))
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("op", [Write("f", b"x"), MakeLink("f", "x")])
def test_nothing_is_left_beside_what_may_not_be_replaced(op: Write | MakeLink) -> None:
    """In a folder in which all may make files, and only their owners remove them."""
    if os.geteuid() != 0:
        pytest.skip("only root has other users' files")
    with tempfile.TemporaryDirectory() as folder:
        owned = op._replace(owner="65534", group=str(os.getegid()))
        for _ in range(2):
            perform(owned._replace(path=f"{folder}/g"))  # all that nobody could not load is loaded
        Path(folder, "g").unlink()
        Path(folder, "f").write_text("theirs")
        Path(folder).chmod(0o1777)
        with as_nobody(), pytest.raises(OpError):
            perform(owned._replace(path=f"{folder}/f"))
        assert [path.read_text() for path in Path(folder).iterdir()] == ["theirs"]


def test_a_folder_whose_entries_cannot_be_made_durable_is_told(tmp_path: Path) -> None:
    read, write = os.pipe()
    sync_folder(read, "/of a kind that knows no fsync")
    os.close(read)
    os.close(write)
    with pytest.raises(OpError) as caught:
        sync_folder(read, "/gone")
    assert (caught.value.path, caught.value.partial) == ("/gone", True)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "f")
    for op in (Write(f"{tmp_path}/f", b"x"), MakeLink(f"{tmp_path}/f", "x")):
        with pytest.raises(OpError) as caught:
            perform(op)
        assert caught.value.kind == ("folder" if make is os.mkdir else "not-file")
    if make is os.mkfifo:
        with pytest.raises(OpError) as caught:
            perform(MakeDir(f"{tmp_path}/f", 0o755))
        assert caught.value.kind == "not-folder"
        for attributes in (SetAttrs(f"{tmp_path}/f", 0o600), SetTimes(f"{tmp_path}/f", 1.0)):
            with pytest.raises(OpError) as caught:
                perform(attributes)
            assert caught.value.kind == "not-file"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_times_are_set_where_they_differ(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    assert perform(SetTimes(str(file), 5.0)) == Done(True)
    assert perform(SetTimes(str(file), None, 7.0)) == Done(True)
    assert (file.stat().st_mtime, file.stat().st_atime) == (5.0, 7.0)
    for times in ((5.0, 7.0), (5.0, None), (None, 7.0), (None, None)):
        assert perform(SetTimes(str(file), *times)) == Done(False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_replaced_keeps_whose_it_is(tmp_path: Path) -> None:
    file = tmp_path / "f"

    def after(op: Write) -> tuple[int, int, int]:
        perform(op)
        status = file.stat()
        return status.st_uid, status.st_gid, status.st_mode & 0o7777

    assert after(Write(str(file), b"1")) == (0, os.getegid(), 0o644)
    os.chown(file, 65534, 4711)
    file.chmod(0o4750)
    assert after(Write(str(file), b"2")) == (65534, 4711, 0o4750)
    assert after(Write(str(file), b"3", 0o600, "0")) == (0, 4711, 0o600)
    assert after(Write(str(file), b"4", None, None, "4712")) == (0, 4712, 0o600)
    file.unlink()
    file.symlink_to("none")
    os.chown(file, 65534, 4711, follow_symlinks=False)
    assert after(Write(str(file), b"5")) == (0, os.getegid(), 0o644), "a link's are not those of the file"


def test_what_is_replaced_keeps_its_attributes(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"1")
    try:
        os.setxattr(file, "user.kept", b"yes")
    except OSError:
        pytest.skip("a file system without attributes")
    opened = len(list(Path("/proc/self/fd").iterdir()))
    for content in (b"2", b"3"):
        perform(Write(str(file), content))
        assert {name: os.getxattr(file, name) for name in os.listxattr(file)} == {"user.kept": b"yes"}
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_a_tree_that_is_too_deep_stays(tmp_path: Path) -> None:
    """Each folder on the way holds a descriptor open."""
    names = ["d"] * (DEEPEST + 1)
    folder = os.open(tmp_path, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    with pytest.raises(OpError) as caught:
        perform(Remove(f"{tmp_path}/d", recursive=True))
    assert (caught.value.kind, caught.value.partial) == ("too-deep", False)
    assert Path(tmp_path, *names).is_dir()
    assert perform(Remove(f"{tmp_path}/d/d", recursive=True)) == Done(True)
    assert [path.name for path in (tmp_path / "d").iterdir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' folders")
def test_what_is_removed_in_part_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "d")
        (tree / "theirs").mkdir(parents=True)
        (tree / "theirs" / "x").touch()
        Path(folder).chmod(0o755)
        with as_nobody(), pytest.raises(OpError) as caught:
            perform(Remove(str(tree), recursive=True))
        assert (caught.value.kind, caught.value.path, caught.value.partial) == (
            "denied",
            f"{tree}/theirs/x",
            False,
        )
        for name in (".", "d"):
            os.chown(Path(folder, name), 65534, -1)
        (tree / "ours").mkdir()
        os.chown(tree / "ours", 65534, -1)
        os.chown(tree / "theirs", 65534, -1)
        (tree / "theirs" / "deep").mkdir()
        (tree / "theirs" / "deep" / "y").touch()
        with as_nobody(), pytest.raises(OpError) as caught:
            perform(Remove(str(tree), recursive=True))
        assert caught.value.kind == "denied" and caught.value.path == f"{tree}/theirs/deep/y"
        assert (tree / "theirs" / "deep" / "y").exists()
        assert caught.value.partial is not (tree / "ours").exists()
