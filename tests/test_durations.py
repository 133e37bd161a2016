"""Why: how long and when are said by people; what no calendar can say must neither be taken nor stop a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.durations import LONGEST, TooLong, human, seconds
from sloth_runner.moments import exact, iso, parse_moment


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (0, 0.0),
        (1.5, 1.5),
        ("30", 30.0),
        ("30s", 30.0),
        (" 1h30m ", 5400.0),
        ("250ms", 0.25),
        ("36525d", LONGEST),
    ],
)
def test_what_is_a_duration(value: object, length: float) -> None:
    assert seconds(value) == length


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "not true"),
        (False, "not false"),
        (None, "not nil"),
        ({}, "not a table"),
        ("soon", "not 'soon'"),
        ("\udcff", r"not '\xff'"),
        ("", "not ''"),
        ("٥", "not '٥'"),
        (-1, "not -1"),
        (float("nan"), "not nan"),
    ],
)
def test_what_is_none_is_named_as_it_was_written(value: object, shown: str) -> None:
    with pytest.raises(ValueError, match="a duration is a number of seconds") as found:
        seconds(value)
    assert str(found.value).endswith(shown)


@pytest.mark.parametrize(
    "value", [LONGEST + 1, 1e300, float("inf"), 10**400, "36526d", "9" * 400, "9" * 400 + "d"]
)
def test_what_is_too_long(value: object) -> None:
    with pytest.raises(TooLong, match="100 years"):
        seconds(value)


def test_what_is_long_is_said_shortly() -> None:
    assert human(1e300) == "over 100 years"


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1790000000.123, "2026-09-21T14:13:20.123Z"),
        (-62135596800.0, "0001-01-01T00:00:00.000Z"),
        (-1e300, "0001-01-01T00:00:00.000Z"),
        (1e300, "9999-12-31T23:59:59.999Z"),
        (float("inf"), "9999-12-31T23:59:59.999Z"),
    ],
)
def test_every_moment_has_a_form(moment: float, shown: str) -> None:
    assert iso(moment) == shown


@given(st.floats(allow_nan=False))
def test_every_form_of_a_moment_can_be_read(moment: float) -> None:
    for form in (iso(moment), exact(moment)):
        assert len(form.partition("-")[0]) == 4
        assert iso(parse_moment(form))[:19] == form[:19]


def test_how_long_ago_has_an_end() -> None:
    assert parse_moment("2h ago", 10_000.0) == 2_800.0
    with pytest.raises(TooLong, match="how long ago is at most 100 years"):
        parse_moment("99999999999999d", 0.0)
