"""Why: a source is read again only if it may have changed; that it was read is no change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sloth_runner.agent.looking import steady
from sloth_runner.errors import BadArgument, FileMissing
from sloth_runner.modules.sources import Sources


def test_a_source_that_is_read_for_the_first_time_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "src"
    path.write_bytes(b"x")
    os.utime(path, (0, 0))  # so that reading it moves its atime
    while steady(path.stat()) is None:
        pass
    sources = Sources(str(tmp_path))
    digest, content, stamp = sources.digest("src")
    assert (content, stamp is None) == (b"x", False)
    assert stamp is not None
    assert sources.digest("src", (stamp, digest)) == (digest, None, stamp)


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 1 << 18])
def test_a_source_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "src").write_bytes(content)
    assert Sources(str(tmp_path)).read("src") == content


def test_a_source_is_found_however_its_path_is_written(tmp_path: Path) -> None:
    (tmp_path / "src").write_bytes(b"x")
    for path in ("src", "./src", "src/", "src/.", f"{tmp_path}//src", f"../{tmp_path.name}/src"):
        assert Sources(str(tmp_path)).read(path) == b"x"


def test_a_source_that_does_not_say_how_long_it_is_is_read_whole() -> None:
    assert Path("/proc/version").stat().st_size == 0
    assert Sources("/proc").read("version") == Path("/proc/version").read_bytes()


def test_a_source_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in (("pipe", "is no regular file"), (".", "is a folder"), ("", "is the path of a file")):
        with pytest.raises(BadArgument, match=what):
            Sources(str(tmp_path)).read(path)
    with pytest.raises(FileMissing, match=r"there is no file .*/pipes"):
        Sources(str(tmp_path)).read("pipes")
