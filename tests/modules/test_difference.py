"""What a module would do to a text is told as diff tells it."""

from __future__ import annotations

from difflib import unified_diff

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.modules.difference import LIMIT, difference

LINES = st.lists(st.sampled_from(["", "a", "b", "- c", "é"]), max_size=12)
END = st.sampled_from(["", "\n"])


def content(lines: list[str], end: str) -> bytes | None:
    return ("\n".join(lines) + end).encode() if lines else None


@given(LINES, LINES, END, END)
def test_the_lines_are_those_of_a_unified_diff(old: list[str], new: list[str], one: str, two: str) -> None:
    before, after = content(old, one), content(new, two)
    found = difference("/etc/motd", before, after)
    was, now = ("/dev/null" if side is None else "/etc/motd" for side in (before, after))
    lines = unified_diff(_marked(before or b""), _marked(after or b""), was, now, lineterm="")
    assert found == "\n".join(lines)


def _marked(data: bytes) -> list[str]:
    """Lines without their ends; where the last has none, as diff marks it."""
    lines = data.decode().splitlines(keepends=True)
    return [line[:-1] if line.endswith("\n") else line + "\n\\ No newline at end of file" for line in lines]


def test_a_long_one_is_cut() -> None:
    assert difference("a", None, b"line\n" * LIMIT).endswith("\n… the rest is left out")
    assert len(difference("a", None, b"line\n" * LIMIT)) < LIMIT + 100
