"""Why: a line that is understood without the library must mean what it means to the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloth_runner.cli import words
from sloth_runner.cli.clicked import Clicked
from sloth_runner.cli.table import ROOT
from tests.cli.kit import Cli


def _places(entries: Mapping[str, Any]) -> Iterator[str]:
    for entry in entries.values():
        if isinstance(entry[0], str):
            yield entry[0]
        else:
            yield from _places(entry[0])


PLACES = sorted(set(_places(ROOT)))
TEXTS = st.one_of(
    st.sampled_from(
        ["", "-", "--", "-5", "3", "1h", "a=b", "json", "--help", "-x", "--no-such", "a b", "-o", "0"]
    ),
    st.text(alphabet="ab-=1", max_size=4),
)


def by_click(command: words.Command, args: list[str]) -> dict[str, Any] | None:
    """What click makes of a line; None: an error or the help."""
    clicked = Clicked(command)
    try:
        context = clicked.make_context(command.name, list(args), resilient_parsing=False, obj=None)
    except (
        click.ClickException,
        click.exceptions.Exit,
        AssertionError,
    ):  # the help finds no shell to print to
        return None
    return context.params


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_both_ways_of_reading_agree(place: str, data: st.DataObject) -> None:
    command = words.load(place)
    flags = [flag for param in command.params for flag in (*param.flags, param.off) if flag]
    values = [name for param in command.params for name in param.kind.choices]
    word = st.one_of(TEXTS, *(st.sampled_from(some) for some in (flags, values) if some))
    joined = st.builds("{}={}".format, st.sampled_from(flags or ["--x"]), TEXTS)
    args = data.draw(st.lists(st.one_of(word, joined), max_size=6))
    found = words.understand(command, args)
    if found is not None:
        assert {param.name: value for param, value in found} == by_click(command, args)


@pytest.mark.parametrize("place", PLACES)
def test_the_simplest_lines_need_no_library(place: str) -> None:
    """Every option and argument at once, and nothing but what is required."""
    command = words.load(place)
    full: list[str] = []
    least: list[str] = []
    for param in command.params:
        sample = _sample(param)
        full += [param.flags[-1]] if param.is_flag else [*param.flags[-1:], sample]
        least += [sample] if param.required else []
    for args in (full, least):
        found = words.understand(command, args)
        assert found is not None
        assert {param.name: value for param, value in found} == by_click(command, args)


def _sample(param: words.Param) -> str:
    if param.kind.choices:
        return param.kind.choices[0]
    return {"duration": "90s", "number": "3", "port": "80"}.get(param.kind.name, "word")


def test_what_is_said_of_a_line_does_not_depend_on_how_it_was_read(cli: Cli) -> None:
    for argv in (
        ("state", "set", "a", "1"),
        ("state", "set", "--", "b", "-1"),
        ("state", "increment", "n", "-5"),
        ("state", "get", "a"),
    ):
        assert cli(*argv).code == 0
    assert cli("state", "list", "-o", "plain").out == cli("state", "list", "-oplain").out
