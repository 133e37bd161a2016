"""Law: a page shows every line of a difference as what it is, whatever it looks like."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.modules.difference import difference
from sloth_runner.web.diffs import tones

LINES = st.lists(
    st.sampled_from(("", "one", "-- a comment", "++ b", "@@ -1 +1 @@", "\\ No newline")), max_size=6
)
TEXTS = st.builds(lambda lines, end: ("\n".join(lines) + end).encode(), LINES, st.sampled_from(("", "\n")))


@given(TEXTS, TEXTS)
def test_no_line_of_a_difference_is_lost(old: bytes, new: bytes) -> None:
    diff = difference("/a", old, new)
    shown = tones(diff)
    assert [line for _, line in shown] == (diff.split("\n")[2:] if diff else [""])
    for tone, line in shown:
        assert tone in {"+": ("plus",), "-": ("minus",), "@": ("hunk",)}.get(line[:1], ("",))


@given(TEXTS, TEXTS)
def test_of_several_files_their_names_are_shown(one: bytes, two: bytes) -> None:
    first, last = difference("/a", one + b"x\n", None), difference("/b", None, two + b"y\n")
    shown = tones(f"{first}\n{last}\n--- /c\n+++ /dev/null")
    names = [line for tone, line in shown if tone == "file"]
    assert names == ["--- /a", "+++ /dev/null", "--- /dev/null", "+++ /b", "--- /c", "+++ /dev/null"]


def test_what_is_no_difference_of_lines_is_shown_as_it_is() -> None:
    assert tones("(not shown: sensitive)") == [("", "(not shown: sensitive)")]
    assert tones("--- /c\n+++ /dev/null") == [("file", "--- /c"), ("file", "+++ /dev/null")]
