"""Why: whoever reads that a value has changed must see in what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.engine.job import changing, shown
from sloth_runner.modules.difference import HIDDEN

LONG = st.text("ab", min_size=50, max_size=200)


def test_of_a_long_text_both_ends_are_shown() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMf1Kz5VqkJpU1V5sX0m5pWlnJqOJ0n0qk7wWc6Kk0aa ann@laptop"
    assert (
        shown([key, True, None]) == "[ssh-ed25519 AAAAC3NzaC1lZDI1NT…qOJ0n0qk7wWc6Kk0aa ann@laptop, true, -]"
    )
    assert shown("x" * 60) == "x" * 60


@given(st.one_of(st.tuples(LONG, LONG), st.tuples(st.lists(LONG, max_size=3), st.lists(LONG, max_size=3))))
def test_values_that_differ_are_shown_as_different(pair: tuple[object, object]) -> None:
    was, *now = changing(*pair).split(" → ")
    assert now != [was] and (not now) == (pair[0] == pair[1])


def test_what_is_hidden_on_both_sides_stands_there_once() -> None:
    assert changing(HIDDEN, HIDDEN) == HIDDEN
