"""Generated messages are what their .proto says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import protos


@pytest.mark.parametrize("proto", protos.protos(), ids=lambda path: path.name)
def test_generated_files_are_current(proto: Path) -> None:
    for path, text in protos.build(proto).items():
        assert path.read_text(encoding="utf-8") == text, f"run scripts/protos: {path.name} is not current"
