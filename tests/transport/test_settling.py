"""Why: many files of one folder cost one look at the disk for it, and still none is told of before it is durable."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from sloth_runner.ops import Batch, Exec, MakeDir, MakeLink, Remove, Write
from sloth_runner.transport.local import LocalTransport
from sloth_runner.transport.settling import MOST, Settling

Place = tuple[int, int]


@contextmanager
def synced() -> Iterator[list[Place]]:
    """The folders that are made durable meanwhile."""
    found: list[Place] = []

    def hook(frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call" and arg is os.fsync and frame.f_code.co_name == "sync_folder":
            found.append(place(os.fstat(frame.f_locals["fd"])))

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        yield found
    finally:
        sys.setprofile(before)


def place(status: os.stat_result) -> Place:
    return status.st_dev, status.st_ino


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def make(folder: Path, settling: Settling | None) -> None:
    """Files are replaced, and a folder and a link made and one removed, in one folder."""
    (folder / "a").write_text("there before")
    transport = LocalTransport({}, settling=settling)
    for op in (
        Batch(tuple(Write(str(folder / "a"), content, 0o644) for content in (b"1", b"2", b"3"))),
        MakeDir(str(folder / "sub"), 0o755),
        MakeLink(str(folder / "link"), "a"),
        Remove(str(folder / "a"), recursive=False),
    ):
        assert transport.at_once(op) is not None


def test_a_folder_is_made_durable_once_for_all_that_was_done_in_it(tmp_path: Path) -> None:
    settling, here = Settling(), place(tmp_path.stat())
    with synced() as found:
        make(tmp_path, settling)
        assert found == []
        settling.settle()
        assert found == [here]
        settling.settle()
        assert found == [here]


def test_who_does_not_settle_has_each_made_durable_at_once(tmp_path: Path) -> None:
    with synced() as found:
        make(tmp_path, None)
    assert found == [place(tmp_path.stat())] * 6


def test_the_folder_that_was_written_into_is_meant_whatever_its_name_means_by_then(tmp_path: Path) -> None:
    settling = Settling()
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
    name = tmp_path / "current"
    name.symlink_to("1")
    transport = LocalTransport({}, settling=settling)
    transport.at_once(Write(str(name / "f"), b"x", 0o644))
    name.unlink()
    name.symlink_to("2")
    transport.at_once(Write(str(name / "f"), b"x", 0o644))
    with synced() as found:
        settling.settle()
    assert sorted(found) == sorted(place(folder.stat()) for folder in (first, second))


def test_folders_that_wait_are_bounded_and_given_back(tmp_path: Path) -> None:
    settling, before = Settling(), descriptors()
    transport = LocalTransport({}, settling=settling)
    with synced() as found:
        for number in range(MOST + 5):
            (tmp_path / str(number)).mkdir()
            transport.at_once(Write(str(tmp_path / str(number) / "f"), b"x", 0o644))
        assert len(found) == 5
        assert descriptors() == before + MOST
        settling.settle()
        assert len(set(found)) == MOST + 5
    assert descriptors() == before


def test_a_folder_that_has_gone_meanwhile_needs_nothing(tmp_path: Path) -> None:
    settling = Settling()
    transport = LocalTransport({}, settling=settling)
    (tmp_path / "sub").mkdir()
    transport.at_once(Write(str(tmp_path / "sub" / "f"), b"x", 0o644))
    transport.at_once(Remove(str(tmp_path / "sub"), recursive=True))
    settling.settle()
    assert not (tmp_path / "sub").exists()


def test_a_file_system_that_knows_no_way_is_left_alone() -> None:
    settling, before = Settling(), descriptors()
    folder = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(OSError, match="Invalid argument"):
        os.fsync(folder)
    settling.later(folder, "/proc/self/x")
    os.close(folder)
    settling.settle()
    assert descriptors() == before


def test_a_program_finds_what_was_done_before_it_durable(tmp_path: Path) -> None:
    settling = Settling()
    transport = LocalTransport({}, settling=settling)
    transport.at_once(Write(str(tmp_path / "f"), b"x", 0o644))
    with synced() as found:
        asyncio.run(transport.do(Exec("a program", ("/bin/true",))))
    assert found == [place(tmp_path.stat())]


def test_threads_that_change_one_folder_hold_it_once(tmp_path: Path) -> None:
    settling, before = Settling(), descriptors()
    together = threading.Barrier(8)
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)

    def change() -> None:
        together.wait()
        settling.later(folder, str(tmp_path / "f"))

    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(folder)
    assert descriptors() == before + 1
    settling.settle()
    assert descriptors() == before


def test_without_a_descriptor_to_spare_it_is_made_durable_at_once(tmp_path: Path) -> None:
    settling = Settling()
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (folder + 1, hard))
    try:
        with synced() as found:
            settling.later(folder, str(tmp_path / "f"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(folder)
    assert found == [place(tmp_path.stat())]
