"""Law: what is cut to fit a terminal fits, and of a name both ends are seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.cli.text import ELLIPSIS, clip_inside, table, width

LETTERS = st.text(st.sampled_from("ab/日"), min_size=1, max_size=60)


@given(LETTERS, st.integers(1, 50))
def test_a_name_is_cut_in_its_middle(name: str, most: int) -> None:
    shown = clip_inside(name, most)
    assert width(shown) <= most
    start, cut, end = shown.partition(ELLIPSIS)
    assert shown == name if not cut else name.startswith(start) and name.endswith(end)
    assert not cut or most < 8 or (start and end)


def test_rows_whose_names_differ_at_the_end_are_told_apart() -> None:
    rows = [[f"file:/etc/a/folder/that/holds/many/{name}.conf", "created"] for name in "ab"]
    _, first, second = table(["RESOURCE", "STATUS"], rows, 30, (0,), color=False)
    assert first != second and first.startswith("file:/etc") and "a.conf  created" in first
