"""Why: a source is read again only if it may have changed; that it was read is no change."""

from __future__ import annotations

import os
from pathlib import Path

from sloth_runner.agent.looking import steady
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
