"""Why: what a path really is decides which resource it is: it has to be the same however it is found out."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.agent.perform import perform
from sloth_runner.ops import ABSENT, Found, OpError, Read, Stat

NAMES = ("a", "b", "c", "d (deleted)")
PLACES = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
STEPS = st.lists(st.sampled_from((*NAMES, "..", ".")), min_size=1, max_size=4).map("/".join)
THINGS = st.dictionaries(
    PLACES, st.just(None) | st.just("") | STEPS | st.sampled_from(("/proc/self/cwd", "/dev/null")), max_size=6
)


def plant(folder: Path, things: dict[str, str | None]) -> None:
    """Folders (None), files ("") and links (their target), as far as they can be made in this order, and never where
    a link leads."""
    for name, target in things.items():
        path = folder / name
        if os.path.realpath(path.parent) != str(path.parent) or os.path.lexists(path):
            continue
        try:
            if target is None:
                path.mkdir(parents=True)
            elif target == "":
                path.write_text("")
            else:
                path.symlink_to(target)
        except OSError:
            continue  # a folder is missing, or a file is where one would have to be


@given(THINGS, STEPS)
def test_the_real_path_is_the_one_that_following_each_part_leads_to(
    things: dict[str, str | None], asked: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder).resolve(), things)
        path = f"{folder}/{asked}"
        try:
            found = perform(Stat(path, follow=True))
        except OpError:
            with pytest.raises(OSError, match="Too many levels of symbolic links"):
                os.lstat(os.path.realpath(path))
            return
        assert isinstance(found, Found)
        assert found.real == os.path.realpath(path)
        assert (found.kind == ABSENT) == (not os.path.lexists(os.path.realpath(path)))


def test_a_folder_whose_name_is_as_that_of_a_removed_one_is_found(tmp_path: Path) -> None:
    (tmp_path / "it (deleted)").mkdir()
    (tmp_path / "link").symlink_to("it (deleted)")
    found = perform(Stat(str(tmp_path / "link"), follow=True))
    assert isinstance(found, Found)
    assert found.real == str(tmp_path / "it (deleted)")


def test_what_is_no_file_is_not_even_opened(tmp_path: Path) -> None:
    """A device may do something when it is opened; a socket says that it was."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        (tmp_path / "link").symlink_to("s")
        for name in ("s", "link"):
            with pytest.raises(OpError, match="is not a regular file") as caught:
                perform(Read(str(tmp_path / name), 10))
            assert caught.value.kind == "not-file"
