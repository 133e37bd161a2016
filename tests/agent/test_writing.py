"""Why: a writer that fails says where, and one that is killed leaves nothing that stays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from sloth_runner.agent.perform import perform
from sloth_runner.modules.files.guard import over
from sloth_runner.ops import Done, MakeLink, OpError, Remove, Write


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
