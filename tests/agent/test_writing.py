"""Why: a writer that fails says where, and one that is killed leaves nothing that stays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from sloth_runner.agent.perform import perform
from sloth_runner.ops import MakeLink, OpError, Write


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
