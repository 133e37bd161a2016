"""What a module would do to a text is told as diff tells it."""

from __future__ import annotations

from difflib import unified_diff

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.modules.difference import COMPARED, LIMIT, difference, sizes

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


def test_of_what_is_large_the_sizes_are_told() -> None:
    large = b"x" * (COMPARED + 1)
    assert difference("a", None, large) == "large, 0 → 1,048,577 bytes"
    assert difference("a", large, None) == "large, 1,048,577 → 0 bytes"
    assert difference("a", large, b"x\n") == "large, 1,048,577 → 2 bytes"
    assert difference("a", large[1:], None).startswith("--- a\n+++ /dev/null\n")
    assert sizes(None, 1234) == "large, many → 1,234 bytes" and sizes(5, None) == "large, 5 → many bytes"


def test_what_is_no_text_is_told_as_such() -> None:
    for binary in (b"\0\n", b"\xff\n"):
        assert difference("a", binary, b"text\n") == "binary, 2 → 5 bytes"
        assert difference("a", b"text\n", binary) == "binary, 5 → 2 bytes"
        assert difference("a", None, binary) == "binary, 0 → 2 bytes"
        assert difference("a", binary, None) == "binary, 2 → 0 bytes"
