"""What a draft promises: all that was written comes back, and what was put on a disk can't be read there."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import StoreDown
from sloth_runner.state.bundle_draft import IN_MEMORY, Draft

CANARY = b"a value that nobody may see"
SIZES = st.sampled_from([0, 1, 1000, IN_MEMORY - 1, IN_MEMORY, 2 * IN_MEMORY + 3])


def files() -> list[Path]:
    """What this process has open that has no name any more."""
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        try:
            target = str(handle.readlink())
        except OSError:
            continue
        if target.endswith("(deleted)"):
            found.append(handle)
    return found


def content(handle: Path) -> bytes:
    file: IO[bytes]
    with handle.open("rb") as file:
        return file.read()


@given(st.lists(SIZES, max_size=4))
def test_all_comes_back(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    parts = [(CANARY * (1 + size // len(CANARY)))[:size] for size in sizes]
    with Draft(tmp_path_factory.getbasetemp()) as draft:
        for part in parts:
            draft.write(part)
        assert b"".join(draft.blocks()) == b"".join(parts)


def test_what_lies_on_the_disk_has_no_name_and_says_nothing(tmp_path: Path) -> None:
    before = len(files())
    with Draft(tmp_path) as draft:
        draft.write(CANARY)
        assert len(files()) == before
        draft.write(CANARY * (IN_MEMORY // len(CANARY)))
        draft.write(b"x" * IN_MEMORY)
        assert b"".join(draft.blocks())[: len(CANARY)] == CANARY
        assert not list(tmp_path.iterdir())
        hidden = [content(handle) for handle in files()]
        assert max(map(len, hidden)) > 2 * IN_MEMORY - len(CANARY)
        assert not any(CANARY[:8] in one or b"xxxxxxxx" in one for one in hidden)
    assert len(files()) == before


def test_each_has_a_key_of_its_own(tmp_path: Path) -> None:
    asked = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    for _ in range(2):
        with Draft(tmp_path, entropy) as draft:
            draft.write(b"x" * IN_MEMORY)
    assert asked == [32, 32]


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Draft(tmp_path / "file" / "folder") as draft, pytest.raises(StoreDown, match="can't be written"):
        draft.write(b"x" * IN_MEMORY)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (IN_MEMORY + 10, before[1]))
    try:
        with pytest.raises(StoreDown, match="can't be written"), Draft(tmp_path) as draft:
            draft.write(b"x" * IN_MEMORY)
            draft.write(b"x" * 1000)  # does not fit, and would be tried once more when the file is closed
            list(draft.blocks())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
